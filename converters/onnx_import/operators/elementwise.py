"""Arithmetic and activations, element by element."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import operator
from converters.onnx_import.tensors import typed

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types that torch stores and hardly computes with."""


def wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute :data:`UNSIGNED` as int64: the same bits, for what wraps around."""

    @functools.wraps(function)
    def call(node: Any, *operands: Any) -> Any:
        dtypes = [item.dtype for item in operands if isinstance(item, torch.Tensor) and item.dtype in UNSIGNED]
        if not dtypes:
            return function(node, *operands)
        changed = [
            item.to(torch.int64) if isinstance(item, torch.Tensor) and item.dtype in UNSIGNED else item
            for item in operands
        ]
        result = function(node, *changed)
        return result if result.dtype == torch.bool else typed(result, dtypes[0])

    return call


def _unary(name: str, function: Callable[[Any], Any]) -> None:
    operator(name)(wide(lambda node, x: function(x)))


for _name, _function in {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
    "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh,
    "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "HardSwish": nn.hardswish, "Log": torch.log,
    "Mish": nn.mish, "Neg": torch.neg, "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh, "Softplus": nn.softplus,
    "Softsign": nn.softsign, "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
}.items():  # fmt: skip
    _unary(_name, _function)


def _promoted(node: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Before opset 7 the second operand of arithmetic was aligned at ``axis``, where ``broadcast`` said so."""
    if node.version >= 7 or node.domain or not node.get("broadcast", 0) or not isinstance(b, torch.Tensor):
        return a, b
    axis = node.get("axis", a.dim() - b.dim()) % a.dim()
    return a, b.reshape(*b.shape, *[1] * (a.dim() - axis - b.dim()))


@operator("Add", scalars=(0, 1))
@wide
def add(node: Any, a: Any, b: Any) -> Any:
    a, b = _promoted(node, a, b)
    return torch.add(a, b) if isinstance(a, torch.Tensor) else torch.add(b, a)


@operator("Mul", scalars=(0, 1))
@wide
def mul(node: Any, a: Any, b: Any) -> Any:
    a, b = _promoted(node, a, b)
    return torch.mul(a, b) if isinstance(a, torch.Tensor) else torch.mul(b, a)


@operator("Sub", scalars=(1,))
@wide
def sub(node: Any, a: Any, b: Any) -> Any:
    return torch.sub(*_promoted(node, a, b))


@operator("Div", scalars=(1,))
@wide
def div(node: Any, a: Any, b: Any) -> Any:
    a, b = _promoted(node, a, b)
    return torch.div(a, b) if a.dtype.is_floating_point else torch.div(a, b, rounding_mode="trunc")


@operator("Mod", scalars=(1,))
@wide
def mod(node: Any, a: Any, b: Any) -> Any:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


@operator("Pow", scalars=(1,))
def power(node: Any, a: Any, b: Any) -> Any:
    a, b = _promoted(node, a, b)
    if isinstance(b, torch.Tensor) and b.dtype in UNSIGNED:
        b = b.to(torch.int64)
    if isinstance(b, (int, float)) and b == 2:
        return torch.mul(a, a)
    return typed(torch.pow(a, b), a.dtype)


def _variadic(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def call(node: Any, *operands: Any) -> Any:
        return functools.reduce(function, operands)

    return wide(call)


operator("Sum")(_variadic(torch.add))
operator("Max")(_variadic(torch.maximum))
operator("Min")(_variadic(torch.minimum))


@operator("Mean")
def mean(node: Any, *operands: Any) -> Any:
    return functools.reduce(torch.add, operands) / len(operands)


@operator("Clip", known=(1, 2))
@wide
def clip(node: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    if node.version < 11:
        low, high = node.get("min"), node.get("max")
    low, high = (_bound(item) for item in (low, high))
    if low is None and high is None:
        return x
    tensors = [item for item in (low, high) if isinstance(item, torch.Tensor)]
    if tensors:
        x = x if low is None else torch.maximum(x, _as_tensor(low, x))
        return x if high is None else torch.minimum(x, _as_tensor(high, x))
    if not x.dtype.is_floating_point:
        return torch.clamp(x, low, high)
    # A bound beyond the type's own is none; runtimes have kernels for the common pairs.
    low = None if low is not None and low <= torch.finfo(x.dtype).min else low
    high = None if high is not None and high >= torch.finfo(x.dtype).max else high
    if (low, high) == (0, None):
        return torch.relu(x)
    if low is not None and high is not None and low <= high:
        return nn.relu6(x) if (low, high) == (0, 6) else nn.hardtanh(x, low, high)
    if low is not None and high is not None:
        return torch.full_like(x, high)
    return x.clone() if low is None and high is None else torch.clamp(x, low, high)


def _bound(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, torch.Tensor)):
        return value
    return value.item()


def _as_tensor(value: Any, like: Any) -> Any:
    return typed(value, like.dtype) if isinstance(value, torch.Tensor) else torch.full((), value, dtype=like.dtype)


@operator("Elu")
def elu(node: Any, x: Any) -> Any:
    return nn.elu(x, node.get("alpha", 1.0))


@operator("Celu")
def celu(node: Any, x: Any) -> Any:
    return nn.celu(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node: Any, x: Any) -> Any:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return gamma * nn.elu(x, alpha)


@operator("LeakyRelu")
def leaky_relu(node: Any, x: Any) -> Any:
    return nn.leaky_relu(x, node.get("alpha", 0.01))


@operator("PRelu")
def prelu(node: Any, x: Any, slope: Any) -> Any:
    sizes = list(slope.shape)
    per_channel = x.dim() > 1 and slope.numel() in (1, x.shape[1]) and _channel_only(sizes, x.dim())
    if per_channel and slope.dtype.is_floating_point:
        return nn.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _channel_only(sizes: list[int], rank: int) -> bool:
    """Whether a slope of these sizes, aligned at the right, has one value per channel or one in all."""
    padded = [1] * (rank - len(sizes)) + sizes
    return all(size == 1 for axis, size in enumerate(padded) if axis != 1)


@operator("ThresholdedRelu")
def thresholded_relu(node: Any, x: Any) -> Any:
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("HardSigmoid")
def hard_sigmoid(node: Any, x: Any) -> Any:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return nn.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


@operator("Swish")
def swish(node: Any, x: Any) -> Any:
    alpha = node.get("alpha", 1.0)
    return nn.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


@operator("Gelu")
def gelu(node: Any, x: Any) -> Any:
    return nn.gelu(x, approximate=node.get("approximate", "none"))


@operator("Shrink")
def shrink(node: Any, x: Any) -> Any:
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    return _shrunk(x, bias, limit)


def _shrunk(x: Any, bias: float, limit: float) -> Any:
    zero = torch.zeros_like(x)
    return typed(torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero)), x.dtype)


@operator("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: Any, x: Any) -> Any:
    """Up to opset 12 the tensor was seen as a matrix, cut at the axis."""
    function = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax, "Hardmax": _hardmax}[node.operator]
    if node.version >= 13:
        return function(x, dim=node.get("axis", -1))
    axis = node.get("axis", 1) % max(x.dim(), 1)
    if x.dim() and math.prod(x.shape[axis + 1 :]) == 1:
        return function(x, dim=axis)
    return function(x.flatten(axis), dim=-1).reshape(x.shape)


def _hardmax(x: Any, dim: int) -> Any:
    first = torch.argmax(x, dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, first, 1.0)
