"""Factors and shifts by constants go into the layer before them: exporters that take BatchNorm apart leave those.

Arithmetic in float64, as in :mod:`converters.torch_export.batch_norm`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from converters.onnx_import.specialize import Plan, Step, Value

_LAYERS = ("Conv", "Linear")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def fuse(plan: Plan) -> Plan:
    """The same plan without such steps."""
    read = Counter(value for step in plan.steps for value in step.operands if value is not None)
    read.update(plan.outputs)
    makers: dict[Value, Step] = {}
    kept: list[Step] = []
    for step in plan.steps:
        layer = _layer_before(step, makers, read)
        changed = None if layer is None else _changed(step, layer)
        if layer is not None and changed is not None:
            layer.operands, layer.outputs = changed, step.outputs
            makers.update({value: layer for value in step.outputs if value is not None})
            continue
        # A copy, for what was specialized stays as it was.
        own = dataclasses.replace(step)
        kept.append(own)
        makers.update({value: own for value in step.outputs if value is not None})
    return Plan(plan.inputs, plan.outputs, kept)


def _layer_before(step: Step, makers: dict[Value, Step], read: Counter[Value]) -> Step | None:
    """The layer that alone makes the data of an operation with a constant, and makes it for nobody else."""
    if step.operator.name not in _ARITHMETIC or step.operator.domain or len(step.operands) != 2:
        return None
    data = [value for value in step.operands if value is not None and not value.constant]
    if len(data) != 1 or read[data[0]] != 1 or step.node.get("broadcast", 0):
        return None
    layer = makers.get(data[0])
    if layer is None or layer.operator.name not in _LAYERS or layer.outputs[0] is not data[0]:
        return None
    constant = all(value is None or value.constant for value in layer.operands[1:])
    return layer if constant and step.outputs[0].tensor.shape == data[0].tensor.shape else None  # type: ignore[union-attr]


def _changed(step: Step, layer: Step) -> list[Value | None] | None:
    """The layer's operands with the operation in them; ``None`` where it is not one per channel."""
    import torch

    first, second = step.operands
    result, weight, bias = layer.outputs[0], layer.operands[1], [*layer.operands, None][2]
    if first is None or second is None or result is None or weight is None:
        return None
    left = first.constant
    rank = result.tensor.dim()
    vector = _per_channel((first if left else second).tensor, 1 if layer.operator.name == "Conv" else rank - 1, rank)
    if vector is None or not weight.tensor.dtype.is_floating_point:
        return None
    channels = weight.tensor.shape[0]
    vector = vector.double().expand(channels) if vector.numel() == 1 else vector.double()
    if vector.numel() != channels:
        return None
    scale, shift = torch.ones_like(vector), torch.zeros_like(vector)
    kind = step.operator.name
    if kind == "Add":
        shift = vector
    elif kind == "Mul":
        scale = vector
    elif kind == "Sub":
        scale, shift = (-scale, vector) if left else (scale, -vector)
    elif left:
        return None
    else:
        scale = 1 / vector
    old = torch.zeros_like(vector) if bias is None else bias.tensor.double()
    return [
        layer.operands[0],
        weight if kind == "Add" else _like(weight, weight.tensor.double() * scale.reshape(-1, *_ones(weight))),
        _like(weight if bias is None else bias, old * scale + shift, weight.tensor.dtype),
    ]


def _ones(weight: Value) -> list[int]:
    return [1] * (weight.tensor.dim() - 1)


def _per_channel(tensor: Any, axis: int, rank: int) -> Any:
    sizes = [1] * (rank - tensor.dim()) + list(tensor.shape)
    if len(sizes) != rank or any(size != 1 for place, size in enumerate(sizes) if place != axis):
        return None
    return tensor.reshape(-1)


def _like(old: Value, tensor: Any, dtype: Any = None) -> Value:
    return Value(tensor.to(dtype or old.tensor.dtype).contiguous(), True, old.name)
