"""Comparisons, logic and bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from converters.onnx_import.operators import operator
from converters.onnx_import.operators.elementwise import UNSIGNED, wide

_LOWEST = -(2**63)


def _ordered(item: Any) -> Any:
    """A number whose int64 sorts as the unsigned original."""
    if not isinstance(item, torch.Tensor) or item.dtype not in UNSIGNED:
        return item
    changed = item.to(torch.int64)
    return torch.bitwise_xor(changed, _LOWEST) if item.dtype == torch.uint64 else changed


def _comparison(name: str, function: Callable[[Any, Any], Any]) -> None:
    def call(node: Any, a: Any, b: Any) -> Any:
        return function(_ordered(a), _ordered(b))

    operator(name)(call)


for _name, _function in {
    "Equal": torch.eq, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
}.items():  # fmt: skip
    _comparison(_name, _function)


def _binary(name: str, function: Callable[[Any, Any], Any]) -> None:
    operator(name)(wide(lambda node, a, b: function(a, b)))


for _name, _function in {
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor, "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor,
}.items():  # fmt: skip
    _binary(_name, _function)


@operator("Not")
def logical_not(node: Any, x: Any) -> Any:
    return torch.logical_not(x)


@operator("BitwiseNot")
@wide
def bitwise_not(node: Any, x: Any) -> Any:
    return torch.bitwise_not(x)


@operator("BitShift")
def bit_shift(node: Any, x: Any, by: Any) -> Any:
    """Of unsigned numbers: to the right, zeros come in; shifting by all bits or more leaves zero."""
    bits = torch.iinfo(x.dtype).bits
    value, count = x.to(torch.int64), by.to(torch.int64)
    safe = torch.clamp(count, 0, bits - 1)
    if node.get("direction") == "LEFT":
        shifted = torch.bitwise_left_shift(value, safe)
    else:
        # int64 shifts its sign in: mask those bits away.
        kept = torch.bitwise_left_shift(torch.full_like(safe, 1), bits - safe) - 1
        kept = torch.where(safe == 0, torch.full_like(safe, -1), kept)
        shifted = torch.bitwise_and(torch.bitwise_right_shift(value, safe), kept)
    inside = (count >= 0) & (count < bits)
    if torch.iinfo(x.dtype).min < 0 and node.get("direction") != "LEFT":
        # Of a signed number, the sign comes in.
        return torch.bitwise_right_shift(value, torch.where(inside, count, torch.full_like(count, bits - 1))).to(
            x.dtype
        )
    return torch.where(inside, shifted, torch.zeros_like(shifted)).to(x.dtype)


@operator("IsNaN")
def is_nan(node: Any, x: Any) -> Any:
    return torch.isnan(x)


@operator("IsInf")
def is_inf(node: Any, x: Any) -> Any:
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    if positive and negative:
        return torch.isinf(x)
    if not positive and not negative:
        return torch.zeros_like(x, dtype=torch.bool)
    return x == (float("inf") if positive else float("-inf"))


@operator("Where")
def where(node: Any, condition: Any, a: Any, b: Any) -> Any:
    return torch.where(condition, a, b)
