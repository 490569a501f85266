"""Operators of ONNX Runtime that onnx cannot infer shapes of, and the standard ones of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.onnx._graph import Graph

# The operands that are data or weights, as the standard operator orders them; the rest are scales and zeros.
DATA_INPUTS: dict[str, tuple[int, ...]] = {
    "ConvInteger": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "QGemm": (0, 3, 6),
    "QLinearAdd": (0, 3),
    "QLinearAveragePool": (0,),
    "QLinearConv": (0, 3, 8),
    "QLinearGlobalAveragePool": (0,),
    "QLinearLeakyRelu": (0,),
    "QLinearMatMul": (0, 3),
    "QLinearMul": (0, 3),
    "QLinearSigmoid": (0,),
    "QLinearSoftmax": (0,),
}
_SAME_SHAPE = {
    "BiasGelu": "Identity",
    "DynamicQuantizeMatMul": "MatMul",
    "FastGelu": "Identity",
    "FusedConv": "Conv",
    "FusedGemm": "Gemm",
    "Gelu": "Identity",
    "MatMulIntegerToFloat": "MatMul",
    "QGemm": "Gemm",
    "QLinearAdd": "Add",
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "Identity",
    "QLinearMul": "Mul",
    "QLinearSigmoid": "Identity",
    "QLinearSoftmax": "Identity",
    "QuickGelu": "Identity",
}


def with_stand_ins(graph: Graph) -> Any:
    """A copy of the main graph in which inference gets past ``com.microsoft`` operators."""
    copied = type(graph.proto.graph)()
    copied.CopyFrom(graph.proto.graph)
    stored = {item.name: item.data_type for item in copied.initializer}
    for node in copied.node:
        if node.domain != "com.microsoft":
            continue
        if node.op_type == "MatMulNBits":
            _unpack(node, copied)
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            _cast(node, stored)
        elif node.op_type in _SAME_SHAPE:
            kept = DATA_INPUTS.get(node.op_type, range(len(node.input)))
            names = [node.input[index] for index in kept if index < len(node.input)]
            standard = _SAME_SHAPE[node.op_type]
            del node.input[:]
            node.input.extend(names[:1] if standard == "Identity" else names)
            node.op_type, node.domain = standard, ""
    return copied


def _cast(node: Any, stored: Mapping[str, int]) -> None:
    """A conversion to or from 16 bits, which the standard operators take from opset 21 on, as a cast.

    Args:
        node: Is changed.
        stored: Type of each stored tensor; a zero point has that of the integers.
    """
    import onnx

    zero = node.input[2] if len(node.input) > 2 else ""
    integers = stored.get(zero, onnx.TensorProto.UINT8)  # the operator's default
    to = integers if node.op_type == "QuantizeLinear" else onnx.TensorProto.FLOAT
    del node.input[1:], node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("to", to))
    node.op_type, node.domain = "Cast", ""


def _unpack(node: Any, graph: Any) -> None:
    """MatMulNBits as a MatMul with the matrix that its packed weights stand for."""
    import onnx

    sizes = {item.name: item.i for item in node.attribute}
    name = f"{node.output[0]}:unpacked"
    matrix = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [sizes["K"], sizes["N"]])
    graph.input.append(matrix)
    activations = node.input[0]
    del node.input[:]
    node.input.extend([activations, name])
    node.op_type, node.domain = "MatMul", ""
