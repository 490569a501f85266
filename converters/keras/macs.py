"""Multiply-accumulates of a TensorFlow graph, by the shapes of its products."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

_LOOPS = ("While", "StatelessWhile")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_FORWARD = ("Conv2D", "Conv3D")
_BACKWARD = {"Conv2DBackpropInput": (2, 1), "Conv3DBackpropInputV2": (2, 1)}
"""Transposed convolutions: places of their data and of their kernel among the inputs."""
_MATRICES = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x", "BatchMatMulV3": "adj_x"}


def count(graph: Any) -> tuple[int | None, str]:
    """The multiply-accumulates of one run of a graph of fixed shapes.

    Args:
        graph: ``FuncGraph``; what its outputs do not need is left out.

    Returns:
        Their number, ``None`` where a shape or the number of turns of a loop is open; and what is taken for granted, or
        the reason.
    """
    unknown: Counter[str] = Counter()
    total = _of(graph, unknown)
    if unknown:
        return None, "no fixed shape, or an open number of turns: " + ", ".join(unknown)
    return total, "convolutions and matrix products of the TensorFlow graph; loops count each turn"


def _of(graph: Any, unknown: Counter[str]) -> int:
    return sum(_of_operator(item, graph, unknown) for item in _needed(graph))


def _needed(graph: Any) -> list[Any]:
    """The operators that outputs come from: recurrent layers leave a first step in the graph that nobody uses."""
    found: dict[Any, None] = {}
    todo = [tensor.op for tensor in graph.outputs]
    while todo:
        item = todo.pop()
        if item not in found:
            found[item] = None
            todo += [tensor.op for tensor in item.inputs] + list(item.control_inputs)
    return list(found)


def _of_operator(item: Any, graph: Any, unknown: Counter[str]) -> int:
    kind = item.type
    if kind in _LOOPS:
        # TensorFlow keeps the graph that it traced at the operator; one made anew has lost the shapes within lists.
        traced = getattr(item, "_body_graph", None)
        body = _of(traced or _called(item, item.get_attr("body").name, graph), unknown)
        turns = _turns(item)
        if body and turns is None:
            unknown[item.name] += 1
        return body * (turns or 0)
    if kind in _CALLS:
        return _of(_called(item, item.get_attr("f").name, graph), unknown)
    if kind in _BRANCHES:
        both = ("then_branch", "else_branch") if kind.endswith("If") else ()
        functions = [item.get_attr(name) for name in both] or item.get_attr("branches")
        return max(_of(_called(item, each.name, graph, skipped=1), unknown) for each in functions)
    formula = _FORMULAS.get(kind)
    if formula is None:
        return 0
    try:
        return formula(item)
    except (TypeError, ValueError):  # a size that is None
        unknown[item.name] += 1
        return 0


def _called(item: Any, name: str, graph: Any, skipped: int = 0) -> Any:
    """The graph of a function that an operator calls, with the shapes that it gets there."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    outer = graph
    while outer is not None:
        for function in outer.as_graph_def().library.function:
            if function.signature.name == name:
                shapes = [tensor.shape for tensor in item.inputs[skipped:]]
                return function_def_to_graph(function, input_shapes=shapes)
        outer = getattr(outer, "outer_graph", None)
    raise ValueError(f"{name} is not in the graph")


def _turns(loop: Any) -> int | None:
    """How often a loop of Keras turns: its inputs are a counter, the number of turns, and what it works on."""
    value = _static(loop.inputs[1]) if len(loop.inputs) > 1 else None
    return int(value) if value is not None and value.ndim == 0 and value.dtype.kind == "i" and value >= 0 else None


def _static(tensor: Any) -> Any:
    """The value of a tensor that is always the same; ``None`` of others."""
    import tensorflow as tf

    value = tf.get_static_value(tensor)
    if value is None and tensor.op.type in ("Max", "Identity") and tensor.shape.rank == 0:
        value = _static(tensor.op.inputs[0])
        value = None if value is None else value.max()
    return value


def _sizes(tensor: Any) -> list[int]:
    return [int(size) for size in tensor.shape.as_list()]


def _forward(item: Any) -> int:
    return math.prod(_sizes(item.outputs[0])) * math.prod(_sizes(item.inputs[1])[:-1])


def _depthwise(item: Any) -> int:
    return math.prod(_sizes(item.outputs[0])) * math.prod(_sizes(item.inputs[1])[:2])


def _backward(item: Any) -> int:
    data, kernel = _BACKWARD[item.type]
    return math.prod(_sizes(item.inputs[data])) * math.prod(_sizes(item.inputs[kernel])[:-1])


def _matrices(item: Any) -> int:
    left = _sizes(item.inputs[0])
    return math.prod(_sizes(item.outputs[0])) * left[-2 if item.get_attr(_MATRICES[item.type]) else -1]


def _einsum(item: Any) -> int:
    terms = item.get_attr("equation").decode().partition("->")[0].split(",")
    if len(terms) != 2:
        return 0
    found: dict[str, int] = {}
    for term, tensor in zip(terms, item.inputs, strict=True):
        found.update(_labelled(term, _sizes(tensor)))
    return math.prod(found.values())


def _labelled(term: str, sizes: Sequence[int]) -> dict[str, int]:
    before, dots, after = term.partition("...")
    inner = len(sizes) - len(before) - len(after)
    labels = [*before, *(f"...{inner - place}" for place in range(inner)), *after] if dots else list(term)
    return dict(zip(labels, sizes, strict=True))


_FORMULAS: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(_FORWARD, _forward),
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(_BACKWARD, _backward),
    **dict.fromkeys(_MATRICES, _matrices),
    "Einsum": _einsum,
}
