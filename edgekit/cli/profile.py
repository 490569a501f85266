"""``edgekit profile``."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import print_json
from edgekit.cli._options import chosen_data, chosen_source, data_option, output_options, source_options

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
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of the runtime, per file.",
)
@click.option(
    "--budget", "budget_s", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
    metavar="SECONDS", help="Time for warm-up and timed runs, per file.",
)  # fmt: skip
@source_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    reference: Path | None,
    data: str | None,
    threads: int,
    budget_s: float,
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
    from edgekit.types import to_json

    with progress_display(quiet) as progress:
        report = profile(
            files,
            reference=reference,
            options=chosen_source(ctx),
            data=data,
            data_options=chosen_data(ctx),
            threads=threads,
            budget_s=budget_s,
            timeout_s=chosen_source(ctx).timeout_s,
            progress=progress,
        )
    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.profile_table import show

        show(report, stdout_console())
    for failure in report.failures:
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(failure.message, err=True)
        for title, text in (("  next: ", failure.hint), ("  log:  ", failure.log)):
            if text:
                click.echo(title + text, err=True)
    return report.failures[0].exit_code if report.failures else 0
