"""Logits that a TFLite file computes for softmax alone, and the linear layers before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from converters.calibration.ranges import Ranges
from converters.calibration.shift import LinearLayer, Shift, note
from converters.tflite import _file
from converters.tflite._file import Model, Operator, Tensor

Array = npt.NDArray[Any]
_BIAS = 2


def logits_of(model: Model, names: Mapping[int, str]) -> dict[str, int]:
    """The tensors that softmax alone reads, which goes along the last axis.

    Args:
        model: A float file.
        names: Index to name of the tensors that count.
    """
    readers: dict[int, set[str]] = {}
    for item in model.subgraphs[model.entry]:
        for tensor in filter(None, item.inputs):
            readers.setdefault(tensor.index, set()).add(item.kind)
    returned = set(_file.numbers(model.raw.subgraphs[model.entry].outputs))
    only = (index for index, kinds in readers.items() if kinds == {"SOFTMAX"} and index not in returned)
    return {names[index]: -1 for index in only if index in names}


def layers_before(model: Model, names: Mapping[int, str]) -> list[LinearLayer]:
    """FULLY_CONNECTED with stored float weights of its own, whose result softmax alone reads."""
    return [_layer(model, item, names) for item in _before_softmax(model, names)]


def shift(
    model: Model, names: Mapping[int, str], schemes: list[str], ranges: Ranges, method: str
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Shift the logits that calibration has found a shift for (:mod:`converters.calibration.shift`).

    Args:
        model: Its ``raw`` is changed; to be indexed again where the result is not empty.
        names: Index to name of its activations.
        schemes: Of each operator.
        ranges: Of the file.
        method: Of choosing ranges.

    Returns:
        New ranges by name of the tensor, and what to tell the user.
    """
    operators = model.subgraphs[model.entry]
    float_read = {
        tensor.index
        for item, own in zip(operators, schemes, strict=True)
        for tensor in (*item.inputs, *item.outputs)
        if own != "int8" and tensor is not None
    }
    layers = {names[item.outputs[0].index]: item for item in _before_softmax(model, names)}
    layers = {name: item for name, item in layers.items() if item.outputs[0].index not in float_read}
    found, before = ranges.chosen_shifted(method, layers), ranges.chosen(method)
    for name in found:
        _shift(model, layers[name], names, ranges.shifted[name].shift)
    return found, [note(repr(name), before[name], after) for name, after in found.items()]


def _before_softmax(model: Model, names: Mapping[int, str]) -> list[Operator]:
    logits = logits_of(model, names)
    buffers = _uses(model)
    return [
        item
        for item in model.subgraphs[model.entry]
        if item.kind == "FULLY_CONNECTED"
        and names.get(item.outputs[0].index) in logits
        and not item.options.fusedActivationFunction
        and item.inputs[0] is not None
        and item.inputs[0].index in names
        and _is_own(item.inputs[1], model, buffers)
        and (_bias(item) is None or _is_stored(_bias(item), model))
    ]


def _uses(model: Model) -> Counter[int]:
    """How many inputs of operators are in each buffer."""
    read = (tensor for graph in model.subgraphs for item in graph for tensor in item.inputs if tensor is not None)
    return Counter(tensor.buffer for tensor in read)


def _is_stored(tensor: Tensor | None, model: Model) -> bool:
    """Whether it is stored as plain float32, inside the flatbuffer."""
    if tensor is None or tensor.dtype != "float32" or not tensor.stored_bytes:
        return False
    return model.raw.buffers[tensor.buffer].data is not None and model.raw.buffers[tensor.buffer].offset <= 1


def _is_own(tensor: Tensor | None, model: Model, buffers: Counter[int]) -> bool:
    return tensor is not None and _is_stored(tensor, model) and buffers[tensor.buffer] == 1


def _bias(item: Operator) -> Tensor | None:
    return item.inputs[_BIAS] if len(item.inputs) > _BIAS else None


def _operands(item: Operator) -> tuple[Tensor, Tensor]:
    """What it reads and its weights, of one of :func:`_before_softmax`, which has both."""
    return cast("Tensor", item.inputs[0]), cast("Tensor", item.inputs[1])


def _values(tensor: Tensor, model: Model) -> Array:
    return np.asarray(model.raw.buffers[tensor.buffer].data, np.uint8).view(np.float32).reshape(tensor.shape)


def _layer(model: Model, item: Operator, names: Mapping[int, str]) -> LinearLayer:
    source, weights = _operands(item)
    bias = _bias(item)
    matrix = _values(weights, model)
    vector = np.zeros(len(matrix), np.float32) if bias is None else _values(bias, model).reshape(-1)
    return LinearLayer(names[item.outputs[0].index], names[source.index], matrix, vector)


def _shift(model: Model, item: Operator, names: Mapping[int, str], by: Shift) -> None:
    layer = _layer(model, item, names)
    bias = _bias(item)
    model.raw.buffers[_operands(item)[1].buffer].data = _bytes(by.weights(layer.weights))
    changed = by.bias(layer.bias)
    if bias is not None and _uses(model)[bias.buffer] == 1:
        model.raw.buffers[bias.buffer].data = _bytes(changed)
        return
    _add_bias(model, item, changed, f"{layer.logits}/shifted_bias")


def _add_bias(model: Model, item: Operator, values: Array, name: str) -> None:
    """Give an operator a bias of its own: that of others must stay as it is."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.raw.subgraphs[model.entry]
    tensor, buffer = schema.TensorT(), schema.BufferT()
    buffer.data = _bytes(values)
    tensor.name, tensor.shape, tensor.type = name.encode(), np.array(values.shape, np.int32), schema.TensorType.FLOAT32
    tensor.buffer = len(model.raw.buffers)
    model.raw.buffers.append(buffer)
    graph.tensors.append(tensor)
    raw = graph.operators[model.subgraphs[model.entry].index(item)]
    raw.inputs = np.array([*_file.numbers(raw.inputs)[:_BIAS], len(graph.tensors) - 1], np.int32)


def _bytes(values: Array) -> npt.NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
