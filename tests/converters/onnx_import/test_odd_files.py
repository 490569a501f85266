"""Files as they are found: old and new versions, sizes left open, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, UsageError

pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from imported_models import model  # noqa: E402 - after the check that it is there
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_files import WEIGHTS, as_source, every_reader, linear_weight, product, saved  # noqa: E402

from converters.onnx_import.convert import plan_of  # noqa: E402


@pytest.mark.parametrize(("ir", "opset"), [(3, 7), (3, 8), (4, 9), (9, 20)])
def test_old_versions(ir: int, opset: int, tmp_path: Path) -> None:
    proto = product(numpy_helper.from_array(WEIGHTS, "w"))
    proto.ir_version, proto.opset_import[0].version = ir, opset
    if ir < 4:  # then stored tensors are inputs too
        proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHTS.shape))
    made = as_source(saved(proto, tmp_path), tmp_path / "into")
    assert [item["name"] for item in made["signature"]["inputs"]] == ["x"]
    np.testing.assert_array_equal(linear_weight(made["program"]), WEIGHTS)
    np.testing.assert_array_equal(linear_weight(tmp_path / "m.onnx"), WEIGHTS)


def test_attributes_of_files_that_do_not_say_their_type() -> None:
    proto = product(nodes=[helper.make_node("Softmax", ["x"], ["y"], axis=0)])
    proto.graph.node[0].attribute[0].ClearField("type")
    (step,) = plan_of(proto, {"x": (1, 4)}, ["y"]).steps
    assert step.node.get("axis") == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ir_version": 99}, "IR version is 99"),
        ({"opset": 1000}, "in opset 1000"),
        ({"ir_version": 0}, "does not say its IR version"),
        ({"opset": None}, "does not say its opset"),
    ],
)
def test_versions_that_nothing_here_knows(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    proto = product(numpy_helper.from_array(WEIGHTS, "w"))
    proto.ir_version = change.get("ir_version", proto.ir_version)
    proto.opset_import[0].version = change.get("opset") or 17
    if "opset" in change and change["opset"] is None:
        del proto.opset_import[:]
    path = saved(proto, tmp_path)
    for reader in (lambda: as_source(path, tmp_path / "into"), lambda: plan_of(path, {"x": (1, 4)}, ["y"])):
        with pytest.raises(EdgekitError, match=words) as caught:
            reader()
        assert caught.value.hint


@pytest.mark.parametrize("x", [("n", 4), (None, 4), None])
def test_sizes_that_are_left_open(x: Any, tmp_path: Path) -> None:
    proto = product(numpy_helper.from_array(WEIGHTS, "w"), x=(1, 4))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, x))
    path = saved(proto, tmp_path)
    made = as_source(path, tmp_path / "into", inputs=("x=3,4",))
    assert made["signature"]["inputs"][0]["shape"] == (3, 4)
    if x is not None:
        assert as_source(path, tmp_path / "one")["signature"]["inputs"][0]["shape"] == (1, 4)
    else:
        with pytest.raises(UsageError, match="says nothing of the shape") as caught:
            as_source(path, tmp_path / "none")
        assert "--input x=" in caught.value.hint


def test_a_size_of_minus_one_is_open(tmp_path: Path) -> None:
    """onnx's shape inference aborts on Slice of such."""
    ends = {"start": np.array([0]), "end": np.array([2]), "axis": np.array([1])}
    cut = helper.make_node("Slice", ["x", "start", "end", "axis"], ["y"])
    path = saved(model([cut], {"x": (1, -1)}, ["y"], ends), tmp_path)
    assert as_source(path, tmp_path / "into", inputs=("x=1,4",))["signature"]["outputs"][0]["shape"] == (1, 2)


def test_an_input_of_more_than_a_machine_holds(tmp_path: Path) -> None:
    path = saved(product(numpy_helper.from_array(WEIGHTS, "w"), x=(10**12, 4)), tmp_path)
    with pytest.raises(UsageError, match=r"one sample of the input .* would be 16000\.0 GB"):
        as_source(path, tmp_path / "into")


def test_models_without_inputs_or_outputs(tmp_path: Path) -> None:
    proto = product(numpy_helper.from_array(WEIGHTS, "w"))
    del proto.graph.output[:]
    with pytest.raises(UnsupportedError, match="no outputs"):
        as_source(saved(proto, tmp_path / "o"), tmp_path / "into")
    proto = model([helper.make_node("Relu", ["w"], ["y"])], {}, ["y"], {"w": WEIGHTS})
    with pytest.raises(UnsupportedError, match="no inputs"):
        as_source(saved(proto, tmp_path / "i"), tmp_path / "into")


def test_nodes_in_any_order() -> None:
    """Also where a body reads what a later node makes."""
    branch = helper.make_graph(
        [helper.make_node("Neg", ["b"], ["c"])], "branch", [], [helper.make_empty_tensor_value_info("c")]
    )
    nodes = [
        helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Abs", ["x"], ["a"]),
    ]
    plan = plan_of(model(nodes, {"x": (1, 4)}, ["y"], {"flag": np.array(True)}), {"x": (1, 4)}, ["y"])
    assert [step.operator.name for step in plan.steps] == ["Abs", "Exp", "Neg"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    content = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, ["y"]).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content.replace(b"Relu", b"R\xeflu"))
    for error in every_reader(path, tmp_path / "into"):
        assert "is no UTF-8" in error.message


