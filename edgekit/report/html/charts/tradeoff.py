"""What speed costs: accuracy, or closeness to the reference, against time."""

from __future__ import annotations

from typing import Any

from edgekit.report.html._text import scale_for
from edgekit.report.html._view import Entry, View
from edgekit.report.html.charts import Chart, colour, key_of, per_device
from edgekit.report.units import TIMES
from edgekit.summary_types import Value

ORDER = 20

_LEAST = 2
_SCALE = {"zero": False, "nice": False, "padding": 14}


def charts(view: View) -> list[Chart]:
    """One per device on which two files or more have both figures."""
    found = []
    for name, words, entries in per_device(view, "tradeoff"):
        rated = [one for one in entries if one.variant.p50.value is not None and one.variant.accuracy.value is not None]
        close = [one for one in entries if one.variant.p50.value is not None and one.variant.sqnr.value is not None]
        if len(rated) >= _LEAST:
            found.append(_accuracy(name, words, rated))
        elif len(close) >= _LEAST:
            found.append(_sqnr(name, words, close))
    return found


def _accuracy(name: str, words: str, entries: list[Entry]) -> Chart:
    first = entries[0].variant
    share = first.accuracy.unit == "ratio"
    unit = "%" if share else first.accuracy.unit
    title = f"{first.accuracy_name or 'accuracy'}{f' ({unit})' if unit else ''}"
    values = [one.variant.accuracy for one in entries]
    return _chart(
        (name, f"What does speed cost in accuracy{words}?"),
        entries,
        [_scaled(one, 100.0 if share else 1.0) for one in values],
        title,
        first.accuracy_better is not False,
    )


def _sqnr(name: str, words: str, entries: list[Entry]) -> Chart:
    head = (name, f"What does speed cost in closeness to the reference{words}?")
    return _chart(head, entries, [one.variant.sqnr for one in entries], "SQNR of the worst output (dB)", True)


def _scaled(value: Value, factor: float) -> Value:
    low, high = (None if bound is None else bound * factor for bound in (value.low, value.high))
    return Value(None if value.value is None else value.value * factor, value.unit, low, high)


def _chart(head: tuple[str, str], entries: list[Entry], values: list[Value], title: str, higher: bool) -> Chart:
    unit, size = scale_for([one.variant.p50.value or 0.0 for one in entries], TIMES)
    rows = [_row(entry, value, size) for entry, value in zip(entries, values, strict=True)]
    front = _front(rows, higher)
    rows += [{"front_time": one["time"], "front": one["value"]} for one in front] if len(front) > 1 else []
    x = {"type": "quantitative", "title": f"median time of a run ({unit})", "scale": _SCALE}
    y = {"type": "quantitative", "title": title, "scale": _SCALE}
    better = "up" if higher else "down"
    line = " The dashed line joins the files that no other one beats in both." if len(front) > 1 else ""
    note = f"Better is to the left and {better}. Bars are 95 % intervals; where those overlap, little is shown.{line}"
    targets = len({one.variant.target for one in entries})
    layers = [*([_line(x, y)] if len(front) > 1 else []), *_points(x, y, targets)]
    return Chart(*head, note, {"height": 300, "layer": layers}, rows)


def _row(entry: Entry, value: Value, size: float) -> dict[str, Any]:
    p50 = entry.variant.p50
    found = {
        "time": (p50.value, size),
        "from": (p50.low, size),
        "to": (p50.high, size),
        "value": (value.value, 1.0),
        "low": (value.low, 1.0),
        "high": (value.high, 1.0),
    }
    known = {name: figure / by for name, (figure, by) in found.items() if figure is not None}
    return {"variant": key_of(entry), "target": entry.variant.target, **known}


def _front(rows: list[dict[str, Any]], higher: bool) -> list[dict[str, Any]]:
    """Files that none beats in both, from the fastest on."""
    sign = 1 if higher else -1
    found: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda one: (one["time"], -sign * one["value"])):
        if not found or sign * row["value"] > sign * found[-1]["value"]:
            found.append(row)
    return found


def _line(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "mark": {"type": "line", "strokeDash": [4, 4], "color": "#5a6270", "strokeWidth": 1.2},
        "encoding": {"x": {**x, "field": "front_time"}, "y": {**y, "field": "front"}},
    }


def _points(x: dict[str, Any], y: dict[str, Any], targets: int) -> list[dict[str, Any]]:
    own = {"color": colour(legend={"title": None})}
    grey = {"title": None, "orient": "top", "columns": 3, "symbolFillColor": "#5a6270", "symbolStrokeColor": "#5a6270"}
    shape = {"field": "target", "type": "nominal", "legend": grey if targets > 1 else None}
    tip = [
        {"field": "variant", "title": "file"},
        {"field": "time", "title": x["title"], "format": ".4~g"},
        {"field": "value", "title": y["title"], "format": ".4~g"},
    ]
    at_x, at_y = {**x, "field": "time"}, {**y, "field": "value"}
    bar = {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6}
    return [
        {"mark": bar, "encoding": {"x": {**x, "field": "from"}, "x2": {"field": "to"}, "y": at_y, **own}},
        {"mark": bar, "encoding": {"x": at_x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, **own}},
        {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": {"x": at_x, "y": at_y, "shape": shape, "tooltip": tip, **own},
        },
    ]
