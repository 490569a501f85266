"""Logits that a program computes for softmax alone, and the linear layers before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.calibration.ranges import Ranges
from converters.calibration.shift import LinearLayer, Shift, note

_SOFTMAX = {"aten.softmax.int", "aten._softmax.default", "aten._safe_softmax.default"}
_LINEAR = "aten.linear.default"
_BIAS = 2


def logits_of(module: Any) -> dict[str, int]:
    """The tensors that softmax alone reads, and its axis."""
    found = {}
    for node in module.graph.nodes:
        kinds = {str(user.target) for user in node.users}
        if kinds and kinds <= _SOFTMAX:
            found[node.name] = int(next(iter(node.users)).args[1])
    return found


def layers_before(module: Any) -> list[LinearLayer]:
    """Linear layers with stored float weights, whose result softmax alone reads, along the classes."""
    return [_layer(module, node) for node in _before_softmax(module)]


def shift(
    module: Any, schemes: Mapping[str, str], ranges: Ranges, method: str
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Shift the logits that calibration has found a shift for (:mod:`converters.calibration.shift`).

    Args:
        module: ``torch.fx.GraphModule``, float; is changed. Each shifted layer gets weights and bias of its own.
        schemes: By name of the node.
        ranges: Of the program.
        method: Of choosing ranges.

    Returns:
        New ranges by name of the node, and what to tell the user.
    """
    nodes = {node.name: node for node in _before_softmax(module) if schemes.get(node.name) == "int8"}
    found, before = ranges.chosen_shifted(method, nodes), ranges.chosen(method)
    for name in found:
        _shift(module, nodes[name], ranges.shifted[name].shift)
    if found:
        module.graph.eliminate_dead_code()
        module.recompile()
    return found, [note(repr(name), before[name], after) for name, after in found.items()]


def _before_softmax(module: Any) -> list[Any]:
    logits = logits_of(module)
    return [
        node
        for node in module.graph.nodes
        if str(node.target) == _LINEAR
        and logits.get(node.name) in (-1, node.meta["val"].ndim - 1)
        and all(_is_stored(module, item) for item in _parameters(node))
    ]


def _parameters(node: Any) -> list[Any]:
    """Weights, and bias where there is one."""
    return [item for item in (*node.args[1 : _BIAS + 1], node.kwargs.get("bias")) if item is not None]


def _is_stored(module: Any, node: Any) -> bool:
    import torch

    return bool(node.op == "get_attr" and _value(module, node).dtype == torch.float32)


def _value(module: Any, node: Any) -> Any:
    found = module
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found.detach()


def _layer(module: Any, node: Any) -> LinearLayer:
    weights, *bias = (_value(module, item).numpy() for item in _parameters(node))
    return LinearLayer(node.name, node.args[0].name, weights, bias[0] if bias else np.zeros(len(weights), np.float32))


def _shift(module: Any, node: Any, by: Shift) -> None:
    layer = _layer(module, node)
    weights = _own(module, node, "weights", by.weights(layer.weights))
    node.args = (node.args[0], weights, _own(module, node, "bias", by.bias(layer.bias)))
    node.kwargs = {}


def _own(module: Any, node: Any, what: str, values: Any) -> Any:
    """A node for values that no other layer reads."""
    import torch

    name = f"{node.name}_shifted_{what}"
    module.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)))
    with module.graph.inserting_before(node):
        made = module.graph.get_attr(name)
    made.meta = {"val": node.meta["val"].new_empty(values.shape)}
    return made
