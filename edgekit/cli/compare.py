"""``edgekit compare``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from edgekit.cli._exports import export, wanted
from edgekit.cli._measured import measure, measured_options, print_measured

_EPILOG = """\b
Examples:
  edgekit compare model.tflite model.int8.tflite model.int8.onnx
  edgekit compare model.*.tflite --baseline model.tflite --data test.npz --threads 1,2
  edgekit compare model.*.tflite --reference model.pt2 --data test.npz --html report.html
  edgekit compare before.json after.json
"""


@click.command("compare", epilog=_EPILOG)
@click.option(
    "--baseline", metavar="FILE", type=click.Path(path_type=Path),
    help="What the others are compared with.  [default: the first float32 file, or else the first]",
)  # fmt: skip
@click.option(
    "--layers", is_flag=True, help="Look where the drift of each file begins, too; needs --reference (edgekit drift)."
)
@measured_options
@click.pass_context
def command(ctx: click.Context, /, baseline: Path | None, layers: bool, files: tuple[Path, ...], **typed: Any) -> int:
    """Say which .tflite, .onnx and .pte files are faster than a baseline, how sure that is, and which to take.

    The files take turns in rounds, so that what the machine does meanwhile meets them all, and the ratio of each to
    the baseline has a 95 % interval. The baseline runs twice: what its two processes differ by counts for nothing.

    With --reference the outputs are judged as edgekit drift does it. With several --device each file is compared on
    each of them, and with itself on the first.

    Runs saved with --json are compared with the first of them, where they were made under the same conditions, or on
    different devices.
    """
    from edgekit.errors import UsageError
    from edgekit.profile import compare
    from edgekit.saved import compare_saved, is_saved

    saved = [file for file in files if is_saved(file)]
    if layers and typed["reference"] is None:
        raise UsageError("--layers needs what the layers are compared with.", hint="Add --reference MODEL.")
    if not saved:
        return measure(ctx, partial(compare, baseline=baseline), layers=layers)
    if len(saved) < len(files) or baseline or typed["reference"] or typed["data"]:
        raise UsageError(
            "Saved runs are compared with saved runs, as they are.", hint="edgekit compare before.json after.json"
        )
    wanted(typed)
    report = compare_saved(saved)
    export(report, typed)
    return print_measured(report, as_json=typed["as_json"])
