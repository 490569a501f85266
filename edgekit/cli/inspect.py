"""``edgekit inspect``."""

from __future__ import annotations

import click

from edgekit.cli import print_json
from edgekit.cli._options import chosen_source, output_options, source_options
from edgekit.cli._progress import progress_display

_EPILOG = """\b
Example:
  edgekit inspect model.int8.tflite
  edgekit inspect weights.safetensors --model net.py:Net
  edgekit inspect model.pte --json
"""


@click.command("inspect", epilog=_EPILOG)
@click.argument("file", metavar="FILE")
@source_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what is in a model file, source or converted, or in the ranges that a calibration kept.

    Inputs and outputs, operators with their counts, parameters, bytes of weights by dtype, multiply-accumulates of one
    run, what computes in float in a quantized file, and what an ExecuTorch program leaves to portable kernels. A
    converted file is read, not run; a source may need --model, --input or --trust, as in `edgekit convert`.
    """
    from edgekit.inspect import RANGES, inspect

    with progress_display(quiet) as progress:
        facts = inspect(file, options=chosen_source(ctx), progress=progress)
    if as_json:
        print_json(facts)
    elif facts["format"] == RANGES:
        from edgekit.report.console import stdout_console
        from edgekit.report.ranges_table import show as show_ranges

        show_ranges(facts, stdout_console())
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.inspect_table import show

        show(facts, stdout_console())
