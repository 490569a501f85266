"""What happens to speed when a file runs without pause."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from edgekit.report.html._text import scale_for
from edgekit.report.html._view import Entry, View
from edgekit.report.html.charts import Chart, colour, key_of, per_device
from edgekit.report.units import TIMES
from edgekit.types import Moment

ORDER = 50


def charts(view: View) -> list[Chart]:
    """Time, and the temperature where there is a sensor; per device."""
    found = []
    for name, words, entries in per_device(view, "sustained"):
        moments = {key_of(one): _moments(one) for one in entries if _moments(one)}
        if not moments:
            continue
        unit, size = scale_for([one.p50_ns for each in moments.values() for one in each], TIMES)
        found.append(
            _chart(
                (name, f"Does it stay that fast{words}?", f"median time of a run ({unit})"),
                _rows(moments, partial(_time, size)),
            )
        )
        warm = _rows(moments, lambda one: one.temperature_celsius)
        if warm:
            found.append(_chart((f"{name}-heat", f"How hot does it get{words}?", "hottest sensor (°C)"), warm))
    return found


def _moments(entry: Entry) -> tuple[Moment, ...]:
    run = entry.profile.sustained if entry.profile is not None else None
    return run.moments if run is not None else ()


def _time(size: float, one: Moment) -> float:
    return one.p50_ns / size


def _rows(moments: dict[str, tuple[Moment, ...]], of: Callable[[Moment], float | None]) -> list[dict[str, Any]]:
    return [
        {"variant": key, "second": one.time_s, "value": value}
        for key, each in moments.items()
        for one in each
        if (value := of(one)) is not None
    ]


def _chart(head: tuple[str, str, str], rows: list[dict[str, Any]]) -> Chart:
    name, title, axis = head
    tip = [
        {"field": "variant", "title": "file"},
        {"field": "second", "title": "after (s)", "format": ".0f"},
        {"field": "value", "title": axis, "format": ".4~g"},
    ]
    spec = {
        "height": 240,
        "mark": {"type": "line", "strokeWidth": 1.8, "point": {"size": 26}},
        "encoding": {
            "x": {"field": "second", "type": "quantitative", "title": "time since the start (s)"},
            "y": {"field": "value", "type": "quantitative", "title": axis, "scale": {"zero": False}},
            "color": colour(legend={"title": None}),
            "tooltip": tip,
        },
    }
    return Chart(name, title, "Each file ran alone, without pause; each dot is a few seconds of it.", spec, rows)
