"""``edgekit check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import print_json
from edgekit.cli._options import chosen_source, output_options, source_options

if TYPE_CHECKING:
    from edgekit.check_types import CheckReport

_EPILOG = """\b
Examples:
  edgekit check --init model.int8.tflite
  edgekit check
  edgekit check model.int8.tflite --device pi
  edgekit check --config ci/edgekit.toml --junit check.xml --summary check.md

The exit code is 0 where all budgets are kept, 10 where one is broken, and 11 where one could not be told.
"""


@click.command("check", epilog=_EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=click.Path(path_type=Path))
@click.option(
    "--config", default="edgekit.toml", show_default=True, metavar="FILE", type=click.Path(path_type=Path),
    help="The budgets; what it names is looked for beside it.",
)  # fmt: skip
@click.option(
    "--device", "devices", multiple=True, metavar="NAME|ADDRESS",
    help="Where to check, instead of where the budgets say. Repeatable.",
)  # fmt: skip
@click.option(
    "--junit", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Write JUnit XML: a test case per file, device and budget.",
)  # fmt: skip
@click.option(
    "--summary", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Write Markdown. In a GitHub workflow it goes to the summary of the step, too.",
)  # fmt: skip
@click.option("--init", is_flag=True, help="Write a file of budgets for the given files, to fill in, and stop.")
@output_options
@source_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    config: Path,
    devices: tuple[str, ...],
    junit: Path | None,
    summary: Path | None,
    init: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say whether files keep the budgets of edgekit.toml: size, time, accuracy, drift, delegated share.

    A budget is kept when the whole 95 % interval of the figure is within it, and broken when all of it is beyond.
    Budgets of time are measured again, and longer, before they count as broken.
    """
    from edgekit.check import check
    from edgekit.check_config import load
    from edgekit.cli._progress import progress_display
    from edgekit.types import to_json

    if init:
        from edgekit.check_init import write

        write(config, models)
        click.echo(f"budgets: {config}", err=True)
        return 0
    outputs = _outputs(junit, summary)
    settings = load(config)
    with progress_display(quiet) as progress:
        report = check(settings, models=models, devices=devices, options=chosen_source(ctx), progress=progress)
    _write(report, outputs)
    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report.check_table import show
        from edgekit.report.console import stdout_console

        show(report, stdout_console())
    return _exit_code(report)


def _outputs(junit: Path | None, summary: Path | None) -> list[tuple[str, Path, bool]]:
    """Kind, place and whether to append, of each file to write.

    Raises:
        UsageError: A folder does not exist. Asked before anything is measured.
    """
    import os

    from edgekit.errors import UsageError

    asked = [("--junit", junit, False), ("--summary", summary, False)]
    step = os.environ.get("GITHUB_STEP_SUMMARY")
    asked += [("GITHUB_STEP_SUMMARY", Path(step), True)] if step else []
    found = [(kind, path, more) for kind, path, more in asked if path is not None]
    for kind, path, _ in found:
        if not path.absolute().parent.is_dir():
            raise UsageError(f"{kind} {path}: there is no such folder.", hint="Make the folder first.")
    return found


def _write(report: CheckReport, outputs: list[tuple[str, Path, bool]]) -> None:
    from edgekit.errors import UsageError
    from edgekit.report.junit import junit
    from edgekit.report.step_summary import step_summary

    for kind, path, more in outputs:
        content = junit(report) if kind == "--junit" else step_summary(report)
        try:
            with path.open("a" if more else "w", encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            raise UsageError(f"{kind} {path}: {error.strerror}.", hint="Name a place that can be written.") from error


def _exit_code(report: CheckReport) -> int:
    """A regression outweighs a file that could not be measured, and that what could not be told."""
    from edgekit.check_types import INCONCLUSIVE, REGRESSION
    from edgekit.cli import print_failures
    from edgekit.errors import InconclusiveError, RegressionError

    print_failures(report)
    if report.verdict == REGRESSION:
        return RegressionError.exit_code
    if report.failures:
        return report.failures[0].exit_code
    return InconclusiveError.exit_code if report.verdict == INCONCLUSIVE else 0
