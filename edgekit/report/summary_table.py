"""The table of ``edgekit compare``: every file beside the baseline, within 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.summary_types import Summary, Value, Variant

_STYLES = {"equal": "green", "acceptable": "green", "degraded": "yellow", "broken": "red"}
_NONE = "-"


def show(summary: Summary, console: Console) -> None:
    """Print the finding, and a row for each file; the best first."""
    if len(summary.variants) < 2:
        return
    console.print()
    console.print(Text(summary.finding, style="bold"))
    console.print()
    console.print(_table(summary))
    lines = [f"* no other file is at least as good in {' and '.join(summary.judged_on)}"] if summary.judged_on else []
    lines.append("Sizes and times are those of the baseline times what is shown.")
    for line in (*lines, *summary.notes):
        console.print(Text(line, style="dim"))


def _table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("file", overflow="fold", min_width=14)
    for title in ("", "size", "time", "95% CI"):
        table.add_column(title, justify="right", no_wrap=True)
    labelled = any(one.accuracy.value is not None for one in summary.variants)
    changed = any(one.accuracy_change.value is not None for one in summary.variants)
    if labelled:
        table.add_column("change\npoints" if changed else "accu-\nracy %", justify="right", no_wrap=True)
    for title in ("SQNR\ndB", "dele-\ngated"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in summary.variants:
        accuracy = [_points(one, changed)] if labelled else []
        table.add_row(
            Text(one.key, style="bold" if one.key == summary.recommended else ""),
            "*" if one.pareto else "",
            _ratio(one.size_ratio),
            "baseline" if one.baseline else _NONE if one.emulated else _ratio(one.time_ratio),
            _NONE if one.emulated else _interval(one.time_ratio),
            *accuracy,
            _sqnr(one),
            _NONE if one.delegated.value is None else f"{one.delegated.value:.0%}",
            Text(one.verdict if one.verdict != "none" else _NONE, style=_STYLES.get(one.verdict, "")),
        )
    return table


def _ratio(one: Value) -> str:
    return _NONE if one.value is None else f"{one.value:.2f}x"


def _interval(one: Value) -> str:
    return _NONE if one.low is None or one.high is None else f"{one.low:.2f}-{one.high:.2f}"


def _points(one: Variant, changed: bool) -> str:
    """A share in per cent, its change in points; other figures as they are."""
    shown = one.accuracy_change if changed else one.accuracy
    if shown.value is None:
        return _NONE
    sign = "+" if changed else ""
    return f"{shown.value * 100:{sign}.2f}" if shown.unit == "ratio" else f"{shown.value:{sign}.4g}"


def _sqnr(one: Variant) -> str:
    if one.sqnr.value is not None:
        return f"{one.sqnr.value:.1f}"
    return "equal" if one.sqnr.unavailable == "identical" else _NONE
