"""Who is faster than the baseline: the second table of ``edgekit compare``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.report.units import digits
from edgekit.types import Comparison, Report

_STYLES = {"faster": "green", "slower": "red", "inconclusive": "yellow"}


def show(report: Report, console: Console) -> None:
    """Print the ratios and what they show; nothing where nothing was compared."""
    if not report.comparisons:
        return
    several = len({one.threads for one in report.comparisons} | {report.comparisons[0].baseline_threads}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("against the baseline", overflow="fold")
    if several:
        table.add_column("threads", justify="right")
    for title in ("time ratio", "95% CI"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    for one in report.comparisons:
        threads = [str(one.threads)] if several else []
        table.add_row(Path(one.path).name, *threads, _ratio(one.ratio), _interval(one), _verdict(one))
    console.print()
    console.print(table)
    first = report.comparisons[0]
    floor = (
        "what two processes of it differ by is not known"
        if first.floor_ratio is None
        else f"differences up to {first.floor_ratio:.1%} are noise, as two processes of it differ"
    )
    console.print(
        Text(f"Baseline: {Path(first.baseline).name}; {floor}. Each ratio is of runs in the same rounds."),
        soft_wrap=not console.is_terminal,
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else digits(value)


def _interval(one: Comparison) -> str:
    return "-" if one.low is None or one.high is None else f"[{_ratio(one.low)}, {_ratio(one.high)}]"


def _verdict(one: Comparison) -> Text:
    text = one.verdict
    if one.verdict == "faster" and one.ratio:
        text = f"{1 / one.ratio:.2f} times as fast"
    elif one.verdict == "slower" and one.ratio:
        text = f"slower: {one.ratio:.2f} times as long"
    elif one.reason:
        text = f"{one.verdict}: {one.reason}"
    return Text(text, style=_STYLES.get(one.verdict, ""))
