"""``edgekit compare``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli._measured import print_measured
from edgekit.cli._options import (
    chosen_data,
    chosen_measuring,
    chosen_source,
    data_option,
    measuring_options,
    output_options,
    source_options,
)

_EPILOG = """\b
Examples:
  edgekit compare model.tflite model.int8.tflite model.int8.onnx
  edgekit compare model.*.tflite --baseline model.tflite --data test.npz --threads 1,2
  edgekit compare before.json after.json
"""


@click.command("compare", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--baseline", metavar="FILE", type=click.Path(path_type=Path),
    help="What the others are compared with.  [default: the first float32 file, or else the first]",
)  # fmt: skip
@click.option(
    "--reference", metavar="MODEL", type=click.Path(path_type=Path),
    help="The source model, or another converted file, to compare outputs with.",
)  # fmt: skip
@data_option("Samples to run on; with labels, accuracy is measured. Random inputs without.")
@measuring_options
@source_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    baseline: Path | None,
    reference: Path | None,
    data: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say which .tflite, .onnx and .pte files are faster than a baseline, and how sure that is.

    The files take turns in rounds, so that what the machine does meanwhile meets them all, and the ratio of each to
    the baseline has a 95 % interval. The baseline runs twice: what its two processes differ by counts for nothing.

    Runs saved with --json are compared with the first of them, where they were made under the same conditions.
    """
    from edgekit.cli._progress import progress_display
    from edgekit.errors import UsageError
    from edgekit.profile import compare
    from edgekit.saved import compare_saved, is_saved

    saved = [file for file in files if is_saved(file)]
    if saved:
        if len(saved) < len(files) or baseline or reference or data:
            raise UsageError(
                "Saved runs are compared with saved runs, as they are.", hint="edgekit compare before.json after.json"
            )
        return print_measured(compare_saved(saved), as_json=as_json)

    with progress_display(quiet) as progress:
        report = compare(
            files,
            baseline=baseline,
            reference=reference,
            options=chosen_source(ctx),
            data=data,
            data_options=chosen_data(ctx),
            measuring=chosen_measuring(ctx),
            progress=progress,
        )
    return print_measured(report, as_json=as_json)
