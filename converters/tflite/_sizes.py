"""How many elements each tensor really has when the batch is 1.

A tensor with dynamic sizes is stored with 1 in their place, whatever they depend on: the rows that a dense
layer sees of a sequence, or the blocks of a dilated convolution, are stored as 1 too. So numbers of elements
are carried from the inputs on, through the operators of which it is certain what they do to them.
"""

from __future__ import annotations

import math
from typing import Any

from converters.tflite._file import Model, Operator, Tensor, numbers

Elements = dict[int, int | None]

# One element out for one element in.
_SAME = frozenset(
    """
    ABS CAST CEIL COS DEPTH_TO_SPACE DEQUANTIZE ELU EXP EXPAND_DIMS FLOOR GELU HARD_SWISH L2_NORMALIZATION
    LEAKY_RELU LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX NEG PRELU QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1
    RESHAPE REVERSE_V2 ROUND RSQRT SIGN SIN SOFTMAX SPACE_TO_DEPTH SQRT SQUARE SQUEEZE TANH TRANSPOSE
    ZEROS_LIKE
    """.split()
)
_BROADCAST = frozenset(
    """
    ADD DIV EQUAL FLOOR_DIV FLOOR_MOD GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR MAXIMUM
    MINIMUM MUL NOT_EQUAL POW SELECT SELECT_V2 SQUARED_DIFFERENCE SUB
    """.split()
)
# As many rows (elements along the first axis) out as in.
_ROWS = frozenset(
    """
    AVERAGE_POOL_2D BATCH_MATMUL CONV_2D CONV_3D CONV_3D_TRANSPOSE DEPTHWISE_CONV_2D L2_POOL_2D MAX_POOL_2D
    MEAN MIRROR_PAD PAD PADV2 REDUCE_MAX REDUCE_MIN RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SUM TRANSPOSE_CONV
    """.split()
)
_ROWS_UNLESS_ON_FIRST_AXIS = ("CONCATENATION", "GATHER", "PACK", "UNPACK")
_DATA_OPERAND = {"TRANSPOSE_CONV": 2, "CONV_3D_TRANSPOSE": 2}


def elements_of(model: Model, subgraph: int) -> Elements:
    """Number of elements of each tensor of a subgraph, by index; ``None`` where only a run would tell.

    The leading dynamic size of its inputs is taken as 1.
    """
    found: Elements = {}
    is_open = any(-1 in tensor.dynamic_shape for tensor in model.tensors[subgraph])
    for index in numbers(model.raw.subgraphs[subgraph].inputs):
        tensor = model.tensors[subgraph][index]
        found[index] = None if -1 in tensor.dynamic_shape[1:] else tensor.elements
    for item in model.subgraphs[subgraph]:
        for output in item.outputs:
            # In a file with open sizes, no shape may be an unknown one rather than that of a scalar.
            static = -1 not in output.dynamic_shape and not (is_open and output.shape == ())
            found[output.index] = output.elements if static else _carried(item, output, found, model)
    return found


def _carried(item: Operator, output: Tensor, found: Elements, model: Model) -> int | None:
    """Elements of an output of which the file does not say them."""
    operand = _DATA_OPERAND.get(item.kind, 0)
    source = item.inputs[operand] if operand < len(item.inputs) else None
    count = found.get(source.index) if source is not None else None
    if source is None or count is None:
        return None
    if item.kind in _SAME:
        return count
    if item.kind in _BROADCAST:
        sides = [
            tensor.elements if tensor.stored_bytes else found.get(tensor.index) for tensor in item.inputs if tensor
        ]
        return None if None in sides else max(side or 0 for side in sides)
    if item.kind == "FULLY_CONNECTED":
        filter_shape = item.inputs[1].shape if item.inputs[1] else ()
        return count // filter_shape[1] * filter_shape[0]
    factor = _row_factor(item, model)
    if factor is None or -1 in source.dynamic_shape[1:] or -1 in output.dynamic_shape[1:]:
        return None
    rows = count * factor[0] // (math.prod(source.shape[1:]) * factor[1])
    return rows * math.prod(output.shape[1:])


def _row_factor(item: Operator, model: Model) -> tuple[int, int] | None:
    """By what the number of rows is multiplied and divided; ``None`` when that is not certain."""
    options = item.options
    if item.kind in _ROWS:
        return 1, 1
    if item.kind in _ROWS_UNLESS_ON_FIRST_AXIS and options.axis % max(1, len(item.outputs[0].shape)) != 0:
        return 1, 1
    if item.kind == "STRIDED_SLICE" and options.beginMask & options.endMask & 1:
        return 1, 1
    if item.kind in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"):
        block = _stored_product(item.inputs[1], model)
        if block is None:
            return None
        return (block, 1) if item.kind == "SPACE_TO_BATCH_ND" else (1, block)
    return None


def _stored_product(tensor: Tensor | None, model: Model) -> int | None:
    import numpy as np

    if tensor is None or not tensor.stored_bytes:
        return None
    data: Any = model.raw.buffers[tensor.buffer].data
    return int(np.frombuffer(bytes(data), dtype=tensor.dtype).prod())
