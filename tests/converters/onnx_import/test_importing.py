"""What the importer makes of whole models: constants gone, layers as runtimes want them, paths, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConversionError, UnsupportedError
from edgekit.types import Signature, TensorSpec, to_json

pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from imported_models import called, decibels, model  # noqa: E402 - after the check that it is there
from onnx import helper  # noqa: E402

Same = Callable[..., Any]
RANDOM = np.random.default_rng(7)


def weights(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def node(operator: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(","), outputs.split(","), name=name, **attributes)


def test_shapes_are_constants(same: Same) -> None:
    """Shape, Gather, Concat and Reshape, as exporters write a flattening, become one operator."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s,zero", "b"), node("Unsqueeze", "b,axes", "u"),
        node("Concat", "u,rest", "t", axis=0), node("Reshape", "x,t", "y"),
    ]  # fmt: skip
    constants = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])}
    assert called(same(model(nodes, {"x": ("b", 3, 4)}, ["y"], constants), {"x": (2, 3, 4)})) == ["reshape"]


def test_matrices_become_linear_layers_with_their_bias(same: Same) -> None:
    gemm = node("Gemm", "a,v,c", "y", transB=1, alpha=0.5, beta=2.0)
    nodes = [node("MatMul", "x,w", "h"), node("Add", "bias,h", "a"), gemm]
    constants = {"w": weights(4, 5), "bias": weights(5), "v": weights(3, 5), "c": weights(1, 3)}
    assert called(same(model(nodes, {"x": (2, 4)}, ["y"], constants), {"x": (2, 4)})) == ["linear", "linear"]


def test_arithmetic_per_channel_goes_into_the_convolution(same: Same) -> None:
    nodes = [
        node("Conv", "x,w", "a", pads=[1, 1, 1, 1]), node("Mul", "a,scale", "b"), node("Sub", "b,mean", "c"),
        node("Div", "c,two", "d"), node("Sub", "one,d", "y"),
    ]  # fmt: skip
    constants = {"w": weights(4, 3, 3, 3), "scale": weights(1, 4, 1, 1), "mean": weights(4, 1, 1),
                 "two": np.float32(2), "one": np.float32(1)}  # fmt: skip
    assert called(same(model(nodes, {"x": (1, 3, 6, 6)}, ["y"], constants), {"x": (1, 3, 6, 6)})) == ["conv2d"]


def test_a_result_that_others_read_is_left_alone(same: Same) -> None:
    nodes = [node("Conv", "x,w", "a"), node("Mul", "a,scale", "b"), node("Add", "a,b", "y")]
    constants = {"w": weights(4, 3, 3, 3), "scale": weights(1, 4, 1, 1)}
    names = called(same(model(nodes, {"x": (1, 3, 6, 6)}, ["y"], constants), {"x": (1, 3, 6, 6)}))
    assert names == ["conv2d", "mul", "add"]


def test_batch_norm_is_folded(same: Same) -> None:
    nodes = [node("Conv", "x,w", "a", auto_pad="SAME_UPPER", strides=[2, 2]),
             node("BatchNormalization", "a,s,b,m,v", "y")]  # fmt: skip
    constants = {"w": weights(4, 3, 3, 3), "s": weights(4), "b": weights(4), "m": weights(4), "v": weights(4) ** 2}
    assert called(same(model(nodes, {"x": (1, 3, 6, 6)}, ["y"], constants), {"x": (1, 3, 6, 6)})) == ["pad", "conv2d"]


