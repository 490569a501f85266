"""The table of ``edgekit profile``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.report.units import SIZES, TIMES, Unit, digits, percent, unit_for
from edgekit.types import Measurement, Place, Profile, Report

_NONE = "-"
_SHORT_NAME = 12

_Cells = tuple[str, list[str]]
"""Header and cells of a column."""


@dataclass(frozen=True)
class _Column:
    """One metric of every row.

    Attributes:
        title: Above the figures; the unit follows.
        metric: Its name.
        units: To choose from, ``None`` for a share in percent.
        together: Metrics that share its unit.
        interval: Whether low and high are shown.
        always: Whether the column is there when no file has the figure.
    """

    title: str
    metric: str
    units: tuple[Unit, ...] | None
    together: tuple[str, ...] = ()
    interval: bool = False
    always: bool = True


_START = ("load_ns", "first_run_ns")
_WARM = ("latency_p50_ns", "latency_p90_ns", "latency_p99_ns")
_BEFORE_COUNT = (
    _Column("size", "size_bytes", SIZES),
    _Column("load", "load_ns", TIMES, _START),
    _Column("first", "first_run_ns", TIMES, _START),
    _Column("p50", "latency_p50_ns", TIMES, _WARM, interval=True),
    _Column("p90", "latency_p90_ns", TIMES, _WARM),
    _Column("p99", "latency_p99_ns", TIMES, _WARM),
)
_AFTER_COUNT = (_Column("memory", "peak_memory_bytes", SIZES),)
_AFTER_DRIFT = (
    _Column("top-1 same", "top1_agreement", None, always=False),
    _Column("accuracy", "accuracy", None, interval=True, always=False),
)


def show(report: Report, console: Console) -> None:
    """Print the figures, the conditions they were taken under, and what a reader should know.

    Args:
        report: Of :func:`edgekit.profile.profile`.
        console: Where to. A narrow one gets speed and outputs in two tables, so that no figure is cut.
    """
    profiles = report.profiles
    if not profiles:
        return
    speed, outputs = _speed(profiles), _outputs(profiles)
    if _width(speed + outputs) <= console.width:
        console.print(_table(profiles, speed + outputs))
    else:
        console.print(_table(profiles, speed))
        if outputs:
            console.print()
            console.print(_table(profiles, outputs))
    for index, line in enumerate(_lines(report)):
        console.print(Text(line, style="dim" if index > 1 else ""), soft_wrap=not console.is_terminal)


def _table(profiles: Sequence[Profile], columns: Sequence[_Cells]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold", vertical="bottom")
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True, vertical="bottom")
    for index, item in enumerate(profiles):
        table.add_row(Path(item.path).name, *(texts[index] for _, texts in columns))
    return table


def _width(columns: Sequence[_Cells]) -> int:
    """Of a table with names short enough to fold once or twice."""
    widths = [max(map(len, [*title.split("\n"), *texts])) for title, texts in columns]
    return _SHORT_NAME + sum(widths) + 2 * len(widths)


def _speed(profiles: Sequence[Profile]) -> list[_Cells]:
    count = ("n", [str(sum(len(turn.ns) for turn in item.turns)) for item in profiles])
    return [*_where(profiles), *_columns(_BEFORE_COUNT, profiles), count, *_columns(_AFTER_COUNT, profiles)]


def _where(profiles: Sequence[Profile]) -> list[_Cells]:
    """What tells rows of one file apart."""
    found: list[_Cells] = []
    if len({item.device for item in profiles}) > 1:
        found.append(("device", [item.device for item in profiles]))
    if _several_threads(profiles):
        found.append(("threads", [str(item.threads) for item in profiles]))
    return found


def _several_threads(profiles: Sequence[Profile]) -> bool:
    return len({item.threads for item in profiles}) > 1


def _outputs(profiles: Sequence[Profile]) -> list[_Cells]:
    columns = _columns(_AFTER_DRIFT, profiles)
    if any(item.drift for item in profiles):
        columns.insert(0, ("SQNR\ndB", [_worst_sqnr(item) for item in profiles]))
    return columns


def _columns(columns: Sequence[_Column], profiles: Sequence[Profile]) -> list[_Cells]:
    found: list[_Cells] = []
    for column in columns:
        figures = [_figure(item, column.metric) for item in profiles]
        if not column.always and not any(figures):
            continue
        unit, text = _unit(column, profiles)
        found.append((f"{column.title}\n{unit}", [_NONE if one is None else text(one.value or 0.0) for one in figures]))
        if column.interval:
            found.append(("95% CI", [_interval(one, text) for one in figures]))
    return found


def _unit(column: _Column, profiles: Sequence[Profile]) -> tuple[str, Callable[[float], str]]:
    """The unit of a column, and how its figures are written."""
    if column.units is None:
        return "%", percent
    names = column.together or (column.metric,)
    figures = [figure for item in profiles for name in names if (figure := _figure(item, name)) is not None]
    unit, size = unit_for([figure.value or 0.0 for figure in figures], column.units)
    return unit, lambda value: digits(value / size)


def _figure(item: Profile, metric: str) -> Measurement | None:
    """A figure that could be taken."""
    return next((one for one in item.measurements if one.metric == metric and one.value is not None), None)


def _interval(figure: Measurement | None, text: Callable[[float], str]) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return _NONE
    return f"[{text(figure.low)}, {text(figure.high)}]"


def _worst_sqnr(item: Profile) -> str:
    if not item.drift:
        return _NONE
    if any(drift.finding for drift in item.drift):
        return "broken"
    ratios = [drift.sqnr_db for drift in item.drift if drift.sqnr_db is not None]
    return f"{min(ratios):.1f}" if ratios else "identical"


def _lines(report: Report) -> list[str]:
    """Conditions and notes, below the table."""
    conditions = [*dict.fromkeys(item.runtime for item in report.profiles)]
    if not _several_threads(report.profiles):
        threads = report.profiles[0].threads
        conditions.append(f"{threads} thread{'s' if threads > 1 else ''}")
    several = len(report.devices) > 1
    if not several:
        conditions += [text for place in report.devices for text in _machine(place)]
    lines = ["", " · ".join(conditions)]
    if several:
        lines += [f"{place.name}: {', '.join(_machine(place))}" for place in report.devices]
    lines += _grouped(report.profiles)
    own = [f"{place.name}: {note}" if several else note for place in report.devices for note in place.notes]
    return [*lines, *_accuracy_of_reference(report), *report.notes, *own]


def _machine(place: Place) -> list[str]:
    facts = place.facts
    board = [facts.board] if facts.board else []
    cpu = f"{facts.cpu}, {facts.cores} cores" + (", emulated" if facts.emulated else "")
    return [*board, cpu, f"load average {facts.load_average:.1f}"]


def _grouped(profiles: Sequence[Profile]) -> list[str]:
    """What is to be said about single files; once where it is the same about several."""
    names: dict[str, list[str]] = {}
    for item in profiles:
        for text in (*item.notes, *_missing(item)):
            names.setdefault(text, []).append(Path(item.path).name)
    everyone = len(profiles)
    return [
        f"{'all files' if 1 < len(files) == everyone else ', '.join(files)}: {text}" for text, files in names.items()
    ]


def _missing(item: Profile) -> list[str]:
    """Why a figure of the table is not there."""
    titles = {column.metric: column.title for column in (*_BEFORE_COUNT, *_AFTER_COUNT)}
    return [
        f"{titles[figure.metric]} {figure.unavailable}"
        for figure in item.measurements
        if figure.value is None and figure.metric in titles
    ]


def _accuracy_of_reference(report: Report) -> list[str]:
    """It is the same beside every file."""
    for item in report.profiles:
        figure = _figure(item, "reference_accuracy")
        if figure is not None and figure.value is not None:
            name = Path(report.source).name
            return [f"Accuracy of the reference {name}: {percent(figure.value)}% of {figure.samples} samples."]
    return []
