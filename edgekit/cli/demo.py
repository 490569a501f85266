"""``edgekit demo``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import print_failures, print_json
from edgekit.cli._options import output_options

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.types import Measurement, Profile, Report

_PAGE = "report.html"
_EPILOG = """\b
Example:
  edgekit demo
  edgekit demo --output trial --json > trial.json
"""


@click.command(epilog=_EPILOG)
@click.option(
    "-o", "--output", metavar="FOLDER", default="edgekit-demo", show_default=True,
    help="Where the twelve files and the report go; those of an earlier demo are replaced.",
)  # fmt: skip
@output_options
@click.pass_context
def command(ctx: click.Context, output: str, as_json: bool, quiet: bool) -> None:
    """Convert a trained network to twelve files, prove them, measure and compare them, and write a report.

    The network reads handwritten digits. It comes with edgekit, and so do its data. Takes two minutes or three.
    """
    from edgekit import demo
    from edgekit.cli._progress import progress_display
    from edgekit.types import to_json

    with progress_display(quiet) as progress:
        report = demo.run(Path(output), progress)
    page = _write_page(report, Path(output))
    if as_json:
        print_json(to_json(report))
    else:
        _print(report, output, page)
    if report.failures:
        ctx.exit(report.failures[0].exit_code)


def _write_page(report: Report, folder: Path) -> Path | None:
    """The report to look at; ``None`` where nothing was measured."""
    if not report.profiles:
        return None
    from edgekit.publish import write_text
    from edgekit.report.html import render
    from edgekit.summary import summarize

    page = folder / _PAGE
    write_text(page, render(report, summarize(report)))
    return page


def _print(report: Report, output: str, page: Path | None) -> None:
    from edgekit.report.console import stdout_console
    from edgekit.summary import summarize

    out = stdout_console()
    if report.profiles:
        out.print()
        out.print(table(report))
    for line in conditions(report):
        out.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    print_failures(report)
    if page is not None:
        out.print(f"\n{summarize(report).finding}", style="bold", soft_wrap=True, highlight=False)
        out.print(f"\nThe report: {page}   (open it in a browser)", soft_wrap=True, highlight=False)
    if report.artifacts:
        out.print(
            f"\nThe files are in {output}/, each with a .json that says how it was made. Now yours:\n"
            f"  {_program()} convert model.pt --to all --int8 --data calibration.npz\n"
            f"  {_program()} profile model.int8.* --reference model.pt --data test.npz",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def _program() -> str:
    """What to type to get this edgekit: its path, where the shell would not find it (``make demo``)."""
    started = sys.argv[0]
    return started if Path(started).name == "edgekit" and shutil.which("edgekit") is None else "edgekit"


def table(report: Report) -> Table:
    """The one table of the demo: a row per file, and the source below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    (first, *titles), *lines = cells(report)
    shown.add_column(first, no_wrap=True)
    for title in titles:
        shown.add_column(title, justify="right", no_wrap=True)
    for index, line in enumerate(lines):
        shown.add_row(*line, end_section=index == len(lines) - 2)
    return shown


def cells(report: Report) -> list[tuple[str, ...]]:
    """The table as text: titles, their units below them, a line per file, and the source."""
    from edgekit.report.units import TIMES, digits, percent, unit_for

    profiles = report.profiles
    medians = [_figure(item, "latency_p50_ns") for item in profiles]
    unit, size = unit_for([one.value or 0.0 for one in medians if one], TIMES)
    titles = ("file", "size\nkB", f"p50\n{unit}", "95% CI", "SQNR\ndB", "top-1 same\n%", "accuracy\n%")
    lines = [
        (
            Path(item.path).name,
            _text(_figure(item, "size_bytes"), lambda value: digits(value / 1000)),
            _text(median, lambda value: digits(value / size)),
            _interval(median, size),
            _sqnr(item),
            _text(_figure(item, "top1_agreement"), percent),
            _text(_figure(item, "accuracy"), percent),
        )
        for item, median in zip(profiles, medians, strict=True)
    ]
    reference = next((found for item in profiles if (found := _figure(item, "reference_accuracy"))), None)
    weights = digits(Path(report.source).stat().st_size / 1000) if Path(report.source).is_file() else ""
    source = (f"{Path(report.source).name} (PyTorch)", weights, "", "", "", "", _text(reference, percent))
    return [titles, *lines, source]


def conditions(report: Report) -> list[str]:
    """What the figures were taken under, in two lines."""
    if not report.profiles or not report.devices:
        return []
    accuracy = [found for item in report.profiles if (found := _figure(item, "accuracy"))]
    samples = f"{accuracy[0].samples} held-out pictures" if accuracy else "the held-out pictures"
    runtimes = ", ".join(dict.fromkeys(item.runtime for item in report.profiles))
    device = report.devices[0].facts
    return [
        f"SQNR and the last two columns: on {samples} that took no part in training or calibration.",
        f"{runtimes}; {report.profiles[0].threads} thread; {device.cpu}, {device.cores} cores.",
    ]


def _figure(item: Profile, metric: str) -> Measurement | None:
    return next((one for one in item.measurements if one.metric == metric and one.value is not None), None)


def _text(figure: Measurement | None, write: Callable[[float], str]) -> str:
    return "-" if figure is None or figure.value is None else write(figure.value)


def _interval(figure: Measurement | None, size: float) -> str:
    from edgekit.report.units import digits

    if figure is None or figure.low is None or figure.high is None:
        return "-"
    return f"{digits(figure.low / size)}-{digits(figure.high / size)}"


def _sqnr(item: Profile) -> str:
    drifts: Sequence[float | None] = [drift.sqnr_db for drift in item.drift if not drift.finding]
    if len(drifts) < len(item.drift) or not drifts:
        return "-"
    known = [value for value in drifts if value is not None]
    return f"{min(known):.1f}" if known else "identical"
