"""Gather, scatter and what else goes by places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import RefusalError, operator
from converters.onnx_import.tensors import typed


def _from_start(places: Any, size: int) -> Any:
    """Places that may count from the end, from the start."""
    return torch.where(places < 0, places + size, places)


@operator("Gather", known=(1,))
def gather(node: Any, x: Any, places: Any) -> Any:
    axis = node.get("axis", 0) % max(x.dim(), 1)
    if not isinstance(places, torch.Tensor):
        if isinstance(x.shape[axis], int):
            places = np.where(places < 0, places + x.shape[axis], places)
        elif places.size > 1 and (places < 0).any():
            raise RefusalError("it counts from the end of an axis whose size is open")
        return _gather_known(x, axis, places.astype(np.int64))
    shape = [*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]]
    return torch.index_select(x, axis, _from_start(places, x.shape[axis]).reshape(-1)).reshape(shape)


def _gather_known(x: Any, axis: int, places: Any) -> Any:
    if places.ndim == 0:
        return torch.select(x, axis, int(places))
    flat = places.reshape(-1)
    steps = np.diff(flat)
    if flat.size and (flat.size == 1 or (steps == 1).all()):
        taken = torch.narrow(x, axis, int(flat[0]), flat.size)
    else:
        taken = torch.index_select(x, axis, torch.from_numpy(flat))
    return taken if places.ndim == 1 else taken.reshape([*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]])


def _embedding_of(node: Any, operands: Sequence[Any]) -> Any:
    """A table of weights that data looks up is an embedding."""
    table, places = operands
    if not table.constant or places.constant or table.tensor.dim() != 2 or node.get("axis", 0) != 0:
        return None
    return ("Embedding", [places, table]) if table.tensor.dtype.is_floating_point else None


operator("Gather", known=(1,), rewrite=_embedding_of)(gather)


@operator("Embedding", domain="edgekit")
def embedding(node: Any, places: Any, table: Any) -> Any:
    return nn.embedding(places, table)


@operator("GatherElements")
def gather_elements(node: Any, x: Any, places: Any) -> Any:
    axis = node.get("axis", 0)
    return torch.gather(x, axis, typed(_from_start(places, x.shape[axis]), torch.int64))


def _linear(places: Any, sizes: Sequence[int], shape: Sequence[int]) -> Any:
    """Tuples of places as one place each in the flattened axes.

    Args:
        places: Integers, the tuples on the last axis.
        sizes: Of the axes that the tuples go through.
        shape: Of the result.
    """
    flat = torch.zeros(tuple(shape), dtype=torch.int64)
    for axis, size in enumerate(sizes):
        flat = flat * size + _from_start(places[..., axis], size)
    return flat


@operator("GatherND")
def gather_nd(node: Any, x: Any, places: Any) -> Any:
    batched, depth = node.get("batch_dims", 0), places.shape[-1]
    lead, rest = list(x.shape[:batched]), list(x.shape[batched + depth :])
    sizes = list(x.shape[batched : batched + depth])
    flat = _linear(places, sizes, places.shape[:-1])
    count = math.prod(lead)
    flat = flat.reshape(count, -1) + torch.arange(count).reshape(-1, 1) * math.prod(sizes)
    taken = torch.index_select(x.reshape(count * math.prod(sizes), -1), 0, flat.reshape(-1))
    return taken.reshape([*places.shape[:-1], *rest])


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("ScatterElements", "Scatter")
def scatter_elements(node: Any, x: Any, places: Any, updates: Any) -> Any:
    axis, reduction = node.get("axis", 0), node.get("reduction", "none")
    places = _from_start(places, x.shape[axis])
    places = typed(places, torch.int64)
    if reduction == "none":
        return torch.scatter(x, axis, places, updates)
    return torch.scatter_reduce(x, axis, places, updates, _REDUCTIONS[reduction], include_self=True)


@operator("ScatterND")
def scatter_nd(node: Any, x: Any, places: Any, updates: Any) -> Any:
    depth, reduction = places.shape[-1], node.get("reduction", "none")
    sizes, rest = list(x.shape[:depth]), list(x.shape[depth:])
    flat = _linear(places, sizes, places.shape[:-1]).reshape(-1)
    rows = x.reshape(math.prod(sizes), math.prod(rest))
    values = updates.reshape(flat.shape[0], math.prod(rest))
    if reduction in ("none", "add"):
        return torch.index_put(rows, (flat,), values, accumulate=reduction == "add").reshape(x.shape)
    index = flat.reshape(-1, 1).expand(values.shape)
    return torch.scatter_reduce(rows, 0, index, values, _REDUCTIONS[reduction]).reshape(x.shape)


@operator("TensorScatter")
def tensor_scatter(node: Any, past: Any, update: Any, starts: Any = None) -> Any:
    """Rows of a cache are replaced from a place on, by sample."""
    axis = node.get("axis", -2) % past.dim()
    length = update.shape[axis]
    places = torch.arange(length).reshape(1, -1)
    if starts is not None:
        places = places + starts.reshape(-1, 1)
    if node.get("mode", "linear") == "circular":
        places = torch.remainder(places, past.shape[axis])
    shape = [1] * past.dim()
    shape[0], shape[axis] = places.shape[0], length
    return torch.scatter(past, axis, places.reshape(shape).expand(update.shape), update)


@operator("Compress", static=(1,))
def compress(node: Any, x: Any, condition: Any) -> Any:
    axis = node.get("axis")
    if axis is None:
        x, axis = x.reshape(-1), 0
    return torch.index_select(x, axis, torch.from_numpy(np.flatnonzero(condition)))


@operator("OneHot", static=(1,))
def one_hot(node: Any, places: Any, depth: Any, values: Any) -> Any:
    """Places out of range give a row without a one."""
    count = int(depth.reshape(-1)[0])
    axis = node.get("axis", -1)
    axis = axis + places.dim() + 1 if axis < 0 else axis
    shape = [1] * (places.dim() + 1)
    shape[axis] = count
    classes = torch.arange(count).to(places.dtype).reshape(shape)
    hit = _from_start(places, count).unsqueeze(axis) == classes
    return torch.where(hit, values[1], values[0])


@operator("ReverseSequence")
def reverse_sequence(node: Any, x: Any, lengths: Any) -> Any:
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    steps_shape, length_shape = [1] * x.dim(), [1] * x.dim()
    steps_shape[time], length_shape[batch] = -1, -1
    steps, ends = torch.arange(x.shape[time]).reshape(steps_shape), lengths.reshape(length_shape)
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    return torch.gather(x, time, places.expand(x.shape))


@operator("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(node: Any, x: Any, places: Any) -> Any:
    taken = torch.index_select(x, x.dim() - 1, places.reshape(-1))
    return taken.reshape(1, -1) if x.dim() == 1 else taken


@operator("Binarizer", domain="ai.onnx.ml")
def binarizer(node: Any, x: Any) -> Any:
    return (x > node.get("threshold", 0.0)).to(x.dtype)