CONTRADICTIONS = {
    "a ring": ([("Add", "x,b", "a"), ("Relu", "a", "b"), ("Neg", "b", "y")], r"wait for each other's results: .*Add.*"),
    "a node of itself": ([("Add", "x,y", "y")], "wait for each other's results: Add_y"),
    "two makers": ([("Relu", "x", "y"), ("Neg", "x", "y")], "called 'y': of node Relu_y .* and of node Neg_y"),
    "an input made": ([("Relu", "x", "x"), ("Neg", "x", "y")], "called 'x': of the graph itself"),
    "nothing made": ([("Relu", "q", "y")], "reads 'q', which nothing before it makes"),
    "no output": ([("Relu", "x", "q")], "computes no tensor 'y'"),
    "operands that are missing": ([("Conv", "x", "y")], "Node Conv_y"),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_graphs_that_contradict_themselves(kind: str) -> None:
    nodes, words = CONTRADICTIONS[kind]
    proto = model([helper.make_node(name, i.split(","), o.split(",")) for name, i, o in nodes], {"x": (1, 4)}, ["y"])
    with pytest.raises(ConversionError, match=words):
        plan_of(proto, {"x": (1, 4)}, ["y"])


@pytest.mark.parametrize("calls", [{"F": ["F"]}, {"F": ["G"], "G": ["H"], "H": ["G"]}])
def test_functions_that_call_themselves(calls: dict[str, list[str]], tmp_path: Path) -> None:
    proto = product(nodes=[helper.make_node("F", ["x"], ["y"], domain="own")])
    _add_functions(proto, calls)
    path = saved(proto, tmp_path)
    for error in every_reader(path, tmp_path / "into"):
        assert "functions call themselves" in error.message


def test_functions_that_double_and_double() -> None:
    calls = {f"F{number}": [f"F{number + 1}"] * 2 for number in range(40)} | {"F40": []}
    proto = product(nodes=[helper.make_node("F0", ["x"], ["y"], domain="own")])
    _add_functions(proto, calls)
    with pytest.raises(UnsupportedError, match="nodes, more than"):
        plan_of(proto, {"x": (1, 4)}, ["y"])


def _add_functions(proto: Any, calls: dict[str, list[str]]) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, called in calls.items():
        last = len(called) - 1
        nodes = [
            helper.make_node(own, [f"t{at}" if at else "x"], ["y" if at == last else f"t{at + 1}"], domain="own")
            for at, own in enumerate(called)
        ] or [helper.make_node("Relu", ["x"], ["y"])]
        proto.functions.append(helper.make_function("own", name, ["x"], ["y"], nodes, opsets))
    proto.opset_import.append(helper.make_opsetid("own", 1))


def test_unknown_operators_are_listed_at_once(tmp_path: Path) -> None:
    """Those in branches and functions too, with nodes, opset and counts; the source lists them before it runs."""
    branch = helper.make_graph(
        [helper.make_node("Foo", ["x"], ["o"], name="inside")], "b", [], [helper.make_empty_tensor_value_info("o")]
    )
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], name="first"),
        helper.make_node("If", ["flag"], ["b"], then_branch=branch, else_branch=branch),
        helper.make_node("F", ["b"], ["c"], domain="own"),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    proto = product(numpy_helper.from_array(np.array(True), "flag"), nodes=nodes)
    body = [helper.make_node("Bar", ["x"], ["y"], name="deep", domain="com.microsoft")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto.functions.append(helper.make_function("own", "F", ["x"], ["y"], body, opsets))
    proto.opset_import.extend([helper.make_opsetid("own", 1), helper.make_opsetid("com.microsoft", 1)])
    with pytest.raises(UnsupportedError) as caught:
        plan_of(proto, {"x": (1, 4)}, ["y"])
    assert "3 of Foo (opset ai.onnx 17) at first, inside, inside" in caught.value.message
    assert "com.microsoft.Bar (opset com.microsoft 1) at deep" in caught.value.message
    with pytest.raises(UnsupportedError, match="2 kinds of operators that ONNX Runtime does not have") as caught:
        as_source(saved(proto, tmp_path), tmp_path / "into")
    assert "3 of Foo (opset ai.onnx 17) at first, inside, inside" in caught.value.message


def test_a_branch_that_is_not_taken_may_hold_anything() -> None:
    def branch(operator: str) -> Any:
        return helper.make_graph(
            [helper.make_node(operator, ["x"], ["o"])], "b", [], [helper.make_empty_tensor_value_info("o")]
        )

    choice = helper.make_node("If", ["flag"], ["y"], then_branch=branch("Relu"), else_branch=branch("Foo"))
    flags = {"flag": np.array(True)}
    (step,) = plan_of(model([choice], {"x": (1, 4)}, ["y"], flags), {"x": (1, 4)}, ["y"]).steps
    assert step.operator.name == "Relu"
    with pytest.raises(UnsupportedError, match=r"1 operator .* Foo \(opset ai.onnx 17\) at If_y"):
        plan_of(model([choice], {"x": (1, 4)}, ["y"], {"flag": np.array(False)}), {"x": (1, 4)}, ["y"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dims": [10**15, 6]}, "should be 24000000000000000 bytes and is 96"),
        ({"dims": [-4, 6]}, r"has the shape \[-4, 6\]"),
        ({"data_type": 99}, "knows not"),
        ({"raw_data": b""}, "should be 96 bytes and is 0"),
    ],
)
def test_tensors_that_are_not_what_they_say(change: dict[str, Any], words: str) -> None:
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    for name, value in change.items():
        if name == "dims":
            tensor.dims[:] = value
        else:
            setattr(tensor, name, value)
    with pytest.raises(EdgekitError, match=words):
        plan_of(product(tensor), {"x": (1, 4)}, ["y"])
