"""Multiply-accumulates of ONNX operators that hold several products: recurrent layers, attention, Einsum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from converters.onnx._graph import Graph, attribute

Sizes = tuple[int, ...]
_RECURRENT = ("DynamicQuantizeLSTM", "GRU", "LSTM", "RNN")
_HEADS = {"Attention": "q_num_heads", "GroupQueryAttention": "num_heads", "MultiHeadAttention": "num_heads"}
_KEY_VALUE_HEADS = {"Attention": "kv_num_heads", "GroupQueryAttention": "kv_num_heads"}
_PAST = {"Attention": 4, "MultiHeadAttention": 6, "GroupQueryAttention": 3}  # operand: keys of earlier tokens
_RANK_WITH_HEADS, _PACKED_RANK, _OPERANDS = 4, 5, 3


def is_covered(node: Any) -> bool:
    """Whether :func:`macs` counts this operator."""
    return _formula(node) is not None


def macs(node: Any, graph: Graph) -> int | None:
    """Multiply-accumulates of one run; ``None`` when a shape is unknown or dynamic."""
    formula = _formula(node)
    assert formula is not None  # noqa: S101 - asked for before
    return formula(node, graph)


def _formula(node: Any) -> Callable[[Any, Graph], int | None] | None:
    own = node.domain in ("", "ai.onnx")
    if node.op_type in ("Attention", "QAttention") and not own:
        return _fused_attention
    if node.op_type in ("GroupQueryAttention", "MultiHeadAttention") or (node.op_type == "Attention" and own):
        return _attention
    return {"DeformConv": _deformable, "Einsum": _einsum, **dict.fromkeys(_RECURRENT, _recurrent)}.get(node.op_type)


def _sizes(node: Any, graph: Graph, index: int) -> Sizes | None:
    """Of an input; ``None`` where one of them is unknown or there is no such input."""
    return _known(graph.value(node, index).shape) if index < len(node.input) and node.input[index] else None


def _known(shape: Sequence[int | None] | None) -> Sizes | None:
    sizes = [size for size in shape or () if size is not None]
    return tuple(sizes) if shape is not None and len(sizes) == len(shape) else None


def _recurrent(node: Any, graph: Graph) -> int | None:
    """Each step of each sequence meets the matrices of all gates: ``[directions, gates * hidden, …]``."""
    data, weights, again = (_sizes(node, graph, index) for index in range(3))
    if data is None or weights is None or again is None:
        return None
    return math.prod(data[:2]) * (math.prod(weights) + math.prod(again))


def _deformable(node: Any, graph: Graph) -> int | None:
    """As a convolution; the interpolation of its samples is elementwise, and does not count."""
    weights = _sizes(node, graph, 1)
    output = graph.values.get(node.output[0])
    elements = output.elements if output is not None else None
    return None if weights is None or elements is None else elements * math.prod(weights[1:])


def _einsum(node: Any, graph: Graph) -> int | None:
    """Of two operands: one product for each combination of labels. Of more, contracted from left to right."""
    equation = attribute(node, "equation", b"").decode().replace(" ", "")
    terms, _, result = equation.partition("->")
    sizes: dict[str, int] = {}
    operands: list[set[str]] = []
    for index, term in enumerate(terms.split(",")):
        shape = _sizes(node, graph, index)
        if shape is None:
            return None
        labels = _labels(term, len(shape))
        # Of a size that is broadcast, the larger side counts.
        sizes |= {label: max(size, sizes.get(label, 1)) for label, size in zip(labels, shape, strict=True)}
        operands.append(set(labels))
    kept = set(result) if "->" in equation else _once(terms)
    kept |= {label for label in sizes if label.startswith("…")}
    total, left = 0, operands[0]
    for place, right in enumerate(operands[1:], 1):
        needed = left | right
        total += math.prod(sizes[label] for label in needed)
        left = needed & kept.union(*operands[place + 1 :])
    return total


def _labels(term: str, rank: int) -> list[str]:
    """One for each axis; those of an ellipsis count from its end, as they are broadcast."""
    before, dots, after = term.partition("...")
    inner = rank - len(before) - len(after)
    return [*before, *(f"…{inner - place}" for place in range(inner)), *after] if dots else list(term)


def _once(terms: str) -> set[str]:
    """The labels of a result that is not written out."""
    return {label for label in terms if label.isalpha() and terms.count(label) == 1}


def _attention(node: Any, graph: Graph) -> int | None:
    """Queries with keys, and weights with values; of ``[batch, heads, length, size]`` or heads side by side.

    Masked products count: only some kernels leave them out.
    """
    query, key, value = (_sizes(node, graph, index) for index in range(3))
    if query is None:
        return None
    heads = int(attribute(node, _HEADS[node.op_type], 1))
    key_heads = int(attribute(node, _KEY_VALUE_HEADS.get(node.op_type, ""), heads)) or heads
    past = _sizes(node, graph, _PAST[node.op_type])
    earlier = past[-2] if past is not None else 0
    if len(node.input) < _OPERANDS or not node.input[1] or not node.input[2]:  # packed with the queries
        batch, length = query[:2]
        packed = len(query) == _PACKED_RANK  # [batch, length, heads, 3, size]
        width = query[-1] if packed else query[-1] // (heads + 2 * key_heads)
        return 2 * batch * length * (length + earlier) * heads * width
    if key is None or value is None:
        return None
    if len(query) == _RANK_WITH_HEADS:
        batch, heads, length, width = query
    else:
        batch, length, width = query[0], query[1], query[2] // heads
    per_head = value[-1] if len(value) == _RANK_WITH_HEADS else value[-1] // key_heads
    return batch * length * (key[-2] + earlier) * heads * (width + per_head)


def _fused_attention(node: Any, graph: Graph) -> int | None:
    """ONNX Runtime's own: the projections to queries, keys and values are part of it."""
    data, weights = (_sizes(node, graph, index) for index in range(2))
    if data is None or weights is None:
        return None
    batch, length, width = data
    past = _sizes(node, graph, 4 if node.op_type == "Attention" else 8)
    tokens = length + (past[-2] if past is not None else 0)
    queries, _, values = attribute(node, "qkv_hidden_sizes", None) or [weights[-1] // 3] * 3
    return batch * length * (width * weights[-1] + tokens * (int(queries) + int(values)))
