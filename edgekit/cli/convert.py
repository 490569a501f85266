"""``edgekit convert``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit import registry
from edgekit.cli import print_json
from edgekit.cli._options import data_option, output_options, source_options
from edgekit.cli._progress import progress_display

_EPILOG = """\b
Example:
  edgekit convert model.pt2 --to tflite
  edgekit convert model.pt --to all --int8 --fp16 --data calibration.npz
  edgekit convert weights.safetensors --model net.py:Net --input image=1,3,224,224 --to onnx

The file's content decides what it is, not its suffix. Every result is run in its own runtime against the source
before it gets its name; exit code 7 says that one drifted too far. `edgekit list` shows which target can do which
scheme.
"""


_Command = TypeVar("_Command", bound=Callable[..., Any])
_CHOSEN = "edgekit.schemes"


def _remember(ctx: click.Context, option: click.Parameter, given: bool | tuple[str, ...]) -> None:
    """Keep schemes in the order they were typed, whether as flags or by name."""
    flags = {scheme.flag: scheme.name for scheme in registry.schemes().values()}
    names = given if isinstance(given, tuple) else [flags[option.opts[0]]] * given
    ctx.meta.setdefault(_CHOSEN, []).extend(names)


def _scheme_options(command: _Command) -> _Command:
    """``--quant NAME`` and a flag per scheme."""
    schemes = registry.schemes().values()
    for scheme in reversed([scheme for scheme in schemes if scheme.flag]):
        command = click.option(
            scheme.flag, is_flag=True, expose_value=False, callback=_remember,
            help=scheme.summary[0].upper() + scheme.summary[1:] + ".",
        )(command)  # fmt: skip
    return click.option(
        "--quant", multiple=True, metavar="NAME", expose_value=False, callback=_remember,
        help=f"A scheme by name: {', '.join(scheme.name for scheme in schemes)}. Repeatable.",
    )(command)  # fmt: skip


@click.command(epilog=_EPILOG)
@click.argument("model", metavar="MODEL")
@click.option(
    "--to", "to", multiple=True, required=True, type=click.Choice([*registry.targets(), "all"]),
    help="Target format. Repeatable.",
)  # fmt: skip
@_scheme_options
@data_option("Samples to calibrate int8 with and to verify on; `random` for random calibration.")
@source_options
@click.option("-o", "--output", metavar="PATH", help="Folder, or file name for one result. Default: here.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--no-verify", is_flag=True, help="Do not run and compare the results.")
@click.option("--min-sqnr", type=float, metavar="DB", help="Limit for every result, in place of its scheme's own.")
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    to: tuple[str, ...],
    data: str | None,
    model_code: str | None,
    trust: bool,
    inputs: tuple[str, ...],
    timeout_s: float,
    output: str | None,
    force: bool,
    no_verify: bool,
    min_sqnr: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert MODEL to TFLite, ONNX or ExecuTorch, in one or several schemes.

    PyTorch: .pt2, TorchScript, pickled modules (--trust), checkpoints and .safetensors (--model).
    """
    from edgekit.convert import ConvertOptions, convert
    from edgekit.source import SourceOptions
    from edgekit.types import to_json

    options = ConvertOptions(
        quant=tuple(dict.fromkeys(ctx.meta[_CHOSEN])) or ("float32",),
        data=data,
        output=None if output is None else Path(output),
        force=force,
        check=not no_verify,
        min_sqnr_db=min_sqnr,
        source=SourceOptions(model_code, trust, inputs, timeout_s),
    )
    targets = list(registry.targets()) if "all" in to else list(to)
    with progress_display(quiet) as progress:
        report = convert(model, targets, options, progress)
    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report.convert_table import print_report

        print_report(report)
    if report.failures:
        ctx.exit(report.failures[0].exit_code)
