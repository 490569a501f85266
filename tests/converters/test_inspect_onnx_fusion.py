"""What counts as float in a file with QuantizeLinear, against the graphs that the installed ONNX Runtime makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_models import FLOAT, helper, model, np, numpy_helper, onnx, ort, saved

from converters.onnx.inspect import float_operators, inspect

S, Z = "scale", "zero"
X: dict[str, Any] = {"x": [1, 4, 6, 6], "u": [1, 4, 6, 6]}


def quantized(kind: str, operands: dict[str, Any], *, zero: Any, output: bool = True, **attributes: Any) -> Any:
    """One operator on ``x``, each operand dequantized (but floats), the result quantized.

    Args:
        kind: The operator.
        operands: Those behind ``x``, by name: ``u`` is an input too, int8 arrays are weights.
        zero: Zero point of all activations; its dtype is theirs.
        output: Whether the result is quantized.
        attributes: Of the operator.
    """
    values: dict[str, Any] = {S: np.float32(0.1), Z: zero, "weight_zero": np.int8(0)}
    nodes, names = [], []
    for name, value in {"x": None, **operands}.items():
        dtype = getattr(value, "dtype", None)
        if value is None:
            nodes.append(helper.make_node("QuantizeLinear", [name, S, Z], [f"{name}_q"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", S, Z], [f"{name}_d"]))
        elif dtype == np.int8:
            nodes.append(helper.make_node("DequantizeLinear", [name, S, "weight_zero"], [f"{name}_d"]))
        if value is not None:
            values[name] = value
        names.append(f"{name}_d" if value is None or dtype == np.int8 else name)
    nodes.append(helper.make_node(kind, names, ["f" if output else "y"], **attributes))
    if output:
        nodes.append(helper.make_node("QuantizeLinear", ["f", S, Z], ["yq"]))
        nodes.append(helper.make_node("DequantizeLinear", ["yq", S, Z], ["y"]))
    inputs = {name: shape for name, shape in X.items() if name == "x" or name in operands}
    return model(nodes, inputs, ["y"], values, opset=21 if zero.dtype.itemsize == 2 else 20)


def stays_float_in_onnx_runtime(proto: Any, kind: str, path: Path) -> bool:
    """Whether the runtime computes an operator on dequantized values, read off its optimized graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(path).graph.node
    made = {name: node.op_type for node in nodes for name in node.output}
    fused = {kind, f"Fused{kind}"}
    return any(node.op_type in fused and made.get(node.input[0]) == "DequantizeLinear" for node in nodes)


KERNEL = np.ones((4, 4, 3, 3), np.int8)
ACTIVATIONS = ("Relu", "Sigmoid", "Softmax", "LeakyRelu", "Tanh", "HardSigmoid", "Elu", "Gelu", "Exp", "Neg", "Erf")
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("Conv", {"w": KERNEL}, {}),
    ("Conv", {"w": KERNEL}, {"output": False}),
    ("Conv", {"w": KERNEL.astype(np.float32)}, {}),
    ("Conv", {"w": KERNEL.astype(np.float32)}, {"output": False}),
    ("ConvTranspose", {"w": KERNEL}, {}),
    ("MatMul", {"w": np.ones((6, 5), np.int8)}, {}),
    ("MatMul", {"w": np.ones((6, 5), np.int8)}, {"output": False}),
    ("Add", {"u": None}, {}),
    ("Add", {"u": None}, {"output": False}),
    ("Add", {"bias": np.float32(1)}, {}),
    ("Mul", {"u": None}, {}),
    ("Sub", {"u": None}, {}),
    ("Div", {"u": None}, {}),
    ("MaxPool", {}, {"kernel_shape": [2, 2]}),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "output": False}),
    ("AveragePool", {}, {"kernel_shape": [2, 2]}),
    ("GlobalAveragePool", {}, {}),
    ("GlobalAveragePool", {}, {"output": False}),
    ("ReduceMean", {"axes": np.array([2, 3])}, {}),
    ("ReduceMax", {"axes": np.array([2, 3])}, {}),
    ("ReduceMax", {"axes": np.array([2, 3])}, {"output": False}),
    *((kind, {}, {}) for kind in ACTIVATIONS),
]


@pytest.mark.parametrize(
    "zero", [np.uint8(3), np.int8(-128), np.uint16(3), np.int16(0)], ids=["u8", "s8", "u16", "s16"]
)
@pytest.mark.parametrize(("kind", "constants", "options"), CASES)
def test_what_is_float_is_what_the_installed_onnx_runtime_computes_in_float(
    kind: str, constants: dict[str, Any], options: dict[str, Any], zero: Any, tmp_path: Path
) -> None:
    if zero.dtype.itemsize == 2 and kind == "MatMul":
        pytest.skip("made MatMulNBits, which rounds activations to 8 bits; see converters/onnx/_static.py")
    if kind == "Relu" and zero == np.int8(-128):
        pytest.skip("absorbed, see below")
    proto = quantized(kind, constants, zero=zero, **options)
    found = {item.operator for item in float_operators(saved(proto, tmp_path / "m.onnx"))}
    assert (kind in found) == stays_float_in_onnx_runtime(proto, kind, tmp_path / "o.onnx")


