"""int8 and int16x8: QuantizeLinear and DequantizeLinear around operators, by ONNX Runtime's own quantizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.onnx._graph import attribute
from edgekit.errors import ConversionError

# ONNX Runtime's CPU provider computes these in float whatever is around them, so quantizing their data would cost
# accuracy and time and gain nothing (read off its optimized graphs, 1.32).
FLOAT_ONLY = frozenset(
    "BatchNormalization ConvTranspose CumSum EmbedLayerNormalization GatherElements InstanceNormalization "
    "LayerNormalization TopK".split()
)

# These do the same to integers as to floats, so it does not matter which they get.
_EXACT = frozenset("Clip Expand Flatten Gather MaxPool Relu Reshape Slice Split Squeeze Transpose Unsqueeze".split())
# It moves DequantizeLinear behind these.
_PASSING = _EXACT | {"DequantizeLinear", "Resize"}

CPUS = {
    "x86-vnni": "Activations u8, weights s8: what x86 with VNNI multiplies fastest.",
    "x86": (
        "Activations u8, weights s8 in 7 bits: x86 without VNNI adds two products in 16 bits, which 8-bit weights "
        "overflow."
    ),
    "arm": "Activations s8, weights s8: what Arm multiplies fastest.",
}
"""The choice for each ``--cpu``, in a sentence."""

INT16 = (
    "ONNX Runtime's CPU provider has no 16-bit kernels: it rounds to 16 bits between operators and computes in float."
)


def to_static(
    model: Any,
    scheme: str,
    cpu: str,
    ranges: Mapping[str, tuple[float, float]],
    excluded: list[str],
) -> Any:
    """Quantize a prepared model.

    Args:
        model: ``ModelProto``, float; is changed.
        scheme: ``int8`` or ``int16x8``.
        cpu: A key of :data:`CPUS`.
        ranges: Tensor name to ``(low, high)``.
        excluded: Names of the nodes to keep float.

    Returns:
        The quantized ``ModelProto``; inputs and outputs are float.

    Raises:
        ConversionError: The quantizer refused.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    signed = QuantType.QInt8 if cpu == "arm" else QuantType.QUInt8
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    kept = [*excluded, *_bounded_away(model)]
    if scheme == "int16x8":
        _transpose_matrices(model)
    quantizer = QDQQuantizer(
        model,
        True,  # weights per channel
        scheme == "int8" and cpu == "x86",  # weights in 7 bits
        QuantType.QInt8,
        QuantType.QInt16 if scheme == "int16x8" else signed,
        TensorsData(CalibrationMethod.MinMax, data),
        [],
        kept,
        sorted({*QDQRegistry, *QLinearOpsRegistry} - FLOAT_ONLY),
        {},
    )
    try:
        quantizer.quantize_model()
    except Exception as error:  # the quantizer raises plain exceptions
        raise ConversionError(f"ONNX Runtime's quantizer: {type(error).__name__}: {error}") from error
    quantized = quantizer.model.model
    _keep_float(quantized, {*kept, *(node.name for node in quantized.graph.node if node.op_type in FLOAT_ONLY)})
    if scheme == "int16x8":
        _cast_matrices(quantized)
    return quantized


def _keep_float(model: Any, names: set[str]) -> None:
    """Part nodes from the DequantizeLinear before them.

    ONNX Runtime fuses whatever stands between DequantizeLinear and QuantizeLinear if it has a kernel for it, and
    quantizes float weights there by itself, per tensor. A Sum of one operand is a copy that it leaves alone; Identity
    it would remove.
    """
    import onnx

    nodes = list(model.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    copies: dict[str, str] = {}
    for node in nodes:
        if node.name not in names or node.op_type in _EXACT:
            continue
        for index, name in enumerate(node.input):
            maker = makers.get(name)
            if maker is None or maker.op_type not in _PASSING or _is_stored(maker, makers, model):
                continue
            if name not in copies:
                copies[name] = f"{name}_kept_float"
                copied = onnx.helper.make_node("Sum", [name], [copies[name]], f"{name}_KeepFloat")
                model.graph.node.insert(list(model.graph.node).index(node), copied)
            node.input[index] = copies[name]


def _is_stored(node: Any, makers: Mapping[str, Any], model: Any) -> bool:
    """Whether a node dequantizes weights."""
    return node.op_type == "DequantizeLinear" and any(item.name == node.input[0] for item in model.graph.initializer)


def _transpose_matrices(model: Any) -> None:
    """Store the matrices of Gemm as (outputs, inputs).

    ONNX Runtime fuses DequantizeLinear with a Gemm of the other order into MatMulNBits, and that rounds the activations
    to 8 bits (1.32); this order it computes in float.
    """
    import onnx

    stored = {item.name: item for item in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        tensor = stored.get(node.input[1]) if node.op_type == "Gemm" else None
        if tensor is None or attribute(node, "transB", 0) or readers[tensor.name] > 1:
            continue
        kept = [item for item in node.attribute if item.name != "transB"]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("transB", 1)])
        values = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor).T)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _cast_matrices(model: Any) -> None:
    """For the same reason dequantize the matrices of MatMul by Cast and Mul, as int8-weights does."""
    import onnx

    stored = {item.name: item for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in list(model.graph.node):
        for name in node.input if node.op_type == "MatMul" else ():
            maker = makers.get(name)
            if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in stored:
                continue
            scale = onnx.numpy_helper.to_array(stored[maker.input[1]])
            shape = [1] * len(stored[maker.input[0]].dims)
            if scale.ndim:
                shape[attribute(maker, "axis", 1)] = -1
            stored[maker.input[1]].CopyFrom(onnx.numpy_helper.from_array(scale.reshape(shape), maker.input[1]))
            place = list(model.graph.node).index(maker)
            cast = onnx.helper.make_node(
                "Cast", [maker.input[0]], [f"{name}_cast"], f"{maker.name}_Cast", to=onnx.TensorProto.FLOAT
            )
            product = onnx.helper.make_node("Mul", [cast.output[0], maker.input[1]], [name], f"{maker.name}_Mul")
            model.graph.node.remove(maker)
            model.graph.node.insert(place, product)
            model.graph.node.insert(place, cast)
            makers[name] = product


def _bounded_away(model: Any) -> list[str]:
    """Clips whose bounds may leave out zero: the quantizer takes all for the saturation of the integers behind."""
    stored = {item.name: item for item in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Clip"
        and not _bound(node, 1, "min", stored, -np.inf) <= 0 <= _bound(node, 2, "max", stored, np.inf)
    ]


def _bound(node: Any, index: int, name: str, stored: Mapping[str, Any], open_end: float) -> float:
    """A bound of a Clip: an input since opset 11, an attribute before; NaN when it is only known at run time."""
    import onnx

    for item in node.attribute:
        if item.name == name:
            return float(item.f)
    if index >= len(node.input) or not node.input[index]:
        return open_end
    tensor = stored.get(node.input[index])
    return float("nan") if tensor is None else float(onnx.numpy_helper.to_array(tensor).item())
