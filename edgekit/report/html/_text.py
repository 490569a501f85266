"""Figures as the page writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgekit.report.units import SIZES, TIMES, Unit, digits, percent, unit_for, with_unit
from edgekit.summary_types import Value

Write = Callable[[float], str]

NONE = "-"


def scale_for(values: Iterable[float], units: tuple[Unit, ...]) -> Unit:
    """The unit of a chart or column: the one in which its middle figure is not below 1."""
    return unit_for(values, units)


def written(value: float | None, unit: str) -> str:
    """One figure on its own, with its unit: ``1.23 ms``, ``98.12 %``, ``37.3 dB``."""
    if value is None:
        return NONE
    if unit == "ns":
        return with_unit(value, TIMES)
    if unit == "bytes":
        return with_unit(value, SIZES)
    if unit == "ratio":
        return f"{signed_percent(value)} %"
    return f"{plain(value)} {unit}".rstrip()


def signed_percent(share: float) -> str:
    """A share that may be a difference: ``98.12``, ``-0.28``."""
    return percent(share) if 0 <= share <= 1 else f"{share * 100:.2f}"


def plain(value: float) -> str:
    """A number of any size: three digits, or an exponent where those would be zeros only."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.2e}" if abs(value) < 1e-3 else digits(value)


def bounds(low: float | None, high: float | None, write: Write) -> str:
    """``[1.2, 1.4]``; one-sided where only one is known; empty without."""
    if low is None and high is None:
        return ""
    if low is None:
        return f"≤ {write(high)}" if high is not None else ""
    return f"≥ {write(low)}" if high is None else f"[{write(low)}, {write(high)}]"


def bounds_in(unit: str, low: float | None, high: float | None) -> str:
    """The same with units: ``[1.2 ms, 1.4 ms]``."""
    return bounds(low, high, lambda value: written(value, unit))


def bounds_of(value: Value, write: Write) -> str:
    """The interval of a figure of the summary."""
    return bounds(value.low, value.high, write)
