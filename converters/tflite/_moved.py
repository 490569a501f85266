"""Bytes that TFLite operators move; what counts is defined in :mod:`converters.work`."""

from __future__ import annotations

from converters import work
from converters.tflite._file import Model, Operator, Tensor
from converters.tflite._sizes import Elements, elements_of

# Only the shape changes, or a handle is passed on.
_VIEWS = frozenset(
    "ASSIGN_VARIABLE BITCAST CALL_ONCE EXPAND_DIMS RANK READ_VARIABLE RESHAPE SHAPE SQUEEZE VAR_HANDLE".split()
)
# Rows, slices or single elements of the first operand that moves.
_PICKS = frozenset("EMBEDDING_LOOKUP GATHER GATHER_ND SLICE STRIDED_SLICE".split())

_SHAPE_DTYPES = ("int32", "int64")


def moved_bytes(item: Operator, elements: Elements, model: Model) -> int | None:
    """Bytes of the weights, inputs and outputs of one run.

    Args:
        item: The operator.
        elements: Of the tensors of its subgraph.
        model: The file it is in.

    Returns:
        ``None`` when a size is only known at run time.
    """
    if item.kind in _VIEWS:
        return 0
    if item.kind == "STABLEHLO_COMPOSITE":
        body = item.options.decompositionSubgraphIndex
        inside = elements_of(model, body)
        return work.total(moved_bytes(part, inside, model) for part in model.subgraphs[body])
    if item.kind == "DEQUANTIZE" and any(tensor is not None and tensor.stored_bytes for tensor in item.inputs):
        return 0  # its reader counts the weights, as they are stored
    written = work.total(_bytes(tensor, elements) for tensor in item.outputs)
    if item.kind in _PICKS:
        return None if written is None else 2 * written
    read = work.total(
        _bytes(tensor, elements)
        for tensor in item.inputs
        if tensor is not None and not tensor.stored_bytes and tensor.index not in item.dequantized
    )
    return work.total([weights_bytes(item), read, written])


def weights_bytes(item: Operator) -> int:
    """Bytes of the stored tensors that an operator reads, those that it dequantizes first included."""
    stored = {tensor.buffer: tensor for tensor in item.inputs if tensor is not None and tensor.stored_bytes}
    stored |= {tensor.buffer: tensor for tensor in item.weights}
    return sum(tensor.stored_bytes for tensor in stored.values())


def _bytes(tensor: Tensor, elements: Elements) -> int | None:
    count = elements.get(tensor.index, tensor.elements)
    if count is None and not tensor.shape and tensor.dtype in _SHAPE_DTYPES:
        count = 1  # a size on its way to a RESHAPE
    return work.bytes_of(count, tensor.dtype)
