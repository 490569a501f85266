"""The charts of the page, one question a file.

A file here has ``ORDER`` (place on the page) and ``charts(view)``, which gives none where there is nothing to show.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.report.html._view import Entry, View

VARIANTS = "@variants"
"""Stands in a specification for the scale that gives each variant its colour."""

ORDER = "@order"
"""Stands in a specification for the names of the variants that are drawn, in the order of the summary."""


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        name: Unlike those of others; letters and hyphens.
        title: The question that it answers.
        note: How to read it, and what was left out.
        spec: Of Vega-Lite, without data, colours, width and theme.
        rows: Its data. ``variant`` is the key of a variant: only rows of those that are chosen are drawn, and rows
            without it.
    """

    name: str
    title: str
    note: str
    spec: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


def all_charts(view: View) -> list[Chart]:
    """Those that have something to show, in order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [chart for module in sorted(modules, key=lambda one: int(one.ORDER)) for chart in module.charts(view)]


def colour(**more: Any) -> dict[str, Any]:
    """Encoding of the colour of a variant; a legend where one is asked for."""
    return {"field": "variant", "type": "nominal", "scale": VARIANTS, "legend": None, **more}


def variant_axis() -> dict[str, Any]:
    """Encoding of one line per variant."""
    return {"field": "variant", "type": "nominal", "sort": ORDER, "title": None, "axis": {"ticks": False}}


def key_of(entry: Entry) -> str:
    """What ``variant`` of a row is."""
    return entry.variant.key


def per_device(view: View, name: str) -> Iterator[tuple[str, str, list[Entry]]]:
    """Name of a chart, words behind its title, and entries, for each device whose times mean something."""
    for index, (words, entries) in enumerate(view.by_device()):
        yield f"{name}-{index}", words, entries
