"""Inner tensors of ONNX files as outputs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from onnx_models import FLOAT, TensorProto, helper, model, np, numpy_helper, onnx, ort, saved
from taps import MODELS, check, floats, run, samples, sqnr

from converters.onnx.tap import tap
from edgekit.errors import ConversionError, UnsupportedError
from profiles.runtimes import onnxruntime as runtime

OURS = [f"work_{name}_{scheme}" for name in ("cnn", "depthwise", "transformer") for scheme in ("float32", "int8")]
SHARED = [
    "mnist_onnx/mnist.onnx",
    "ultraface/version-RFB-320.onnx",  # its weights are among its inputs
    "winml_cifar10/ImageClassifier.onnx",
]
INF = float("inf")
S, Z = "scale", "zero"


def tapped(path: Path, exact: bool = True, into: Path | None = None) -> tuple[dict[str, Any], Any, Any]:
    """What the job told, the file, and the file that it wrote."""
    into = into or path.with_name(f"{path.stem}_tapped_{exact}.onnx")
    found = dict(tap(str(path), str(into), exact))
    return found, runtime.load(str(path), 1), runtime.load(str(into), 1)


def ours(name: str, folder: Path) -> Path:
    """A copy of a small network of the repository."""
    path = folder / f"{name}.onnx"
    path.write_bytes((MODELS / path.name).read_bytes())
    return path


def names(found: dict[str, Any]) -> list[str]:
    return [row["tensor"] for row in found["taps"]]


def kernels(path: Path) -> Counter[str]:
    """The operators that ONNX Runtime runs, by type, without those that move data."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    return Counter({kind: count for kind, count in found.items() if kind.startswith(("Q", "Fused", "Conv", "Gemm"))})


def statically(path: Path, into: Path, *, signed: bool, operators: bool) -> Path:
    """A float file quantized by ONNX Runtime's own quantizer."""
    from onnxruntime import quantization as q

    (entry,) = ort.InferenceSession(str(path)).get_inputs()
    calibration = iter([{entry.name: np.random.default_rng(1).uniform(-1, 1, entry.shape).astype(np.float32)}])

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(calibration, None)

    q.quantize_static(
        str(path),
        str(into),
        Reader(),
        quant_format=q.QuantFormat.QOperator if operators else q.QuantFormat.QDQ,
        activation_type=q.QuantType.QInt8 if signed else q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
    )
    return into


@pytest.mark.parametrize("exact", [False, True], ids=["all", "exact"])
@pytest.mark.parametrize("name", OURS)
def test_outputs_stay(name: str, exact: bool, tmp_path: Path) -> None:
    found, original, after = tapped(ours(name, tmp_path), exact)
    check(found, original, after, INF if exact else 120)


@pytest.mark.shared
@pytest.mark.parametrize("name", SHARED)
def test_real_models(name: str, shared_models: Path, tmp_path: Path) -> None:
    found, original, after = tapped(shared_models / name, True, tmp_path / "tapped.onnx")
    check(found, original, after, INF)


@pytest.mark.parametrize("name", OURS)
def test_the_same_kernels_run(name: str, tmp_path: Path) -> None:
    path = ours(name, tmp_path)
    tapped(path)
    assert kernels(path) == kernels(path.with_name(f"{name}_tapped_True.onnx"))


def test_what_is_fused_is_shown_behind_its_activation_where_that_is_asked_for(tmp_path: Path) -> None:
    path = ours("work_cnn_float32", tmp_path)
    every, exact = tapped(path, False)[0], tapped(path, True)[0]
    assert {"conv2d", "relu", "conv2d_1", "relu_1"} <= set(names(every))
    assert set(names(every)) - set(names(exact)) == {"conv2d", "conv2d_1"}
    assert any("FusedConv" in note for note in every["notes"])
    assert any("conv2d, conv2d_1" in note for note in exact["notes"])
    row = next(row for row in exact["taps"] if row["tensor"] == "relu_1")
    assert (row["operator"], row["module"], row["inputs"]) == ("Conv", "second", ["max_pool2d"])


