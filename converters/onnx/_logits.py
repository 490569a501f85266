"""Logits that an ONNX file computes for softmax alone, and the linear layers before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.calibration.ranges import Ranges
from converters.calibration.shift import LinearLayer, Shift, note
from converters.onnx._graph import attribute

Array = npt.NDArray[Any]
_SOFTMAX_OF_ONE_AXIS = 13
_BIAS = 2


def logits_of(model: Any) -> dict[str, int]:
    """The tensors that softmax alone reads, and its axis."""
    version = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
    returned = {item.name for item in model.graph.output}
    return {
        name: int(attribute(nodes[0], "axis", -1))
        for name, nodes in _readers(model).items()
        # Before version 13 softmax went along all axes from the given one on.
        if version >= _SOFTMAX_OF_ONE_AXIS and {node.op_type for node in nodes} == {"Softmax"} and name not in returned
    }


def layers_before(model: Any) -> list[LinearLayer]:
    """Gemm with stored float weights of its own, whose result softmax alone reads, along the classes."""
    stored = {item.name: item for item in model.graph.initializer}
    return [_layer(node, stored) for node in _before_softmax(model)]


def shift(
    model: Any, schemes: Mapping[str, str], ranges: Ranges, method: str
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Shift the logits that calibration has found a shift for (:mod:`converters.calibration.shift`).

    Args:
        model: A prepared one, float; is changed.
        schemes: By name of the node.
        ranges: Of the file.
        method: Of choosing ranges.

    Returns:
        New ranges by name of the tensor, and what to tell the user.
    """
    nodes = {node.output[0]: node for node in _before_softmax(model) if schemes[node.name] == "int8"}
    found, before = ranges.chosen_shifted(method, nodes), ranges.chosen(method)
    for name in found:
        _shift(model, nodes[name], ranges.shifted[name].shift)
    return found, [note(repr(name), before[name], after) for name, after in found.items()]


def _readers(model: Any) -> dict[str, list[Any]]:
    """By tensor the nodes that read it, those of inner graphs included."""
    readers: dict[str, list[Any]] = {}
    for node in _nodes(model.graph):
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for item in node.attribute:
            for inner in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield from _nodes(inner)


def _before_softmax(model: Any) -> list[Any]:
    logits, readers = logits_of(model), _readers(model)
    stored = {item.name: item for item in model.graph.initializer}
    returned = {item.name for item in model.graph.output}
    return [
        node
        for node in model.graph.node
        if node.op_type == "Gemm"
        and logits.get(node.output[0]) in (-1, 1)
        and not attribute(node, "transA", 0)
        and attribute(node, "alpha", 1.0) == 1
        and attribute(node, "beta", 1.0) == 1
        and _is_float(stored.get(node.input[1]))
        and len(readers[node.input[1]]) == 1
        and node.input[1] not in returned
        and (not _bias(node) or _is_vector(stored.get(_bias(node)), stored[node.input[1]], node))
    ]


def _is_float(tensor: Any) -> bool:
    import onnx

    return tensor is not None and bool(tensor.data_type == onnx.TensorProto.FLOAT)


def _is_vector(tensor: Any, weights: Any, node: Any) -> bool:
    classes = weights.dims[0 if attribute(node, "transB", 0) else 1]
    return _is_float(tensor) and list(tensor.dims) == [classes]


def _bias(node: Any) -> str:
    return str(node.input[_BIAS]) if len(node.input) > _BIAS else ""


def _layer(node: Any, stored: Mapping[str, Any]) -> LinearLayer:
    import onnx

    weights = onnx.numpy_helper.to_array(stored[node.input[1]])
    weights = weights if attribute(node, "transB", 0) else weights.T
    bias = onnx.numpy_helper.to_array(stored[_bias(node)]) if _bias(node) else np.zeros(len(weights), np.float32)
    return LinearLayer(node.output[0], node.input[0], weights, bias)


def _shift(model: Any, node: Any, by: Shift) -> None:
    stored = {item.name: item for item in model.graph.initializer}
    layer = _layer(node, stored)
    weights = by.weights(layer.weights)
    _store(stored[node.input[1]], weights if attribute(node, "transB", 0) else weights.T)
    bias = _bias(node)
    if not bias or len(_readers(model)[bias]) > 1:  # that of others must stay as it is
        bias = f"{layer.logits}/shifted_bias"
        model.graph.initializer.add(name=bias)
        stored[bias] = model.graph.initializer[-1]
        inputs = list(node.input)[:_BIAS]
        del node.input[:]
        node.input.extend([*inputs, bias])
    _store(stored[bias], by.bias(layer.bias))


def _store(tensor: Any, values: Array) -> None:
    import onnx

    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))
