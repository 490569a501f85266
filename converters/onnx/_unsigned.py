"""Signed activations made unsigned, as ONNX Runtime does on machines without kernels of signed data (x86).

It does so where one operator alone reads them. As outputs they would have a second reader, and their operators would be
computed in float; so it is done in the file that shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.onnx._fusion import becomes_unsigned
from converters.onnx._graph import Graph, attribute

_SHIFT = 128
_ZERO = 2  # operand of QuantizeLinear and DequantizeLinear


def make(proto: Any, graph: Graph) -> int:
    """Make them unsigned, in place.

    Args:
        proto: ``ModelProto``, with its functions written out.
        graph: Of it, as it is.

    Returns:
        How many tensors are unsigned now.
    """
    import numpy as np
    import onnx

    changed = dict(_signed(graph))
    for name, zero in changed.items():
        label = f"{name}_unsigned_zero_point"
        value = np.array(zero + _SHIFT, np.uint8)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, label))
        for node in proto.graph.node:
            if name in node.output or name in node.input:
                node.input[_ZERO] = label
    for items in (proto.graph.value_info, proto.graph.output):
        for item in items:
            if item.name in changed:
                item.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return len(changed)


def _signed(graph: Graph) -> Iterator[tuple[str, int]]:
    """Names of such tensors and their zero points."""
    import onnx

    for node in graph.nodes:
        if node.op_type != "QuantizeLinear" or not becomes_unsigned(node, graph):
            continue
        if not attribute(node, "output_dtype", 0):
            zero = graph.constants[node.input[_ZERO]]
            yield node.output[0], int(onnx.numpy_helper.to_array(zero.proto).item())
