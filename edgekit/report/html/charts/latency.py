"""How long runs take, and how much that varies."""

from __future__ import annotations

from typing import Any

from edgekit.report.html._text import scale_for
from edgekit.report.html._view import Entry, View
from edgekit.report.html.charts import Chart, colour, key_of, per_device, variant_axis
from edgekit.report.units import TIMES

ORDER = 10

_FEW = 6
"""Files with so many strokes each that a browser draws them at once."""

_WIDE_RATIO = 30.0
"""Between the slowest and the fastest run, beyond which the axis is logarithmic."""


def charts(view: View) -> list[Chart]:
    """One per device."""
    found = []
    for name, words, entries in per_device(view, "latency"):
        timed = [(one, runs) for one in entries if (runs := _runs(one))]
        if timed:
            found.append(_chart(name, words, timed))
    return found


def _runs(entry: Entry) -> list[int]:
    turns = entry.profile.turns if entry.profile is not None else ()
    return sorted(ns for turn in turns for ns in turn.ns)


def _chart(name: str, words: str, timed: list[tuple[Entry, list[int]]]) -> Chart:
    unit, size = scale_for([runs[len(runs) // 2] for _, runs in timed], TIMES)
    rows: list[dict[str, Any]] = []
    step = 1 if len(timed) <= _FEW else 2
    for entry, runs in timed:
        rows += [{"variant": key_of(entry), "time": ns / size} for ns in _percentiles(runs, step)]
        rows.append(_median(entry, size, len(runs)))
    times = [row["time"] for row in rows if "time" in row]
    log = max(times) > _WIDE_RATIO * min(times) > 0
    scale = {"type": "log"} if log else {"zero": False}
    x = {"type": "quantitative", "title": f"time of a run ({unit}{', logarithmic' if log else ''})", "scale": scale}
    return Chart(
        name,
        f"How long does a run take{words}?",
        f"Each stroke is {step} % of the runs; the dot is the median, the bar through it its 95 % interval. The "
        f"slowest {step} % are not drawn.",
        {"height": {"step": 30}, "encoding": {"y": variant_axis(), "color": colour()}, "layer": _layers(x)},
        rows,
    )


def _layers(x: dict[str, Any]) -> list[dict[str, Any]]:
    tip = [
        {"field": "variant", "title": "file"},
        {"field": "p50", "title": "median", "format": ".4~g"},
        {"field": "low", "title": "95 % from", "format": ".4~g"},
        {"field": "high", "title": "to", "format": ".4~g"},
        {"field": "runs", "title": "runs"},
    ]
    return [
        {"mark": {"type": "tick", "thickness": 1.2, "opacity": 0.4}, "encoding": {"x": {**x, "field": "time"}}},
        {"mark": {"type": "rule", "strokeWidth": 4}, "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
        {
            "mark": {
                "type": "point",
                "filled": True,
                "size": 90,
                "opacity": 1,
                "stroke": "#fefefe",
                "strokeWidth": 1.5,
            },
            "encoding": {"x": {**x, "field": "p50"}, "tooltip": tip},
        },
    ]


def _percentiles(runs: list[int], step: int) -> list[int]:
    """Of sorted runs, by nearest rank, up to the last but one step."""
    return [runs[-(-len(runs) * part // 100) - 1] for part in range(step, 100, step)]


def _median(entry: Entry, size: float, runs: int) -> dict[str, Any]:
    p50 = entry.variant.p50
    row: dict[str, Any] = {"variant": key_of(entry), "runs": runs}
    for name, value in (("p50", p50.value), ("low", p50.low), ("high", p50.high)):
        if value is not None:
            row[name] = value / size
    return row
