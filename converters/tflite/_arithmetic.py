"""What TFLite operators compute: on which numbers, and how many multiply-accumulates."""

from __future__ import annotations

import math
from typing import Literal

from converters.tflite._file import Model, Operator, Tensor
from converters.tflite._sizes import Elements, elements_of

# Operators that move, reshape, select or convert data: what they are done in says nothing about arithmetic.
_MOVES = frozenset(
    """
    BATCH_TO_SPACE_ND BITCAST BROADCAST_ARGS BROADCAST_TO CAST CONCATENATION DEPTH_TO_SPACE DEQUANTIZE
    DYNAMIC_UPDATE_SLICE EXPAND_DIMS FILL GATHER GATHER_ND MIRROR_PAD ONE_HOT PACK PAD PADV2 QUANTIZE RANGE
    RANK RESHAPE RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 SCATTER_ND SELECT SELECT_V2 SHAPE SLICE
    SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TILE TRANSPOSE UNPACK WHERE
    ZEROS_LIKE
    ASSIGN_VARIABLE CALL CALL_ONCE IF READ_VARIABLE STABLEHLO_COMPOSITE VAR_HANDLE WHILE
    """.split()
)
# Operators with multiply-accumulates that no formula below covers.
_UNCOUNTED = frozenset("CALL IF RFFT2D STABLEHLO_CONVOLUTION STABLEHLO_DOT_GENERAL STABLEHLO_WHILE WHILE".split())
# Inputs that hold the matrices of recurrent layers. Each meets every step once: all are (outputs, inputs) there.
_LSTM_MATRICES = (*range(1, 9), 16)  # of the input and of the state, for four gates; the projection
_MATRICES = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*_LSTM_MATRICES, *range(18, 26), 33, *range(40, 48)),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6, 10, 11),
    "LSTM": _LSTM_MATRICES,
    "RNN": (1, 2),
    "SVDF": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM_MATRICES,
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
}
_BASIC_LSTM_INPUTS = 5  # its older form: data, state, one matrix for all of it, bias, cell
_QUANTIZED = ("int2", "int4", "int8", "uint4", "uint8", "int16")


def numbers_of(item: Operator, weights: Tensor | None) -> tuple[Literal["float", "integer", "none"], str]:
    """What an operator computes on, and the dtype of its data (``dynamic``: quantized as it comes in)."""
    if item.kind in _MOVES:
        return "none", ""
    data = [tensor for tensor in [*item.inputs, *item.outputs] if tensor is not None and not tensor.stored_bytes]
    for tensor in data:
        if tensor.is_float:
            hybrid = weights is not None and not weights.is_float and not item.weights_dequantized
            return ("integer", "dynamic") if hybrid else ("float", tensor.dtype)
    for tensor in data:
        if tensor.scaled and tensor.dtype in _QUANTIZED:
            return "integer", tensor.dtype
    return "none", ""


def is_uncounted(kind: str) -> bool:
    """Whether an operator may multiply and accumulate in a way that is not counted here."""
    return kind in _UNCOUNTED or kind.startswith("custom:")


def macs(item: Operator, elements: Elements, model: Model) -> int | None:
    """Multiply-accumulates of one run, with a batch of 1 where that is open.

    Args:
        item: The operator.
        elements: Of the tensors of its subgraph.
        model: The file it is in.

    Returns:
        ``None`` when a size is only known at run time.
    """
    if item.kind == "STABLEHLO_COMPOSITE":
        body = item.options.decompositionSubgraphIndex
        inside = elements_of(model, body)
        parts = [macs(part, inside, model) for part in model.subgraphs[body]]
        return None if None in parts else sum(part or 0 for part in parts)
    if item.kind in _MATRICES:
        return _recurrent(item, elements)
    if item.kind not in _FORMULAS:
        return 0
    counted, per_element = _FORMULAS[item.kind](item)
    total = elements[counted.index]
    return None if total is None or per_element < 0 else total * per_element


def _recurrent(item: Operator, elements: Elements) -> int | None:
    """Steps of all sequences, times the elements of all matrices; peepholes are elementwise and do not count."""
    data = _input(item, 0)
    given, width = elements[data.index], (data.dynamic_shape or data.shape)[-1]
    basic = item.kind == "LSTM" and len(item.inputs) == _BASIC_LSTM_INPUTS
    places = (2,) if basic else _MATRICES[item.kind]
    matrices = [item.inputs[place] for place in places if place < len(item.inputs)]
    if given is None or width < 1:
        return None
    sizes: list[int] = [tensor.elements for tensor in matrices if tensor is not None]
    return int(given // width * sum(sizes))


def _input(item: Operator, index: int) -> Tensor:
    tensor = item.inputs[index]
    if tensor is None:
        raise IndexError(f"{item.kind}: input {index} is missing")
    return tensor


def _conv_2d(item: Operator) -> tuple[Tensor, int]:
    return item.outputs[0], math.prod(_input(item, 1).shape[1:])  # filter: out, height, width, in per group


def _depthwise_conv_2d(item: Operator) -> tuple[Tensor, int]:
    return item.outputs[0], math.prod(_input(item, 1).shape[1:3])  # filter: 1, height, width, out


def _transpose_conv(item: Operator) -> tuple[Tensor, int]:
    # Filter: out, height, width, in. Each element of the input meets all of it but the other input channels.
    return _input(item, 2), math.prod(_input(item, 1).shape[:-1])


def _conv_3d(item: Operator) -> tuple[Tensor, int]:
    return item.outputs[0], math.prod(_input(item, 1).shape[:-1])  # filter: depth, height, width, in, out


def _conv_3d_transpose(item: Operator) -> tuple[Tensor, int]:
    return _input(item, 2), math.prod(_input(item, 1).shape[:-1])  # filter: depth, height, width, out, in


def _fully_connected(item: Operator) -> tuple[Tensor, int]:
    return item.outputs[0], _input(item, 1).shape[-1]  # filter: out, in


def _batch_matmul(item: Operator) -> tuple[Tensor, int]:
    left = _input(item, 0)
    sizes = left.dynamic_shape or left.shape
    return item.outputs[0], sizes[-2 if item.options.adjX else -1]


# For each operator: the tensor whose elements are counted, and the products that each of them stands for
# (negative when that is a dynamic size).
_FORMULAS = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
}
