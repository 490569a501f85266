"""The table of variants: what is in which column, as text and as something to sort by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.report.html._text import NONE, Write, bounds_of, scale_for, signed_percent
from edgekit.report.html._view import Entry, View
from edgekit.report.units import SIZES, TIMES, Unit, digits
from edgekit.summary_types import Value, Variant


@dataclass(frozen=True)
class Cell:
    """What one row has in one column.

    Attributes:
        text: The figure.
        order: To sort by: a number, or words; empty where there is nothing, which goes last.
        interval: Of it.
        words: Beside it.
        why: Why there is nothing.
    """

    text: str
    order: str
    interval: str = ""
    words: str = ""
    why: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: With the unit.
        words: Whether it holds words, which go to the left.
        help: What it says, in a sentence.
        cells: One per entry.
    """

    title: str
    words: bool
    help: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class _Figure:
    """How one figure of the summary becomes a column."""

    title: str
    of: Callable[[Variant], Value]
    help: str
    units: tuple[Unit, ...] = ()
    write: Write = digits
    unit: str = ""
    more: Callable[[Variant], str] = lambda _: ""


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else digits(value)


def _points(value: float) -> str:
    return f"{value * 100:+.2f}" if value else "0"


def _decibels(value: float) -> str:
    return f"{value:.1f}"


_SHORT = 12
"""Letters of a reason that has room in place of its figure: ``identical``."""

_FIGURES = (
    _Figure("size", lambda one: one.size, "Of the file.", SIZES),
    _Figure("size ratio", lambda one: one.size_ratio, "Size by that of the baseline.", write=_ratio),
    _Figure("median time", lambda one: one.p50, "Half of the runs were faster; with its 95 % interval.", TIMES),
    _Figure("90 % time", lambda one: one.p90, "Nine of ten runs were faster; with its 95 % upper bound.", TIMES),
    _Figure(
        "time ratio", lambda one: one.time_ratio, "Time by that of the baseline in the same rounds; below 1 is faster.",
        write=_ratio, more=lambda one: one.time_verdict,
    ),
    _Figure("memory", lambda one: one.memory, "The most that the process grew by.", SIZES),
    _Figure("accuracy", lambda one: one.accuracy, "On the labelled samples, with its 95 % interval."),
    _Figure(
        "change", lambda one: one.accuracy_change, "Of the accuracy, against the reference on the same samples.",
        more=lambda one: one.accuracy_words,
    ),
    _Figure("SQNR", lambda one: one.sqnr, "Signal to noise of the outputs; higher is closer to the reference.",
            write=_decibels, unit="dB"),
    _Figure("delegated", lambda one: one.delegated, "Share of the work in a delegate."),
)  # fmt: skip


def columns(view: View) -> list[Column]:
    """All columns that say something."""
    words = [_words(view, title, of, always, text) for title, of, always, text in _WORDS]
    figures = [_column(view, one) for one in _FIGURES]
    return [one for one in (*words, *figures, _verdict(view)) if one is not None]


_WORDS: tuple[tuple[str, Callable[[Variant], str], bool, str], ...] = (
    ("target", lambda one: one.target, True, "Format of the file."),
    ("scheme", lambda one: one.scheme, True, "Of most of its operators."),
    ("device", lambda one: one.device, False, "That it ran on."),
    ("threads", lambda one: str(one.threads), False, "That it ran with."),
)


def _words(view: View, title: str, of: Callable[[Variant], str], always: bool, text: str) -> Column | None:
    found = [of(one.variant) for one in view.entries]
    if not always and len(set(found)) < 2:
        return None
    return Column(title, True, text, tuple(Cell(one or NONE, one) for one in found))


def _column(view: View, figure: _Figure) -> Column | None:
    values = [figure.of(one.variant) for one in view.entries]
    known = [one.value for one in values if one.value is not None]
    if not known:
        return None
    unit, write = figure.unit, figure.write
    if figure.units:
        unit, size = scale_for(known, figure.units)
        write = lambda value: digits(value / size)  # noqa: E731 - as short as it gets
    elif figure.title in ("accuracy", "change", "delegated"):
        unit, write = _share(values)
        if unit and figure.title == "change":
            unit, write = "points", _points
    title = f"{_named(figure, view.entries)}, {unit}" if unit else _named(figure, view.entries)
    return Column(title, False, figure.help, tuple(_cell(one.variant, figure, write) for one in view.entries))


def _share(values: list[Value]) -> tuple[str, Write]:
    """Shares are in per cent; accuracies in units of their own are not."""
    return ("%", signed_percent) if any(one.unit == "ratio" for one in values) else ("", digits)


def _named(figure: _Figure, entries: tuple[Entry, ...]) -> str:
    names = {one.variant.accuracy_name for one in entries} - {""}
    return names.pop() if figure.title == "accuracy" and len(names) == 1 else figure.title


def _cell(variant: Variant, figure: _Figure, write: Write) -> Cell:
    value = figure.of(variant)
    if value.value is None:
        short = value.unavailable if len(value.unavailable) <= _SHORT else NONE
        order = "Infinity" if value.unavailable == "identical" else ""
        return Cell(short or NONE, order, why=value.unavailable)
    return Cell(write(value.value), repr(value.value), bounds_of(value, write), figure.more(variant))


_RANK = ("equal", "acceptable", "degraded", "broken")


def _verdict(view: View) -> Column | None:
    found = [one.variant.verdict for one in view.entries]
    if set(found) <= {"none", ""}:
        return None
    cells = (Cell(NONE, "") if one not in _RANK else Cell(one, str(_RANK.index(one))) for one in found)
    return Column("drift", True, "The outputs, judged by the bands of the scheme.", tuple(cells))
