"""Bytes that ONNX operators move; what counts is defined in :mod:`converters.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters import work
from converters.onnx import _arithmetic as arithmetic
from converters.onnx._fusion import is_absorbed
from converters.onnx._graph import Graph, Value

# Only the shape changes, or nothing does.
_VIEWS = frozenset("Constant Dropout Flatten Identity Reshape Shape Size Squeeze Unsqueeze".split())
# Rows, slices or single elements of the first operand that moves.
_PICKS = frozenset("Gather GatherElements GatherND Slice".split())
_QUANTIZERS = ("DequantizeLinear", "QuantizeLinear")
_ONE_BYTE = ("int8", "uint8")


def moved_bytes(node: Any, graph: Graph) -> int | None:
    """Bytes of the weights, inputs and outputs of one run; ``None`` when a size is only known at run time."""
    if node.op_type in _VIEWS or _is_part_of_another(node, graph):
        return 0
    if arithmetic.is_bias(node, graph):
        return weights_bytes(node, graph)  # added by the product before
    computes, activations = arithmetic.numbers_of(node, graph)
    # Between DequantizeLinear and QuantizeLinear the file says float, and the kernel takes and gives 8 bits.
    dtype = activations if computes == "integer" and activations in _ONE_BYTE else _wrapped_in(node, graph)
    written = work.total(_bytes(name, graph, dtype) for name in node.output if name)
    if node.op_type in _PICKS:
        return None if written is None else 2 * written
    names = [name for name in node.input if name and not _stored_behind(name, graph)]
    read = work.total(_bytes(name, graph, dtype) for name in dict.fromkeys(names))
    return work.total([weights_bytes(node, graph), read, written])


def weights_bytes(node: Any, graph: Graph) -> int:
    """Bytes of the stored tensors that a node reads, those that it dequantizes first included."""
    if _is_part_of_another(node, graph):
        return 0
    return sum(graph.constants[name].stored_bytes for name in stored_of(node, graph))


def stored_of(node: Any, graph: Graph) -> list[str]:
    """Names of those tensors, each once."""
    found = dict.fromkeys(name for given in node.input if given for name in _stored_behind(given, graph))
    return list(found)


def _stored_behind(name: str, graph: Graph) -> Iterator[str] | list[str]:
    """The stored tensors that a tensor is; with scale and zero point where they are dequantized on the way."""
    if name in graph.constants:
        return [name]
    maker = graph.producers.get(name)
    integers = arithmetic.integers_behind(maker, graph) if maker is not None else ""
    if maker is None or integers not in graph.constants:
        return []
    scales = [given for given in maker.input if given in graph.constants and given != integers]
    return [integers, *scales]


def _is_part_of_another(node: Any, graph: Graph) -> bool:
    """Whether another operator's kernel does what this node says."""
    if node.op_type in _QUANTIZERS:
        return _is_quantizer_of_another(node, graph)
    if arithmetic.integers_behind(node, graph) or _casts_stored_integers(node, graph):
        return True
    return is_absorbed(node, graph) or arithmetic.is_scaffolding(node, graph)


def _is_quantizer_of_another(node: Any, graph: Graph) -> bool:
    if node.input[0] in graph.constants:
        return True  # its reader counts the weights, as they are stored
    if node.op_type == "DequantizeLinear":
        others = graph.consumers.get(node.output[0], [])
        return bool(others) and all(_is_integer(other, graph) for other in others)
    maker = graph.produced_by(node, 0)
    if maker is not None and is_absorbed(maker, graph):
        maker = graph.produced_by(maker, 0)
    return maker is not None and _is_integer(maker, graph)


def _is_integer(node: Any, graph: Graph) -> bool:
    """Whether it computes on integers, or moves what is on both sides of it in one."""
    if node.op_type in _QUANTIZERS:
        return False
    if arithmetic.numbers_of(node, graph)[0] == "integer" or arithmetic.is_bias(node, graph):
        return True
    return bool(_wrapped_in(node, graph))


def _wrapped_in(node: Any, graph: Graph) -> str:
    """The 8-bit dtype that data is moved in, where the file dequantizes it before and quantizes it again behind."""
    if node.op_type in _QUANTIZERS or not arithmetic.is_move(node):
        return ""
    readers = [reader for name in node.output for reader in graph.consumers.get(name, [])]
    makers = [graph.producers.get(name) for name in node.input if graph.values.get(name, Value()).dtype == "float32"]
    before = [maker for maker in makers if maker is not None and maker.op_type == "DequantizeLinear"]
    quantized_again = bool(readers) and all(reader.op_type == "QuantizeLinear" for reader in readers)
    if not before or len(before) < len(makers) or not quantized_again:
        return ""
    dtype = graph.value(before[0], 0).dtype
    return dtype if dtype in _ONE_BYTE else ""


def _casts_stored_integers(node: Any, graph: Graph) -> bool:
    readers = graph.consumers.get(node.output[0], []) if node.op_type == "Cast" else []
    return any(arithmetic.integers_behind(reader, graph) == node.input[0] for reader in readers)


def _bytes(name: str, graph: Graph, dtype: str) -> int | None:
    value = graph.values.get(name)
    if value is None:
        return None
    narrow = dtype if value.dtype.startswith("float") else value.dtype
    return work.bytes_of(value.elements, narrow or value.dtype)
