"""Reductions, and what goes along one axis."""

from __future__ import annotations

from typing import Any

import torch

from converters.onnx_import.operators import operator
from converters.onnx_import.operators.elementwise import wide
from converters.onnx_import.tensors import typed

_NAMES = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
          "ReduceLogSumExp", "ReduceSumSquare")  # fmt: skip


@operator(*_NAMES, static=(1,))
@wide
def reduce(node: Any, x: Any, axes: Any = None) -> Any:
    chosen = node.get("axes") if axes is None else axes.reshape(-1).tolist()
    if not chosen and node.get("noop_with_empty_axes", 0):
        # Nothing is reduced, yet each element is still seen as a set of one.
        return _reduced(node.operator, x.unsqueeze(0), [0], False)
    rank = max(x.dim(), 1)
    places = sorted({int(axis) % rank for axis in chosen}) if chosen else list(range(x.dim()))
    return _reduced(node.operator, x, places, bool(node.get("keepdims", 1)))


def _reduced(kind: str, x: Any, axes: list[int], keep: bool) -> Any:
    if not axes and not x.dim():
        x, axes, keep = x.reshape(1), [0], False
    if kind == "ReduceSum":
        return torch.sum(x, axes, keep, dtype=x.dtype)
    if kind == "ReduceMean":
        return torch.mean(x, axes, keep) if x.dtype.is_floating_point else _integer_mean(x, axes, keep)
    if kind in ("ReduceMax", "ReduceMin"):
        return _extreme(kind == "ReduceMax", x, axes, keep)
    if kind == "ReduceProd":
        return _product(x, axes, keep)
    if kind == "ReduceL1":
        return torch.sum(torch.abs(x), axes, keep, dtype=x.dtype)
    if kind == "ReduceSumSquare":
        return torch.sum(x * x, axes, keep, dtype=x.dtype)
    if kind == "ReduceL2":
        return _root(torch.sum(x * x, axes, keep), x.dtype)
    if kind == "ReduceLogSum":
        return torch.log(torch.sum(x, axes, keep))
    return typed(torch.logsumexp(x if x.dtype.is_floating_point else x.to(torch.float32), axes, keep), x.dtype)


def _root(sums: Any, dtype: Any) -> Any:
    return torch.sqrt(sums) if dtype.is_floating_point else torch.sqrt(sums.to(torch.float64)).to(dtype)


def _integer_mean(x: Any, axes: list[int], keep: bool) -> Any:
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return torch.div(torch.sum(x, axes, keep), count, rounding_mode="trunc").to(x.dtype)


def _extreme(largest: bool, x: Any, axes: list[int], keep: bool) -> Any:
    if any(x.shape[axis] == 0 for axis in axes):
        sizes = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        if not keep:
            sizes = [size for axis, size in enumerate(x.shape) if axis not in axes]
        if x.dtype.is_floating_point:
            value: Any = float("-inf") if largest else float("inf")
        elif x.dtype == torch.bool:
            value = not largest
        else:
            value = torch.iinfo(x.dtype).min if largest else torch.iinfo(x.dtype).max
        return torch.full(sizes, value, dtype=x.dtype)
    if x.dtype == torch.bool:
        return (torch.amax if largest else torch.amin)(x.to(torch.uint8), axes, keep).to(torch.bool)
    return (torch.amax if largest else torch.amin)(x, axes, keep)


def _product(x: Any, axes: list[int], keep: bool) -> Any:
    dtype = x.dtype
    for axis in reversed(axes):
        x = torch.prod(x, axis, keep, dtype=dtype)
    return x


@operator("ArgMax", "ArgMin")
def arg_extreme(node: Any, x: Any) -> Any:
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    function = torch.argmax if node.operator == "ArgMax" else torch.argmin
    if not node.get("select_last_index", 0):
        return function(x, axis, keep)
    return x.shape[axis] - 1 - function(torch.flip(x, [axis]), axis, keep)


@operator("CumSum", static=(1,))
def cum_sum(node: Any, x: Any, axis: Any) -> Any:
    return _cumulative(node, x, int(axis.item()), torch.cumsum, 0)


@operator("CumProd", static=(1,))
def cum_prod(node: Any, x: Any, axis: Any) -> Any:
    return _cumulative(node, x, int(axis.item()), torch.cumprod, 1)


def _cumulative(node: Any, x: Any, axis: int, function: Any, neutral: int) -> Any:
    if node.get("reverse", 0):
        x = torch.flip(x, [axis])
    result = function(x, axis, dtype=x.dtype)
    if node.get("exclusive", 0):
        first = torch.full_like(x.narrow(axis, 0, 1), neutral)
        result = torch.cat([first, result.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return torch.flip(result, [axis]) if node.get("reverse", 0) else result


@operator("TopK", static=(1,))
def top_k(node: Any, x: Any, count: Any = None) -> Any:
    """Among equal ones the first wins, which a stable sort makes sure of."""
    number = int(count.item()) if count is not None else node.get("k")
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    keys = x.to(torch.int64) if x.dtype in (torch.uint16, torch.uint32, torch.uint64) else x
    if keys.dtype.is_floating_point:
        values, places = torch.topk(keys, number, axis, largest, True)
    else:
        values, places = torch.sort(keys, dim=axis, descending=largest, stable=True)
        values, places = values.narrow(axis, 0, number), places.narrow(axis, 0, number)
    return typed(values, x.dtype), places
