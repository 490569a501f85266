"""``edgekit inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli import print_json
from edgekit.cli._options import chosen_data, chosen_source, data_option, output_options, source_options
from edgekit.cli._progress import progress_display

_EPILOG = """\b
Example:
  edgekit inspect model.int8.tflite
  edgekit inspect weights.safetensors --model net.py:Net
  edgekit inspect model.pte --json
  edgekit inspect model.tflite --data pictures/ --preprocess imagenet --contact-sheet seen.png
  edgekit inspect --data table.csv --label-column 0
"""


@click.command("inspect", epilog=_EPILOG)
@click.argument("file", metavar="[FILE]", required=False)
@data_option("Show these samples, and how FILE will see them.")
@click.option(
    "--contact-sheet", metavar="FILE.png", type=click.Path(path_type=Path),
    help="Draw samples of --data as the model will see them, with their classes.",
)  # fmt: skip
@source_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    file: str | None,
    data: str | None,
    contact_sheet: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what is in a model file, source or converted, in data, or in the ranges that a calibration kept.

    Inputs and outputs, operators with their counts, multiply-accumulates and weights, parameters, bytes by dtype, the
    largest tensors, the size once compressed, the bytes that one run moves, what computes in float in a quantized file,
    and what an ExecuTorch program leaves to portable kernels.

    A converted file is read, not run; --input gives sizes to count for where it leaves some open, and a TFLite file is
    run once for that. A source may need --model, --input or --trust, as in `edgekit convert`.

    With --data: shape, type, range, mean and classes of the samples, after what FILE makes of them where it is given.
    """
    facts, show = _found(ctx, file, data, contact_sheet, quiet)
    if as_json:
        print_json(facts)
    else:
        from edgekit.report.console import stdout_console

        show(facts, stdout_console())


def _found(
    ctx: click.Context, file: str | None, data: str | None, contact_sheet: Path | None, quiet: bool
) -> tuple[dict[str, Any], Any]:
    """The facts, and what prints them."""
    options = chosen_data(ctx)
    if data is not None:
        from edgekit.data_facts import inspect_data
        from edgekit.report.data_table import show as show_data

        with progress_display(quiet) as progress:
            source = chosen_source(ctx)
            found = inspect_data(
                data, options, model=file, options=source, contact_sheet=contact_sheet, progress=progress
            )
        return found, show_data
    if file is None or contact_sheet is not None:
        from edgekit.errors import UsageError

        said = "Name a model file, or data" if file is None else "--contact-sheet draws samples, and there are none"
        raise UsageError(f"{said}.", hint="edgekit inspect FILE   or   edgekit inspect --data DATA")
    from edgekit.inspect import RANGES, inspect

    with progress_display(quiet) as progress:
        facts = inspect(file, options=chosen_source(ctx), progress=progress)
    if facts["format"] == RANGES:
        from edgekit.report.ranges_table import show as show_ranges

        return facts, show_ranges
    from edgekit.report.inspect_table import show

    return facts, show
