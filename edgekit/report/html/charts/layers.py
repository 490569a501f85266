"""Where drift begins: SQNR along the layers."""

from __future__ import annotations

from typing import Any

from edgekit.drift_types import LayersResult
from edgekit.report.html._view import Entry, View
from edgekit.report.html.charts import Chart, colour, key_of

ORDER = 40


def charts(view: View) -> list[Chart]:
    """One per format, since each has layers of its own."""
    found: dict[str, list[tuple[Entry, LayersResult]]] = {}
    for path, one in {one.variant.path: one for one in reversed(view.entries)}.items():
        if one.drift is not None and one.drift.layers is not None and path:
            found.setdefault(one.variant.target, []).insert(0, (one, one.drift.layers))
    made = (_chart(index, target, looked, len(found) > 1) for index, (target, looked) in enumerate(found.items()))
    return [one for one in made if one is not None]


def _chart(index: int, target: str, looked: list[tuple[Entry, LayersResult]], several: bool) -> Chart | None:
    rows = [row for entry, result in looked for row in _rows(key_of(entry), result)]
    if not rows:
        return None
    begins = any("first" in row for row in rows)
    same = sum(one.sqnr_db is None and not one.finding for _, result in looked for one in result.layers)
    left = f" {same} layers that are identical to the reference's are not drawn." if same else ""
    ring = " A ring is where SQNR collapses first." if begins else ""
    base = ", ".join(dict.fromkeys(result.reference for _, result in looked))
    return Chart(
        f"layers-{index}",
        f"Where in the network does drift begin{f' ({target})' if several else ''}?",
        f"Each dot is the output of one layer, against {base}.{ring}{left}",
        {
            "height": 280,
            "encoding": {"color": colour(legend={"title": None})},
            "layer": _LAYERS if begins else _LAYERS[:2],
        },
        rows,
    )


def _rows(key: str, result: LayersResult) -> list[dict[str, Any]]:
    return [
        {
            "variant": key,
            "depth": place + 1,
            "db": one.sqnr_db,
            "layer": one.module or one.tensor,
            "operator": one.operator,
            **({"first": one.sqnr_db} if one.index == result.first else {}),
        }
        for place, one in enumerate(result.layers)
        if one.sqnr_db is not None
    ]


_X: dict[str, Any] = {
    "field": "depth", "type": "quantitative", "title": "layer, in order of execution",
    "scale": {"zero": False, "nice": False}, "axis": {"tickMinStep": 1, "format": "d"},
}  # fmt: skip
_Y: dict[str, Any] = {"type": "quantitative", "title": "SQNR (dB)", "scale": {"zero": False}}
_TIP = [
    {"field": "variant", "title": "file"},
    {"field": "layer", "title": "layer"},
    {"field": "operator", "title": "operator"},
    {"field": "db", "title": "SQNR (dB)", "format": ".1f"},
]
_LAYERS: list[dict[str, Any]] = [
    {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": {"x": _X, "y": {**_Y, "field": "db"}}},
    {
        "mark": {"type": "point", "filled": True, "size": 34, "opacity": 1},
        "encoding": {"x": _X, "y": {**_Y, "field": "db"}, "tooltip": _TIP},
    },
    {
        "mark": {"type": "point", "size": 190, "strokeWidth": 2},
        "encoding": {"x": _X, "y": {**_Y, "field": "first"}, "tooltip": _TIP},
    },
]
