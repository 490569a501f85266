"""What files are made of, and where their time goes, by type of operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.report.html._colours import TYPES
from edgekit.report.html._text import scale_for
from edgekit.report.html._view import Entry, View
from edgekit.report.html.charts import Chart, key_of, variant_axis
from edgekit.report.units import SIZES

ORDER = 30

_OTHER = "all others"
_REST = "file around the weights"


def charts(view: View) -> list[Chart]:
    """Size first, then time."""
    found = (_size(_first_of_file(view)), _time(list(view.entries)))
    return [one for one in found if one is not None]


def _first_of_file(view: View) -> list[Entry]:
    """A file has one size, on whatever device it ran."""
    return list({one.variant.path: one for one in reversed(view.entries)}.values())[::-1]


def _size(entries: list[Entry]) -> Chart | None:
    parts = {key_of(one): _weights(one) for one in entries}
    parts = {key: found for key, found in parts.items() if sum(found.values())}
    if not parts:
        return None
    unit, size = scale_for([float(sum(found.values())) for found in parts.values()], SIZES)
    rows, types = _stacked(parts, lambda value: value / size)
    note = (
        "Weights by the type of the operator that reads them, each once; what is left of the file is its graph, names "
        "and padding."
    )
    return _chart("size", "What is the size made of?", note, f"bytes in the file ({unit})", rows, types)


def _weights(entry: Entry) -> Counter[str]:
    found: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for work in entry.profile.work if entry.profile is not None else ():
        found[work.operator] += work.weights_bytes
        macs[work.operator] += work.macs or 0
    stored, size = entry.figure("weights_bytes"), entry.variant.size.value
    most = size if stored is None else stored.value
    if most is not None:
        found = _once(found, macs, int(most))
    total = sum(found.values())
    if total and size is not None and size > total:
        found[_REST] = int(size) - total
    return found


def _once(found: Counter[str], macs: Counter[str], most: int) -> Counter[str]:
    """What several operators read counts once: where it is computed with, not where it is only passed on.

    A float16 TFLite file has each weight read by ``DEQUANTIZE`` and, through it, by a convolution.
    """
    kept = Counter(found)
    over = sum(kept.values()) - most
    for name in sorted(kept, key=lambda one: (macs[one] > 0, -kept[one])):
        less = min(max(over, 0), kept[name])
        kept[name] -= less
        over -= less
    return kept


def _time(entries: list[Entry]) -> Chart | None:
    parts = {key_of(one): _times(one) for one in entries if not one.variant.emulated}
    parts = {key: found for key, found in parts.items() if sum(found.values())}
    if not parts:
        return None
    shares = {
        key: Counter({name: time / sum(found.values()) for name, time in found.items()}) for key, found in parts.items()
    }
    rows, types = _stacked(shares, lambda share: share * 100)
    note = (
        "Shares of the time of all operators, under the profiler of the runtime, which makes runs slower: only the "
        "shares count. Formats call the same operator by different names."
    )
    return _chart("operators", "Which operators take the time?", note, "share of the operators' time (%)", rows, types)


def _times(entry: Entry) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in entry.profile.operators if entry.profile is not None else ():
        found[one.operator] += one.time_ns  # type: ignore[assignment]
    return found


def _stacked(
    parts: Mapping[str, Mapping[str, float]], scaled: Callable[[float], float]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of bars, and the types in the order of their colours."""
    most: Counter[str] = Counter()
    for found in parts.values():
        total = sum(found.values())
        for name, value in found.items():
            most[name] = max(most[name], value / total)  # type: ignore[assignment]
    types = [name for name, _ in most.most_common(len(TYPES) - 1)]
    rows = []
    for key, found in parts.items():
        together: Counter[str] = Counter()
        for name, value in found.items():
            together[name if name in types else _OTHER] += value  # type: ignore[assignment]
        rows += [{"variant": key, "type": name, "value": scaled(value)} for name, value in together.items() if value]
    return rows, [*types, _OTHER] if len(most) > len(types) else types


def _chart(name: str, title: str, note: str, axis: str, rows: list[dict[str, Any]], types: list[str]) -> Chart:
    colours = [light for light, _ in TYPES[: len(types)]]
    if types[-1] == _OTHER:
        colours[-1] = TYPES[-1][0]
    place = {one: index for index, one in enumerate(types)}
    tip = [
        {"field": "variant", "title": "file"},
        {"field": "type", "title": "operator"},
        {"field": "value", "title": axis, "format": ".3~g"},
    ]
    spec = {
        "height": {"step": 28},
        "mark": {"type": "bar", "stroke": "#fefefe", "strokeWidth": 0.6},
        "encoding": {
            "y": variant_axis(),
            "x": {"field": "value", "type": "quantitative", "title": axis},
            "color": {
                "field": "type", "type": "nominal", "scale": {"domain": types, "range": colours},
                "legend": {"title": None},
            },
            "order": {"field": "place"},
            "tooltip": tip,
        },
    }  # fmt: skip
    return Chart(name, title, note, spec, [{**row, "place": place[row["type"]]} for row in rows])