@pytest.mark.parametrize("name", ["cnn", "depthwise", "transformer"])
def test_quantized_tensors_are_close_to_their_float_twins(name: str, tmp_path: Path) -> None:
    found, _, after = tapped(ours(f"work_{name}_int8", tmp_path))
    other, original, reference = tapped(ours(f"work_{name}_float32", tmp_path), False)
    sample = samples(original.inputs)[0]
    integers, numbers = run(after, sample), run(reference, sample)
    twins = {row["tensor"]: row["output"] for row in other["taps"]}
    compared = [row for row in found["taps"] if row["twin"] in twins and row["scale"] is not None]
    assert len(compared) >= len(found["taps"]) // 2
    for row in compared:
        assert sqnr(numbers[twins[row["twin"]]], floats(row, integers[row["output"]])) > 15, row


@pytest.mark.parametrize("operators", [False, True], ids=["qdq", "qoperator"])
@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
def test_files_of_onnx_runtimes_quantizer(signed: bool, operators: bool, tmp_path: Path) -> None:
    """Signed ones run on kernels of unsigned data on x86, and must still do so with more readers."""
    source = ours("work_depthwise_float32", tmp_path)
    path = statically(source, tmp_path / "q.onnx", signed=signed, operators=operators)
    found, original, after = tapped(path)
    check(found, original, after, INF)
    assert kernels(path) == kernels(tmp_path / "q_tapped_True.onnx")
    other, _, reference = tapped(source, False)
    sample = samples(original.inputs)[0]
    integers, numbers = run(after, sample), run(reference, sample)
    twins = {row["tensor"] for row in other["taps"]}
    compared = [row for row in found["taps"] if row["twin"] in twins and row["scale"] is not None]
    assert len(compared) >= 5
    for row in compared:
        # The quantizer takes activations out that its ranges stand for, and keeps the name of what was before them.
        limits = np.iinfo(row["dtype"])
        wanted = np.clip(numbers[row["twin"]], floats(row, limits.min), floats(row, limits.max))
        assert sqnr(wanted, floats(row, integers[row["output"]])) > 15, row


