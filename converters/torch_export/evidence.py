"""Single pieces of evidence for :mod:`converters.torch_export.causes`; what each holds is written there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from converters import layers as named_layers
from converters.calibration.statistics import MASKED
from converters.layers import Layer
from converters.torch_export import operators
from converters.torch_export.eight_bits import LEVELS, Range, attribute, is_float
from converters.torch_export.layers import constant_nodes, kind_of
from converters.torch_export.simulate import LayerSqnr
from converters.torch_export.training_data import OUTLIER
from edgekit.feeds import Feeds

_HUGE = 1e4
"""Constants beyond this stand for infinity: no trained activation comes near."""
_CONSTANT_OPERATORS = frozenset(
    "constant_pad_nd pad full full_like new_full masked_fill fill where scalar_tensor add sub".split()
)

_FEW_STEPS = 5.0
"""Steps of 8 bits: what spans fewer keeps under 14 dB (:mod:`profiles.metrics.slices` has the arithmetic)."""
_CLEAR_GAP = 10.0
"""Between the ranges of two inputs of a concatenation that are of different kinds."""

_OUTLIER_SHARE = 1 / 20
"""More samples than these are no outliers, but a part of the data."""


def outliers(data: Feeds) -> tuple[list[dict[str, Any]], set[int]]:
    """Inputs with a few samples that are far larger than the median one, and the places of all of those."""
    found, places = [], set()
    for name, array in data.arrays.items():
        if array.dtype.kind != "f" or data.count < 2:
            continue
        largest = np.array([float(np.abs(array[place]).max(initial=0.0)) for place in range(data.count)])
        usual = float(np.median(largest))
        strange = np.flatnonzero(largest > OUTLIER * usual) if usual > 0 else np.array([], int)
        if 0 < len(strange) <= max(1, data.count * _OUTLIER_SHARE):
            places |= {int(place) for place in strange}
            found.append({
                "input": name, "places": [_place_in_data(data, int(place)) for place in strange[:5]],
                "samples": len(strange), "of": data.count, "largest": f"{largest.max():.3g}", "usual": f"{usual:.3g}",
            })  # fmt: skip
    return found, places


def _place_in_data(data: Feeds, place: int) -> int:
    """Which of the user's samples it is: some were held out before these were written."""
    return place if data.places is None else int(data.places[place])


def not_finite(values: Mapping[str, int], nodes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first places where NaN or infinity came up.

    Args:
        values: Name of a node to the number of such values, in order of execution.
        nodes: Of the program, by name.
    """
    found = [name for name in values if name in nodes]
    return [{**_place(nodes[name]), "values": values[name]} for name in found[:3]]


def _place(node: Any) -> dict[str, str]:
    if node.op == "placeholder":
        return {"path": "", "kind": "input", "node": node.name}
    return {"path": _path(node), "kind": kind_of(node), "node": node.name}


def _path(node: Any) -> str:
    return named(operators.module_path(node))


def depthwise(module: Any) -> list[dict[str, Any]]:
    """Depthwise weights whose channels one scale for all would not fit."""
    found = []
    for node in module.graph.nodes:
        if node.op != "call_function" or kind_of(node) != "depthwise_conv" or node.args[1].op != "get_attr":
            continue
        weight = attribute(module, str(node.args[1].target)).detach()
        largest = weight.abs().flatten(1).amax(1)
        largest = largest[largest > 0]
        lost = int((largest * 127 < _FEW_STEPS * largest.max()).sum()) if largest.numel() else 0
        if lost:
            ratio = float(largest.max() / largest.min())
            found.append({"path": _path(node), "ratio": ratio, "lost": lost, "channels": largest.numel()})
    return sorted(found, key=lambda item: -item["ratio"])


def huge_constants(module: Any) -> list[dict[str, Any]]:
    """Constants that stand for infinity: in the arguments of an operator, or stored and used as data.

    Those that calibration takes for masks are left out: ranges have room for them
    (:func:`converters.calibration.methods.with_room`).
    """
    constants = constant_nodes(module.graph)
    found = []
    for node in module.graph.nodes:
        if node.op != "call_function" or not operators.is_aten(node) or not is_float(node.meta.get("val")):
            continue
        name = str(node.target).split(".")[1].rstrip("_")
        if name not in _CONSTANT_OPERATORS:
            continue
        numbers = [float(item) for item in (*node.args, *node.kwargs.values()) if isinstance(item, int | float)]
        for stored in (attribute(module, target) for target in _stored(node, constants)):
            if is_float(stored) and stored.numel():
                numbers += [float(stored.min()), float(stored.max())]
        value = max((number for number in numbers if number > MASKED), key=abs, default=0.0)
        if abs(value) > _HUGE:
            found.append({**_place(node), "operator": name, "value": f"{value:.3g}"})
    return found


def _stored(node: Any, constants: set[Any]) -> set[str]:
    """Names of the stored tensors that reach a node through constants alone."""
    todo = [item for item in node.all_input_nodes if item in constants]
    found: set[str] = set()
    while todo:
        item = todo.pop()
        found |= {str(item.target)} if item.op == "get_attr" else set()
        todo.extend(item.all_input_nodes)
    return found


def wasted(measured: Iterable[LayerSqnr]) -> list[dict[str, Any]]:
    """Tensors whose values on usual samples lie within a few steps of their range."""
    found = []
    for entry in measured:
        if entry.range is None or entry.high <= entry.low:
            continue
        # Zero is among the steps whether the values come near it or not; so it belongs to what is used.
        seen = max(entry.high, 0.0) - min(entry.low, 0.0)
        steps = LEVELS * seen / max(entry.range[1] - entry.range[0], 1e-30)
        if steps < _FEW_STEPS:
            found.append({
                "path": named(entry.path), "kind": entry.kind, "node": entry.node, "range": list(entry.range),
                "seen": [entry.low, entry.high], "steps": steps,
            })  # fmt: skip
    return found[:3]


def named(path: str) -> str:
    """A module path for patterns; empty for the outermost module."""
    return "" if path == "(top)" else path


def mixed(
    module: Any, layers: Sequence[Layer], ranges: Mapping[str, Range], kept: Sequence[str]
) -> list[dict[str, Any]]:
    """Concatenations whose inputs have ranges so far apart that one scale loses the smaller."""
    heads = {layers[place].name for place in named_layers.matching(layers, "@detection-head")}
    behind = _moved_to_output(module)
    found = []
    for node in module.graph.nodes:
        if node.op != "call_function" or kind_of(node) not in ("concat", "stack") or node.name in kept:
            continue
        parts = [ranges[item.name] for item in node.all_input_nodes if item.name in ranges]
        widths = sorted(high - low for low, high in parts if high > low)
        low, high = min((item[0] for item in parts), default=0.0), max((item[1] for item in parts), default=0.0)
        small = [width for width in widths if width * LEVELS < _FEW_STEPS * (high - low)]
        others = widths[len(small) :]
        scores = low >= 0 and high <= 1
        if small and others and others[0] >= _CLEAR_GAP * small[-1] and not scores:
            found.append({
                "path": _path(node), "node": node.name, "inputs": [list(part) for part in parts],
                "is_output": node in behind, "preset": node.name in heads,
            })  # fmt: skip
    return found


def _moved_to_output(module: Any) -> set[Any]:
    """Nodes with nothing but data movement between them and an output of the model."""
    moves = named_layers.MOVES - {"concat", "stack"}
    found: set[Any] = set()
    for node in reversed(list(module.graph.nodes)):
        moved = node in found and node.op == "call_function" and kind_of(node) in moves
        if moved or node.op == "output":
            found |= set(node.all_input_nodes)
    return found