def test_signed_activations_with_two_readers_are_integer_on_arm_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x86 has no signed kernels, and makes data unsigned only where one operator reads it."""
    proto = quantized("Conv", {"w": KERNEL}, zero=np.int8(0))
    proto.graph.node.append(helper.make_node("Sigmoid", ["x_d"], ["s"]))
    proto.graph.output.append(helper.make_tensor_value_info("s", FLOAT, None))
    path = saved(proto, tmp_path / "m.onnx")
    found = {item.operator for item in float_operators(path)}
    assert ("Conv" in found) == stays_float_in_onnx_runtime(proto, "Conv", tmp_path / "o.onnx")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    facts = inspect(str(path))
    assert [item["operator"] for item in facts["stayed_float"]] == []  # nothing at all is integer
    assert facts["notes"][0].startswith("Its activations are signed (s8): on x86 ONNX Runtime computes 1 of its")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    facts = inspect(str(path))
    assert [item["operator"] for item in facts["stayed_float"]] == ["Sigmoid"]
    assert facts["notes"] == ()


@pytest.mark.parametrize("output", [True, False], ids=["quantized", "float"])
@pytest.mark.parametrize("bias", [None, np.ones(5, np.int32), np.ones(5, np.float32)], ids=["none", "s32", "f32"])
@pytest.mark.parametrize(("kind", "rank"), [("Gemm", 2), ("MatMul", 2), ("MatMul", 3)])
def test_matrix_products_with_a_bias(kind: str, rank: int, bias: Any, output: bool, tmp_path: Path) -> None:
    """A MatMul becomes a Gemm by its bias; a float bias may cost a Gemm its integer kernel."""
    values = {S: np.float32(0.1), Z: np.uint8(3), "w": np.ones((6, 5), np.int8), "wz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", S, Z], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", S, Z], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", S, "wz"], ["wd"]),
    ]
    operand = []
    if bias is not None:
        values["b"] = bias
        operand = ["bd" if bias.dtype == np.int32 else "b"]
        if bias.dtype == np.int32:
            nodes.append(helper.make_node("DequantizeLinear", ["b", S], ["bd"]))
    result = "f" if output else "y"
    if kind == "MatMul" and operand:
        nodes.append(helper.make_node(kind, ["xd", "wd"], ["m"]))
        nodes.append(helper.make_node("Add", ["m", *operand], [result]))
    else:
        nodes.append(helper.make_node(kind, ["xd", "wd", *operand], [result]))
    if output:
        nodes.append(helper.make_node("QuantizeLinear", ["f", S, Z], ["yq"]))
        nodes.append(helper.make_node("DequantizeLinear", ["yq", S, Z], ["y"]))
    proto = model(nodes, {"x": [2, 6] if rank == 2 else [1, 2, 6]}, ["y"], values)
    found = {item.operator for item in float_operators(saved(proto, tmp_path / "m.onnx"))}
    runs_as = "Gemm" if operand else kind
    assert bool(found) == stays_float_in_onnx_runtime(proto, runs_as, tmp_path / "o.onnx")
    assert found in (set(), {kind}, {kind, "Add"})


@pytest.mark.shared
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["mnist_onnx/mnist.onnx", "ultraface/version-slim-320_simplified.onnx"])
def test_a_whole_network_against_the_installed_onnx_runtime(
    name: str, signed: bool, shared_models: Path, tmp_path: Path
) -> None:
    from onnxruntime import quantization as q

    prepared, path, optimized = (tmp_path / file for file in ("p.onnx", "q.onnx", "o.onnx"))
    q.shape_inference.quant_pre_process(str(shared_models / name), str(prepared))
    (entry,) = ort.InferenceSession(str(prepared)).get_inputs()
    samples = iter([{entry.name: np.random.default_rng(0).normal(size=entry.shape).astype(np.float32)}])

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(samples, None)

    dtype = q.QuantType.QInt8 if signed else q.QuantType.QUInt8
    q.quantize_static(str(prepared), str(path), Reader(), activation_type=dtype, weight_type=q.QuantType.QInt8)
    stays_float_in_onnx_runtime(onnx.load(path), "Conv", optimized)
    made = {output: node.op_type for node in onnx.load(optimized).graph.node for output in node.output}
    kinds = ("Conv", "Gemm", "MatMul", "Add", "Softmax", "MaxPool")
    expected = sorted(
        node.op_type.removeprefix("Fused")
        for node in onnx.load(optimized).graph.node
        if node.op_type.removeprefix("Fused") in kinds and made.get(node.input[0]) == "DequantizeLinear"
    )
    assert sorted(item.operator for item in float_operators(path) if item.operator in kinds) == expected


@pytest.mark.parametrize("zero", [np.uint8(0), np.uint8(3), np.int8(-128), np.int8(0)])
@pytest.mark.parametrize("limits", [None, (0.0, 6.0), (0.0, 30.0)], ids=["relu", "relu6", "clip30"])
def test_an_activation_before_quantization_may_cost_its_convolution_the_integer_kernel(
    limits: tuple[float, float] | None, zero: Any, tmp_path: Path
) -> None:
    proto = quantized("Conv", {"w": KERNEL}, zero=zero)
    (conv,) = (node for node in proto.graph.node if node.op_type == "Conv")
    conv.output[0] = "c"
    bounds = ["low", "high"] if limits else []
    activation = helper.make_node("Clip" if limits else "Relu", ["c", *bounds], ["f"])
    proto.graph.node.insert(list(proto.graph.node).index(conv) + 1, activation)
    for name, value in zip(bounds, limits or (), strict=True):
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    found = {item.operator for item in float_operators(saved(proto, tmp_path / "m.onnx"))}
    assert ("Conv" in found) == stays_float_in_onnx_runtime(proto, "Conv", tmp_path / "o.onnx")