@pytest.mark.parametrize("before", ["Relu", "Neg"])
def test_maximum_pooling_pads_without_infinities(same: Same, before: str) -> None:
    """They would spoil every range that calibration finds."""
    pool = node("MaxPool", "a", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    nodes = [node(before, "x", "a"), pool]
    module = same(model(nodes, {"x": (1, 2, 8, 8)}, ["y"]), {"x": (1, 2, 8, 8)})
    assert "inf" not in str(module.graph)
    assert ("pad" in called(module)) == (before == "Relu")


def test_conditions_and_loops_that_constants_decide_are_gone(same: Same) -> None:
    value = helper.make_tensor_value_info
    float_, int_, bool_ = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    then = helper.make_graph([node("Neg", "x", "t")], "then", [], [value("t", float_, None)])
    other = helper.make_graph([node("Abs", "x", "e")], "else", [], [value("e", float_, None)])
    body = helper.make_graph(
        [node("Cast", "i", "f", to=float_), node("Add", "state,f", "new"), node("Identity", "going", "on"),
         node("Mul", "new,new", "seen")],
        "body",
        [value("i", int_, []), value("going", bool_, []), value("state", float_, None)],
        [value("on", bool_, []), value("new", float_, None), value("seen", float_, None)],
    )  # fmt: skip
    nodes = [
        node("Size", "x", "n"), node("Greater", "n,five", "big"),
        helper.make_node("If", ["big"], ["a"], then_branch=then, else_branch=other),
        helper.make_node("Loop", ["three", "yes", "a"], ["y", "z"], body=body),
    ]  # fmt: skip
    constants = {"five": np.int64(5), "three": np.int64(3), "yes": np.bool_(True)}
    names = called(same(model(nodes, {"x": (2, 3)}, ["y", "z"], constants), {"x": (2, 3)}))
    assert names == ["neg", "add", "mul", "add", "mul", "add", "mul", "stack"]


def test_functions_of_the_model_are_taken_apart(same: Same) -> None:
    function = helper.make_function(
        "own", "Scaled", ["a", "b"], ["c"],
        [node("Constant", "", "k"), node("Mul", "a,k", "d"), node("Add", "d,b", "c")],
        [helper.make_opsetid("", 17)], ["by"],
    )  # fmt: skip
    function.node[0].ClearField("input")
    reference = function.node[0].attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "value_float", "by", onnx.AttributeProto.FLOAT
    nodes = [helper.make_node("Scaled", ["x", "x"], ["y"], domain="own", by=3.0)]
    proto = model(nodes, {"x": (2, 3)}, ["y"], functions=[function])
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert called(same(proto, {"x": (2, 3)})) == ["mul", "add"]


def test_stored_tensors_may_be_listed_as_inputs(same: Same) -> None:
    proto = model([node("Conv", "x,w", "y")], {"x": (1, 3, 4, 4), "w": (2, 3, 3, 3)}, ["y"], {"w": weights(2, 3, 3, 3)})
    assert called(same(proto, {"x": (1, 3, 4, 4)})) == ["conv2d"]


def test_layers_are_found_under_the_paths_of_the_file(same: Same) -> None:
    from converters.torch_export.layers import layers_of

    nodes = [node("Conv", "x,w", "a", "/stem/conv/Conv"), node("Relu", "a", "b", "/stem/Relu"),
             node("Relu", "b", "y", "while/if:0")]  # fmt: skip
    module = same(model(nodes, {"x": (1, 3, 4, 4)}, ["y"], {"w": weights(2, 3, 3, 3)}), {"x": (1, 3, 4, 4)})
    assert [layer.path for layer in layers_of(module)] == ["stem.conv.Conv", "stem.Relu", "while.if:0"]
    assert [layer.weighted for layer in layers_of(module)] == [True, False, False]


def refused(proto: Any, shapes: dict[str, Any], error: type[Exception]) -> str:
    from converters.onnx_import.convert import plan_of

    with pytest.raises(error) as caught:
        plan_of(proto, shapes, [item.name for item in proto.graph.output])
    return str(caught.value)


def test_unknown_operators_are_listed_before_any_work() -> None:
    nodes = [node("Foo", "x", "a", "first"), node("Foo", "a", "b", "second"),
             helper.make_node("Bar", ["b", "missing"], ["y"], name="third", domain="mine")]  # fmt: skip
    proto = model(nodes, {"x": (2,)}, ["y"])
    proto.opset_import.append(helper.make_opsetid("mine", 4))
    message = refused(proto, {"x": (2,)}, UnsupportedError)
    assert "2 operators" in message
    assert "2 of Foo (opset ai.onnx 17) at first, second" in message
    assert "mine.Bar (opset mine 4) at third" in message


def test_what_only_data_decides_is_listed_at_once() -> None:
    nodes = [node("NonZero", "x", "a", "nz"), node("Cast", "x", "n", "cast", to=onnx.TensorProto.INT64),
             node("Reshape", "x,n", "y", "shape"), node("Cast", "a", "z", to=1)]  # fmt: skip
    message = refused(model(nodes, {"x": (2,)}, ["y", "z"]), {"x": (2,)}, UnsupportedError)
    assert "NonZero (how many elements are not zero depends on data" in message
    assert "Reshape (its input 1, 'n', must be constant) at shape" in message


def test_a_node_that_its_operands_contradict_is_named() -> None:
    proto = model([node("Add", "x,w", "y", "sum")], {"x": (2,)}, ["y"], {"w": weights(3)})
    assert "sum (Add) on float32[2], float32[3]" in refused(proto, {"x": (2,)}, ConversionError)


def test_dangling_names_are_an_error() -> None:
    proto = model([node("Relu", "nothing", "y", "relu")], {"x": (2,)}, ["y"])
    assert "relu (Relu) reads 'nothing'" in refused(proto, {"x": (2,)}, ConversionError)


def test_an_endless_loop_is_stopped() -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Neg", "s", "new")], "body",
        [value("i", onnx.TensorProto.INT64, []), value("c", onnx.TensorProto.BOOL, []), value("s", 1, None)],
        [value("c", onnx.TensorProto.BOOL, []), value("new", 1, None)],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)]
    proto = model(nodes, {"x": (2,)}, ["y"], {"yes": np.bool_(True)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("converters.onnx_import.specialize._MOST_STEPS", 50)
        assert "unrolls to more than 50" in refused(proto, {"x": (2,)}, UnsupportedError)


def test_the_step_keeps_names_that_python_does_not_allow(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="needs the extra tflite")
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    from converters.onnx_import.convert import convert
    from converters.tflite.lower import lower

    proto = model([node("Conv", "Input:0,w", "a"), node("Relu", "a", "out/1")], {"Input:0": (1, 3, 4, 4)}, ["out/1"],
                  {"w": weights(2, 3, 3, 3)})  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    spec = TensorSpec("Input:0", (1, 3, 4, 4), "float32")
    signature = to_json(Signature((spec,), (TensorSpec("out/1", (1, 2, 2, 2), "float32"),)))
    program, file = str(tmp_path / "m.pt2"), str(tmp_path / "m.tflite")
    assert convert(str(tmp_path / "m.onnx"), program, "float32", signature, None, {})["notes"] == []
    lower(program, file, "float32", signature, None, {})
    data = weights(1, 3, 4, 4)
    found = Interpreter(file).get_signature_runner()(**{"Input:0": data})
    wanted = onnxruntime.InferenceSession(str(tmp_path / "m.onnx")).run(None, {"Input:0": data})
    assert decibels(wanted[0], found["out/1"]) >= 110


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist_onnx/mnist.onnx", (1, 1, 28, 28)), ("winml_cifar10/ImageClassifier.onnx", (1, 3, 32, 32)),
     ("ultraface/version-slim-320_simplified.onnx", (1, 3, 240, 320))],
)  # fmt: skip
def test_real_models(same: Same, shared_models: Path, name: str, shape: tuple[int, ...]) -> None:
    proto = onnx.load(shared_models / name)
    stored = {item.name for item in proto.graph.initializer}
    (given,) = (item.name for item in proto.graph.input if item.name not in stored)
    module = same(proto, {given: shape}, 100.0)
    assert {"conv2d", "relu"} <= set(called(module))
    assert "batch_norm" not in called(module)
