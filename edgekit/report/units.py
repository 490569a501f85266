"""Figures as people read them: three digits, and one unit per column, so that rows compare."""

from __future__ import annotations

import math
from collections.abc import Iterable

Unit = tuple[str, float]

TIMES: tuple[Unit, ...] = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))
"""Of nanoseconds."""

SIZES: tuple[Unit, ...] = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))
"""Of bytes, in powers of ten."""

COUNTS: tuple[Unit, ...] = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
"""Of things that are counted."""


def unit_for(values: Iterable[float], units: tuple[Unit, ...]) -> Unit:
    """The largest unit in which the middle one of some values is not below 1."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if ordered else 0.0
    return next((unit for unit in units if middle >= unit[1]), units[-1])


def digits(value: float) -> str:
    """Three significant digits, without an exponent: ``0.0123``, ``1.23``, ``123``, ``12345``."""
    if value == 0:
        return "0"
    places = 2 - math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:.{max(places, 0)}f}"


def with_unit(value: float, units: tuple[Unit, ...]) -> str:
    """One figure on its own: ``1.23 ms``."""
    name, size = unit_for([value], units)
    return f"{digits(value / size)} {name}".rstrip()


def percent(share: float) -> str:
    """A share: ``98.12``; never rounded up to all of it."""
    return "100" if share == 1 else f"{min(share * 100, 99.99):.2f}"
