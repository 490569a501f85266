"""Scale and zero point of the integers that operators of an ONNX file make."""

from __future__ import annotations

from typing import Any

from converters.onnx._graph import Constant, Graph

# Operands that hold scale and zero point of the output (ONNX's operators, and ONNX Runtime's contrib_ops schemas).
_OPERANDS = {
    "QGemm": (7, 8), "QLinearAdd": (6, 7), "QLinearAveragePool": (3, 4), "QLinearConcat": (0, 1),
    "QLinearConv": (6, 7), "QLinearGlobalAveragePool": (3, 4), "QLinearLeakyRelu": (3, 4), "QLinearMatMul": (6, 7),
    "QLinearMul": (6, 7), "QLinearReduceMean": (3, 4), "QLinearSigmoid": (3, 4), "QLinearSoftmax": (3, 4),
    "QLinearWhere": (7, 8), "QuantizeLinear": (1, 2),
}  # fmt: skip
_PASSED_ON = frozenset("Expand Flatten Gather Identity MaxPool Reshape Slice Split Squeeze Transpose Unsqueeze".split())
_BYTES = ("int8", "uint8", "int16", "uint16")


def of(name: str, graph: Graph) -> tuple[float | None, int | None, bool]:
    """Scale and zero point of a tensor.

    Returns:
        Both, ``None`` where it has none; and whether it has one for each channel, which are not told.
    """
    maker = graph.producers.get(name)
    while maker is not None and maker.op_type in _PASSED_ON and _dtype(name, graph) in _BYTES:
        name = maker.input[0]
        maker = graph.producers.get(name)
    places = _OPERANDS.get(maker.op_type) if maker is not None else None
    scale, zero = (_stored(maker, place, graph) for place in places) if places else (None, None)
    if scale is None:
        return None, None, False
    if scale.elements != 1 or (zero is not None and zero.elements != 1):
        return None, None, True
    return float(_value(scale)), 0 if zero is None else int(_value(zero)), False


def _dtype(name: str, graph: Graph) -> str:
    return graph.values[name].dtype if name in graph.values else ""


def _stored(node: Any, index: int, graph: Graph) -> Constant | None:
    """An operand; ``None`` where it is left out, or computed."""
    return graph.constants.get(node.input[index]) if index < len(node.input) else None


def _value(constant: Constant) -> Any:
    import onnx

    return onnx.numpy_helper.to_array(constant.proto).item()
