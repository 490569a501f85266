"""Operators that exporters write out become one again: GELU, SiLU, hard-swish, LayerNorm.

ONNX has Gelu since opset 20, LayerNormalization since 17, HardSwish since 14, Swish (SiLU) since 24. Converters and
quantizers know each as one operator; written out, every part of it is computed, and in 8 bits rounded, alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

_DEPTH = 3
"""How many products within products are taken apart: GELU has three."""
_NEAR = 1e-4
"""Relative error of a factor: some files have five digits of them."""

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""An operator of ``torch.ops.aten`` with its overload, and its arguments."""


def join(module: Any) -> None:
    """Rewrite a flat graph module in place; it computes the same."""
    for node in list(module.graph.nodes):
        for rule in _RULES.get(_name(node), ()):
            found = rule(module, node)
            # A constant of one element may still have axes of its own.
            if found is not None and len(_shape(found[1][0])) == len(_shape(node)):
                _replace(module, node, found)
                break
    module.graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name in dict(module.named_buffers(recurse=False)) if name not in read]:
        delattr(module, name)


def _replace(module: Any, node: Any, call: Call) -> None:
    import torch

    name, overload = call[0].split(".")
    with module.graph.inserting_before(node):
        made = module.graph.call_function(getattr(getattr(torch.ops.aten, name), overload), *call[1:])
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    module.graph.erase_node(node)


def _silu(module: Any, node: Any) -> Call | None:
    """``x * sigmoid(x)``."""
    for factor, x, gate in _gated(module, node):
        if _near(factor, 1) and _name(gate) == "sigmoid" and gate.args[0] is x:
            return "silu.default", (x,), {}
    return None


def _hard_swish(module: Any, node: Any) -> Call | None:
    """``x * hardsigmoid(x)``, and ``x * clip(x + 3, 0, 6) / 6``."""
    for factor, x, gate in _gated(module, node):
        joined = _near(factor, 1) and _name(gate) == "hardsigmoid" and gate.args[0] is x
        if joined or (_near(factor, 1 / 6) and _clipped(module, gate) is x):
            return "hardswish.default", (x,), {}
    return None


def _hard_sigmoid(module: Any, node: Any) -> Call | None:
    """``clip(x + 3, 0, 6) / 6``."""
    for factor, parts in _products(module, node):
        x = _clipped(module, parts[0]) if len(parts) == 1 and _near(factor, 1 / 6) else None
        if x is not None:
            return "hardsigmoid.default", (x,), {}
    return None


def _clipped(module: Any, node: Any) -> Any:
    """The ``x`` of ``clip(x + 3, 0, 6)``."""
    clips = _name(node) in ("hardtanh", "clamp") and [_number(module, item) for item in node.args[1:3]] == [0, 6]
    return _plus(module, node.args[0], 3) if clips or _name(node) == "relu6" else None


def _gelu(module: Any, node: Any) -> Call | None:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, and its approximation with ``tanh``."""
    for factor, x, gate in _gated(module, node):
        inner = _plus(module, gate, 1) if _near(factor, 0.5) else None
        if inner is None:
            continue
        if _name(inner) == "erf" and _is_product(module, inner.args[0], math.sqrt(0.5), (x,)):
            return "gelu.default", (x,), {}
        if _name(inner) == "tanh" and _is_for_tanh(module, inner.args[0], x):
            return "gelu.default", (x,), {"approximate": "tanh"}
    return None


def _is_for_tanh(module: Any, node: Any, x: Any) -> bool:
    """``sqrt(2 / pi) * (x + 0.044715 * x ** 3)``."""
    return any(
        first is x and _is_product(module, second, 0.044715, (x, x, x))
        for factor, parts in _products(module, node)
        if len(parts) == 1 and _near(factor, math.sqrt(2 / math.pi)) and _name(parts[0]) == "add"
        for first, second in _both_ways(parts[0])
    )


def _layer_norm(module: Any, node: Any) -> Call | None:
    """``d / sqrt(mean(d ** 2) + epsilon)``, where ``d = x - mean(x)``, over the last axes."""
    for centred, summed in _over_root(module, node):
        x = _centred(centred)
        for variance, shift in _both_ways(summed):
            epsilon, axes = _number(module, shift), _axes_of_mean(variance)
            if x is None or epsilon is None or axes is None or axes != _axes_of_mean(centred.args[1]):
                continue
            squared, shape = _products(module, variance.args[0]), _shape(x)
            if axes != list(range(len(shape) - len(axes), len(shape))) or not _fixed(shape[axes[0] :]):
                continue
            # Some exporters compute the difference twice.
            if any(_near(factor, 1) and len(parts) == 2 and all(_centred(part) is x for part in parts)
                   for factor, parts in squared):  # fmt: skip
                return "layer_norm.default", (x, shape[axes[0] :], None, None, epsilon), {}
    return None


def _over_root(module: Any, node: Any) -> Iterator[tuple[Any, Any]]:
    """``a, b`` of ``a / sqrt(b)``, ``a * rsqrt(b)`` and ``a * reciprocal(sqrt(b))``, where ``b`` is a sum."""
    for over, under in _both_ways(node)[: 1 if _name(node) == "div" else 2]:
        root = under.args[0] if _name(under) == "reciprocal" else under
        wanted = "rsqrt" if _name(node) == "mul" and root is under else "sqrt"
        if _name(root) == wanted and _name(root.args[0]) == "add":
            yield over, root.args[0]


def _centred(node: Any) -> Any:
    """The ``x`` of ``x - mean(x)``."""
    if _name(node) != "sub" or node.kwargs:
        return None
    x, mean = node.args[:2]
    return x if _axes_of_mean(mean) is not None and mean.args[0] is x else None


def _axes_of_mean(node: Any) -> list[int] | None:
    """Of a mean that keeps its axes."""
    if _name(node) != "mean" or len(node.args) < 3 or not node.args[2] or node.kwargs:
        return None
    rank = len(_shape(node.args[0]))
    return sorted(axis % rank for axis in node.args[1]) if rank and node.args[1] else None


def _scaled_norm(module: Any, node: Any) -> Call | None:
    """LayerNorm's own factor."""
    return _with_constant(module, node, 2)


