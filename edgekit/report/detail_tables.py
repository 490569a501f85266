"""What stands below the first table of ``edgekit profile``: work, cold starts, operators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit import registry
from edgekit.report.units import COUNTS, SIZES, TIMES, Unit, digits, percent, with_unit
from edgekit.types import Measurement, OperatorTime, Profile, Report

_MOST_OPERATORS = 12
_WORK: tuple[tuple[str, str, tuple[Unit, ...] | None], ...] = (
    ("parameters", "parameters", COUNTS),
    ("MACs", "macs", COUNTS),
    ("moved", "moved_bytes", SIZES),
    ("arena", "arena_bytes", SIZES),
    ("zipped", "compressed_bytes", SIZES),
    ("GFLOP/s", "achieved_gflops", ()),
    ("% of peak", "peak_share_ratio", None),
)
"""Title, metric, and its units: none for a bare figure, ``None`` for a share in percent."""

_COLD = ("import", "load", "first_run", "steady", "after_idle")


def show(report: Report, console: Console) -> None:
    """Print what was measured of it."""
    for shown in (_work, _cold, _sustained):
        table = shown(report.profiles)
        if table is not None:
            console.print()
            console.print(table)
    for item in report.profiles:
        if item.operators:
            console.print()
            console.print(_operators(item))


def _work(profiles: Sequence[Profile]) -> Table | None:
    columns = [one for one in _WORK if any(_figure(item, one[1]) is not None for item in profiles)]
    if not any(_figure(item, "achieved_gflops") is not None for item in profiles):
        return None
    table = _table("work", [title for title, _, _ in columns])
    for item in profiles:
        table.add_row(Path(item.path).name, *(_text(_figure(item, metric), units) for _, metric, units in columns))
    return table


def _cold(profiles: Sequence[Profile]) -> Table | None:
    if not any(_figure(item, "cold_load_ns") is not None for item in profiles):
        return None
    table = _table("fresh processes", [step.replace("_", " ") for step in _COLD])
    for item in profiles:
        table.add_row(Path(item.path).name, *(_text(_figure(item, f"cold_{step}_ns"), TIMES) for step in _COLD))
    return table


def _sustained(profiles: Sequence[Profile]) -> Table | None:
    """The first and the last part of a run without pause."""
    runs = [(item, item.sustained) for item in profiles if item.sustained is not None]
    if not runs:
        return None
    table = _table("without pause", ["for", "first p50", "last p50", "ratio", "95% CI", "hottest"])
    for item, run in runs:
        first, last, ratio = (_figure(item, f"sustained_{name}") for name in ("first_p50_ns", "last_p50_ns", "ratio"))
        heat = [one.temperature_celsius for one in run.moments if one.temperature_celsius is not None]
        table.add_row(
            Path(item.path).name,
            f"{run.duration_s:g} s",
            _text(first, TIMES),
            _text(last, TIMES),
            _text(ratio, ()),
            "-" if ratio is None or ratio.low is None or ratio.high is None else f"[{ratio.low:.2f}, {ratio.high:.2f}]",
            f"{max(heat):.0f} °C" if heat else "-",
        )
    return table


def _operators(item: Profile) -> Table:
    """The operators of a file by type, the longest first."""
    rows: Sequence[OperatorTime] = registry.function("profiles.metrics.operators:by_type")(item.operators)
    table = _table(f"operators of {Path(item.path).name}", ["calls", "share %"])
    table.add_column("delegate")
    for one in rows[:_MOST_OPERATORS]:
        delegate = one.delegate or Text("none", style="yellow")
        table.add_row(one.operator, str(one.count), percent(one.share), delegate)
    rest = rows[_MOST_OPERATORS:]
    if rest:
        calls, share = sum(one.count for one in rest), sum(one.share for one in rest)
        table.add_row(f"{len(rest)} other types", str(calls), percent(share), "")
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _figure(item: Profile, metric: str) -> Measurement | None:
    return next((one for one in item.measurements if one.metric == metric and one.value is not None), None)


def _text(figure: Measurement | None, units: tuple[Unit, ...] | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    if units is None:
        return percent(figure.value)
    return with_unit(figure.value, units) if units else digits(figure.value)
