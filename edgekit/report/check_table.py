"""``edgekit check`` on a terminal: a line per budget, and below it why it is not kept."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.check_types import INCONCLUSIVE, KEPT, REGRESSION, CheckReport, Judgement
from edgekit.report.budgets import MARKS, counts, figure_words, limit_words

_STYLES = {KEPT: "green", REGRESSION: "bold red", INCONCLUSIVE: "yellow"}


def show(report: CheckReport, console: Console) -> None:
    """Print every budget with its limit, figure and verdict, then what to type next."""
    pairs = dict.fromkeys((one.model, one.device) for one in report.judgements)
    for model, device in pairs:
        mine = [one for one in report.judgements if (one.model, one.device) == (model, device)]
        console.print(Text(model if len({place for _, place in pairs}) == 1 else f"{model} on {device}", style="bold"))
        console.print(_table(mine))
        for one in mine:
            _remark(one, console)
        console.print()
    console.print(Text(f"{counts(report.judgements)}.", style=_STYLES[report.verdict]))
    for note in report.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)


def _table(judgements: list[Judgement]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("budget", no_wrap=True)
    for title in ("limit", "figure [95 %]"):
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for one in judgements:
        verdict = Text(MARKS[one.verdict], style=_STYLES[one.verdict])
        table.add_row(one.budget, limit_words(one), figure_words(one), verdict)
    return table


def _remark(one: Judgement, console: Console) -> None:
    wrap = not console.is_terminal
    if one.verdict == KEPT and one.attempts == 1:
        return
    twice = "measured twice" if one.attempts > 1 else ""
    reason = one.reason or ("beyond the limit" if one.verdict == REGRESSION else "")
    words = "; ".join(part for part in (reason, twice) if part)
    console.print(Text(f"  {one.budget}: {words}"), soft_wrap=wrap)
    if one.hint:
        console.print(Text(f"    next: {one.hint}"), soft_wrap=wrap)