def _shifted_norm(module: Any, node: Any) -> Call | None:
    """LayerNorm's own shift."""
    return _with_constant(module, node, 3)


def _with_constant(module: Any, node: Any, place: int) -> Call | None:
    for norm, constant in _both_ways(node):
        if _name(norm) != "layer_norm" or len(norm.users) != 1 or norm.args[place:4] != (None,) * (4 - place):
            continue
        value, sizes = _stored(module, constant), list(norm.args[1])
        if value is None or list(value.shape) != sizes or value.dtype != _dtype(norm):
            continue
        arguments = list(norm.args)
        arguments[place] = constant
        return "layer_norm.default", tuple(arguments), {}
    return None


def _dtype(node: Any) -> Any:
    """What a node computes in, where that is known."""
    value = node.meta.get("val")
    return None if value is None else value.dtype


_RULES: dict[str, tuple[Callable[[Any, Any], Call | None], ...]] = {
    "mul": (_silu, _hard_swish, _hard_sigmoid, _gelu, _layer_norm, _scaled_norm),
    "div": (_hard_swish, _hard_sigmoid, _gelu, _layer_norm),
    "add": (_shifted_norm,),
}
"""By the operator that a pattern ends with."""


def _gated(module: Any, node: Any) -> Iterator[tuple[float, Any, Any]]:
    """``factor * x * gate``, both ways round."""
    for factor, parts in _products(module, node):
        if len(parts) == 2:
            yield factor, parts[0], parts[1]
            yield factor, parts[1], parts[0]


def _products(module: Any, node: Any, depth: int = _DEPTH) -> Iterator[tuple[float, tuple[Any, ...]]]:
    """A node as a constant factor and what it multiplies, taken apart as far as each way leads."""
    yield 1.0, (node,)
    kind = _name(node)
    if not depth or kind not in ("mul", "div", "pow") or node.kwargs:
        return
    left, right = node.args[:2]
    constant = _number(module, right)
    if kind == "pow":
        if constant in (2, 3):
            yield 1.0, (left,) * int(constant)
    elif constant is not None:
        if kind == "mul" or constant:
            for factor, parts in _products(module, left, depth - 1):
                yield (factor * constant if kind == "mul" else factor / constant), parts
    elif kind == "mul" and _number(module, left) is not None:
        for factor, parts in _products(module, right, depth - 1):
            yield factor * (_number(module, left) or 0.0), parts
    elif kind == "mul":
        for first, some in _products(module, left, depth - 1):
            for second, others in _products(module, right, depth - 1):
                yield first * second, some + others


def _is_product(module: Any, node: Any, factor: float, parts: tuple[Any, ...]) -> bool:
    return any(_near(found, factor) and items == parts for found, items in _products(module, node))


def _plus(module: Any, node: Any, wanted: float) -> Any:
    """The ``x`` of ``x + wanted``."""
    if _name(node) == "add":
        for x, number in _both_ways(node):
            if _number(module, number) == wanted:
                return x
    return None


def _both_ways(node: Any) -> list[tuple[Any, Any]]:
    """The two operands of a sum or product, in both orders."""
    if node.kwargs or len(node.args) != 2:
        return []
    first, second = node.args
    return [(first, second), (second, first)]


def _name(node: Any) -> str:
    """``mul`` for a call of ``aten.mul.Tensor``; empty for what is no call."""
    target = getattr(node, "target", None)
    return str(target).split(".")[1] if getattr(target, "namespace", "") == "aten" else ""


def _number(module: Any, item: Any) -> float | None:
    """A constant of one element."""
    if isinstance(item, (int, float)):
        return float(item)
    value = _stored(module, item)
    return float(value) if value is not None and value.numel() == 1 else None


def _stored(module: Any, item: Any) -> Any:
    if getattr(item, "op", "") != "get_attr":
        return None
    value = getattr(module, str(item.target), None)
    return value if hasattr(value, "numel") else None


def _shape(node: Any) -> list[Any]:
    """Sizes, symbols among them where axes are open; empty where it is not known."""
    value = getattr(node, "meta", {}).get("val")
    return [] if value is None else list(value.shape)


def _fixed(sizes: list[Any]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _NEAR * wanted
