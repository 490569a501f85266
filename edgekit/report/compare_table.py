"""Who is faster than the baseline: the second table of ``edgekit compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.report.units import digits
from edgekit.types import Comparison, Report

_STYLES = {"faster": "green", "slower": "red", "inconclusive": "yellow"}


def show(report: Report, console: Console) -> None:
    """Print the ratios and what they show; nothing where nothing was compared."""
    comparisons = report.comparisons
    if not comparisons:
        return
    first = comparisons[0]
    threads = len({one.threads for one in comparisons} | {first.baseline_threads}) > 1
    devices = len({one.device for one in comparisons} | {one.baseline_device for one in comparisons}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("against the baseline", overflow="fold")
    for title, wanted in (("on", devices), ("against", devices), ("threads", threads)):
        if wanted:
            table.add_column(title, justify="right" if title == "threads" else "left", overflow="fold")
    for title in ("time ratio", "95% CI"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    for one in comparisons:
        where = [Text(one.device), Text(one.baseline_device)] if devices else []
        count = [str(one.threads)] if threads else []
        name = Text(Path(one.path).name)
        table.add_row(name, *where, *count, _ratio(one.ratio), _interval(one), _verdict(one))
    console.print()
    console.print(table)
    for line in _lines(comparisons):
        console.print(Text(line), soft_wrap=not console.is_terminal)


def _lines(comparisons: Sequence[Comparison]) -> list[str]:
    """What the ratios are to, and what of them is noise."""
    found = []
    turns = [one for one in comparisons if one.same_rounds]
    bases = {one.device: one for one in reversed(turns)}
    for device, one in reversed(bases.items()):
        floor = (
            "what two processes of it differ by is not known"
            if one.floor_ratio is None
            else f"differences up to {one.floor_ratio:.1%} are noise, as two processes of it differ"
        )
        on = f" on {device}" if len(bases) > 1 else ""
        found.append(f"Baseline{on}: {Path(one.baseline).name}; {floor}. Each ratio is of runs in the same rounds.")
    if any(one.device != one.baseline_device for one in comparisons):
        found.append("Between devices a ratio is that of two medians, with the widest interval that theirs allow.")
    return found


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
