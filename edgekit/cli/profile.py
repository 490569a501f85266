"""``edgekit profile``."""

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
  edgekit profile model.tflite model.int8.tflite model.int8.onnx
  edgekit profile model.int8.pte --reference model.pt2 --data test.npz --threads 2
"""


@click.command("profile", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
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
    reference: Path | None,
    data: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure .tflite, .onnx and .pte files on this machine.

    Size, load time, first run, latency with its spread, peak memory; with --reference how far the outputs are
    from the source model's, with labels in --data the accuracy. Each file runs in a process of its own, and
    the files take turns, so that they can be compared.
    """
    from edgekit.cli._progress import progress_display
    from edgekit.profile import profile

    with progress_display(quiet) as progress:
        report = profile(
            files,
            reference=reference,
            options=chosen_source(ctx),
            data=data,
            data_options=chosen_data(ctx),
            measuring=chosen_measuring(ctx),
            progress=progress,
        )
    return print_measured(report, as_json=as_json)