def test_float16_is_shown_though_it_is_computed_in_float32(tmp_path: Path) -> None:
    half = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["x", "one"], ["a"]), helper.make_node("Mul", ["a", "a"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [half("x", TensorProto.FLOAT16, [2, 3])],
        [half("y", TensorProto.FLOAT16, [2, 3])],
        [numpy_helper.from_array(np.full((2, 3), 1, np.float16), "one")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    found, original, after = tapped(saved(proto, tmp_path / "m.onnx"))
    assert names(found) == ["a", "y"]
    check(found, original, after, 60)


def test_weights_beside_the_file_are_copied(tmp_path: Path) -> None:
    folder, other = tmp_path / "model", tmp_path / "tapped"
    folder.mkdir()
    other.mkdir()
    proto = onnx.load(MODELS / "work_cnn_float32.onnx")
    options = {"save_as_external_data": True, "location": "weights", "size_threshold": 200}
    path = saved(proto, folder / "m.onnx", **options)
    found, original, after = tapped(path, True, other / "m.onnx")
    check(found, original, after, INF)
    assert sorted(item.name for item in other.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert sorted(item.name for item in folder.iterdir()) == ["m.onnx", "weights"]  # nothing is left there


def test_constants_shapes_and_copies_are_no_taps(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["w", "w"], ["ww"]),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Identity", ["x"], ["copy"]),
        helper.make_node("Add", ["copy", "ww"], ["sum"]),
        helper.make_node("Neg", ["sum"], ["less"]),
        helper.make_node("Reshape", ["less", "size"], ["y"]),
    ]
    path = saved(model(nodes, {"x": [2, 3]}, ["y"], {"w": np.ones((2, 3), np.float32)}), tmp_path / "m.onnx")
    found, original, after = tapped(path, False)
    assert [(row["tensor"], row["inputs"]) for row in found["taps"]] == [
        ("sum", ["x"]),
        ("less", ["sum"]),
        ("y", ["less"]),
    ]
    check(found, original, after, INF)


def test_what_is_found_by_value_is_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("NonZero", ["r"], ["places"]),
        helper.make_node("Transpose", ["places"], ["turned"], perm=[1, 0]),
        helper.make_node("GatherND", ["x", "turned"], ["picked"]),
        helper.make_node("ReduceSum", ["picked"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    path = saved(model(nodes, {"x": [2, 3]}, ["y"], {}), tmp_path / "m.onnx")
    found, original, after = tapped(path, False)
    assert names(found) == ["r", "sum", "y"]
    assert "places, turned, picked" in found["notes"][0]
    check(found, original, after, INF)


def test_branches_are_not_looked_into(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        node = helper.make_node(operator, ["a"], [f"{operator}_y"])
        output = helper.make_tensor_value_info(f"{operator}_y", FLOAT, [2, 3])
        return helper.make_graph([node], operator, [], [output])

    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["i"], then_branch=branch("Neg"), else_branch=branch("Abs")),
        helper.make_node("Exp", ["i"], ["y"]),
    ]
    path = saved(model(nodes, {"x": [2, 3]}, ["y"], {}), tmp_path / "m.onnx")
    found, original, after = tapped(path, False)
    assert names(found) == ["a", "i", "y"]
    assert "a" in next(row for row in found["taps"] if row["tensor"] == "i")["inputs"]
    assert any("2 of its operators are inside others" in note for note in found["notes"])
    check(found, original, after, INF)


def test_what_is_no_tensor_of_numbers_is_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0),
        helper.make_node("ConcatFromSequence", ["parts"], ["joined"], axis=1),
        helper.make_node("Neg", ["joined"], ["y"]),
    ]
    path = saved(model(nodes, {"x": [2, 3]}, ["y"], {}), tmp_path / "m.onnx")
    found, original, after = tapped(path, False)
    assert names(found) == ["joined", "y"]
    check(found, original, after, INF)


def test_functions_of_the_file_are_looked_into(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["a"], ["inner"]), helper.make_node("Exp", ["inner"], ["b"])]
    opsets = [helper.make_opsetid("", 20)]
    function = helper.make_function("own", "Twice", ["a"], ["b"], nodes, opsets)
    proto = model([helper.make_node("Twice", ["x"], ["y"], domain="own")], {"x": [2, 3]}, ["y"], {})
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    found, original, after = tapped(saved(proto, tmp_path / "m.onnx"), False)
    assert [row["operator"] for row in found["taps"]] == ["Neg", "Exp"]
    check(found, original, after, INF)


def test_a_scale_for_each_channel_is_said(tmp_path: Path) -> None:
    values = {S: np.linspace(0.1, 0.2, 300, dtype=np.float32), Z: np.full(300, 7, np.uint8)}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", S, Z], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", S, Z], ["d"], axis=1),
        helper.make_node("Exp", ["d"], ["y"]),
    ]
    found, original, after = tapped(saved(model(nodes, {"x": [2, 300]}, ["y"], values), tmp_path / "m.onnx"))
    row = next(row for row in found["taps"] if row["tensor"] == "q")
    assert (row["scale"], row["zero_point"], row["twin"]) == (None, None, "r")
    assert any("a scale for each channel" in note and "q" in note for note in found["notes"])
    check(found, original, after, INF)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated(share: float, tmp_path: Path) -> None:
    content = (MODELS / "work_cnn_int8.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConversionError, match="truncated or damaged"):
        tap(str(path), str(tmp_path / "t.onnx"), True)


def test_what_onnx_runtime_does_not_load(tmp_path: Path) -> None:
    proto = model([helper.make_node("Nope", ["x"], ["y"], domain="somewhere")], {"x": [2]}, ["y"], {})
    proto.opset_import.append(helper.make_opsetid("somewhere", 1))
    path = saved(proto, tmp_path / "m.onnx")
    with pytest.raises(ConversionError, match=r"m\.onnx: ONNX Runtime cannot load it"):
        tap(str(path), str(tmp_path / "t.onnx"), True)


def test_nothing_inside(tmp_path: Path) -> None:
    proto = model([helper.make_node("Mul", ["w", "w"], ["y"])], {"x": [2]}, ["y"], {"w": np.ones(2, np.float32)})
    path = saved(proto, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match="no operator of it makes a tensor of numbers"):
        tap(str(path), str(tmp_path / "t.onnx"), True)
