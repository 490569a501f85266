"""Figures of the operators of measured files as node data of Model Explorer, which colours a graph by them.

The form is that of "custom node data" in the wiki of google-ai-edge/model-explorer: for each graph its results by node,
and a gradient from the smallest of them to the largest. What its readers call graphs and nodes is in
:attr:`edgekit.types.NodeWork.explorer`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.types import NodeWork, Profile

TIME = "time_us"
FIGURES = (TIME, "macs", "weights_bytes", "moved_bytes")

_NS_PER_US = 1000.0
_GRADIENT = ({"stop": 0, "bgColor": "#fff7ec"}, {"stop": 1, "bgColor": "#d7301f"})
_UNREAD = "its operators could not be read"
_UNSHOWN = "Model Explorer shows none of its operators under a name that can be told from the file"
_NO_NODE = "no time of it belongs to one node of the file: kernels of a delegate, or fused ones, ran all of it"

_Place = tuple[str, str]
"""Graph and node."""


@dataclass(frozen=True)
class NodeData:
    """One figure of the nodes of one file.

    Attributes:
        name: Of the file to write: that of the model, and of the figure; of the model alone where there is none.
        content: What to write; ``None`` where the figure cannot be told for any node.
        note: Why there is no content, or what is not in it; empty when all is.
    """

    name: str
    content: Mapping[str, Any] | None
    note: str = ""


def node_data(profiles: Sequence[Profile]) -> tuple[NodeData, ...]:
    """All figures of all files, each under a name of its own."""
    stems = zip(_stems(profiles), profiles, strict=True)
    return tuple(one for stem, item in stems for one in _of_file(stem, item))


def _of_file(stem: str, item: Profile) -> list[NodeData]:
    if not any(row.explorer for row in item.work):
        return [NodeData(stem, None, _UNSHOWN if item.work else _UNREAD)]
    return [_figure(figure, f"{stem}.{figure}.json", item) for figure in FIGURES]


def _figure(figure: str, name: str, item: Profile) -> NodeData:
    values, note = _times(item) if figure == TIME else _counts(figure, item.work)
    return NodeData(name, _content(values) if values else None, note)


def _content(values: Mapping[_Place, float]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for (graph, node), value in values.items():
        content.setdefault(graph, {"results": {}, "gradient": _GRADIENT})["results"][node] = {"value": value}
    return content


def _counts(figure: str, rows: Sequence[NodeWork]) -> tuple[dict[_Place, float], str]:
    found = [(row.explorer, getattr(row, figure)) for row in rows]
    values = {place: value for place, value in found if place is not None and value is not None}
    missing = len(rows) - len(values)
    return values, f"{missing} of {len(rows)} operators are not in it" if missing else ""


def _times(item: Profile) -> tuple[dict[_Place, float], str]:
    """The time of each node in microseconds, and how much of the time is of none."""
    if not item.operators:
        ratio = next((one for one in item.measurements if one.metric == "operators_time_ratio"), None)
        return {}, ratio.unavailable if ratio and ratio.unavailable else "operators were not timed (--ops)"
    alike = Counter(row.node for row in item.work)
    places = {row.node: row.explorer for row in item.work if alike[row.node] == 1}
    values: dict[_Place, float] = {}
    elsewhere = 0.0
    for one in item.operators:
        place = places.get(one.node)
        if place is None:
            elsewhere += one.share
        else:
            values[place] = values.get(place, 0.0) + one.time_ns / _NS_PER_US
    if not values:
        return values, _NO_NODE
    return values, f"{elsewhere:.1%} of the time belongs to no node of the file" if elsewhere else ""


def _stems(profiles: Sequence[Profile]) -> list[str]:
    """A name for each: that of the file, with the threads where they differ, numbered where that is not enough."""
    several = len({item.threads for item in profiles}) > 1
    names = [Path(item.path).name + (f".threads{item.threads}" if several else "") for item in profiles]
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return found
