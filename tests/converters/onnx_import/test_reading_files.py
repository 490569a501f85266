"""Files as they are found: weights kept apart, old and new versions, sizes left open, and what contradicts itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, UsageError
from edgekit.requests import LoadRequest

pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from imported_models import model  # noqa: E402 - after the check that it is there
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from converters.onnx import loading  # noqa: E402
from converters.onnx.inspect import inspect  # noqa: E402
from converters.onnx.reading import load_and_run  # noqa: E402
from converters.onnx_import.convert import plan_of  # noqa: E402

WEIGHTS = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
SIZE = WEIGHTS.nbytes


def apart(**entries: Any) -> Any:
    """A tensor ``w`` in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def saved(proto: Any, folder: Path, **data: bytes) -> Path:
    """A model in a folder of its own."""
    folder.mkdir(exist_ok=True)
    for name, content in data.items():
        (folder / name).write_bytes(content)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def product(*stored: Any, nodes: Any = (PRODUCT,), x: Any = (1, 4)) -> Any:
    proto = model(nodes, {"x": x}, ["y"])
    proto.graph.initializer.extend(stored)
    return proto


def as_source(path: Path, into: Path, **options: Any) -> Any:
    into.mkdir(exist_ok=True)
    return load_and_run(LoadRequest(path=str(path), into=str(into), **options))


def linear_weight(path: Path | str) -> Any:
    """What the one product of a plan multiplies with, in the file's order of axes."""
    (step,) = plan_of(path, {"x": (1, 4)}, ["y"]).steps
    return step.operands[1].tensor.numpy().T


def every_reader(path: Path, into: Path) -> list[EdgekitError]:
    """The errors of ``inspect``, the source and the importer."""
    readers: list[Callable[[], object]] = [
        lambda: inspect(str(path)),
        lambda: as_source(path, into),
        lambda: plan_of(path, {"x": (1, 4)}, ["y"]),
    ]
    found = []
    for reader in readers:
        with pytest.raises(EdgekitError) as caught:
            reader()
        found.append(caught.value)
    return found


@pytest.mark.parametrize("place", ["w.bin", "sub/w.bin"])
def test_weights_in_a_file_beside_or_below(place: str, tmp_path: Path) -> None:
    path = saved(product(apart(location=place, offset=8, length=SIZE)), tmp_path)
    (path.parent / place).parent.mkdir(exist_ok=True)
    (path.parent / place).write_bytes(bytes(8) + WEIGHTS.tobytes())
    assert inspect(str(path))["notes"] == (f"Its weights are in {place}, which must stay beside it.",)
    np.testing.assert_array_equal(linear_weight(path), WEIGHTS)
    assert linear_weight(as_source(path, tmp_path / "into")["program"]).tolist() == WEIGHTS.tolist()


def test_a_tensor_without_offset_and_length(tmp_path: Path) -> None:
    path = saved(product(apart(location="w")), tmp_path, w=WEIGHTS.tobytes())
    np.testing.assert_array_equal(linear_weight(path), WEIGHTS)


def test_weights_of_nodes_branches_and_functions(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(apart(location="w"))
    path = saved(product(nodes=[constant, PRODUCT]), tmp_path / "node", w=WEIGHTS.tobytes())
    np.testing.assert_array_equal(linear_weight(path), WEIGHTS)
    body = helper.make_function(
        "own", "F", ["x"], ["y"], [constant, PRODUCT], [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )
    proto = product(nodes=[helper.make_node("F", ["x"], ["y"], domain="own")])
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    path = saved(proto, tmp_path / "function", w=WEIGHTS.tobytes())
    np.testing.assert_array_equal(linear_weight(path), WEIGHTS)


OUTSIDE = {
    "above": "../secret",
    "absolute": "{outside}",
    "link": "link",
    "linked_folder": "linked/secret",
    "through": "sub/../../secret",
    "itself": ".",
}


@pytest.mark.parametrize("kind", OUTSIDE)
@pytest.mark.parametrize("where", ["initializer", "node", "branch", "function"])
def test_nothing_outside_of_the_folder_is_read(kind: str, where: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to("../secret")
    (folder / "linked").symlink_to("..")
    tensor = apart(location=OUTSIDE[kind].format(outside=tmp_path / "secret"), length=SIZE)
    path = saved(holding(tensor, where), folder)
    for error in every_reader(path, tmp_path / "into"):
        assert isinstance(error, ConversionError)
        assert "outside its folder" in error.message
        assert error.hint


def holding(tensor: Any, where: str) -> Any:
    """A model with a stored tensor somewhere."""
    if where == "initializer":
        return product(tensor)
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    if where == "node":
        return product(nodes=[constant, PRODUCT])
    if where == "branch":
        output = helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHTS.shape)
        graph = helper.make_graph([], "branch", [], [output], [tensor])
        choice = helper.make_node("If", ["flag"], ["w"], then_branch=graph, else_branch=graph)
        return product(numpy_helper.from_array(np.array(True), "flag"), nodes=[choice, PRODUCT])
    proto = product(nodes=[helper.make_node("F", ["x"], ["y"], domain="own")])
    proto.functions.append(
        helper.make_function("own", "F", ["x"], ["y"], [constant, PRODUCT], [helper.make_opsetid("", 17)])
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return proto


DAMAGED = {
    "missing": (apart(location="nothing"), "nothing, is missing"),
    "no name": (apart(offset=0), "whose name is missing"),
    "behind the end": (apart(location="w", offset=40), "has 96 bytes where 136 are needed"),
    "longer than the file": (apart(location="w", length=10**12), "should be 96 bytes, and its place in 'w' has 1000"),
    "shorter than the shape": (apart(location="w", length=40), "should be 96 bytes, and its place in 'w' has 40"),
    "before the start": (apart(location="w", offset=-4), "offset of 'w' in its file is '-4'"),
    "a word": (apart(location="w", offset="four"), "offset of 'w' in its file is 'four'"),
    "too long a name": (apart(location="w" * 5000), "no file can be called"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_places_that_are_not_there(kind: str, tmp_path: Path) -> None:
    tensor, words = DAMAGED[kind]
    path = saved(product(tensor), tmp_path, w=WEIGHTS.tobytes())
    for error in every_reader(path, tmp_path / "into"):
        assert isinstance(error, ConversionError)
        assert words in error.message
        assert error.hint


def test_a_file_with_other_names_is_not_read(tmp_path: Path) -> None:
    """A hard link is a way out of the folder that no path shows; onnx refuses them too."""
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    path = saved(product(apart(location="w")), tmp_path / "model")
    os.link(tmp_path / "secret", path.parent / "w")
    assert all("hard links" in error.message for error in every_reader(path, tmp_path / "into"))


def test_more_weights_than_one_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay apart in the program, and go from there into the plan; what rewrites ONNX refuses them by name."""
    monkeypatch.setattr(loading, "LARGEST_MESSAGE", 50)
    bias = numpy_helper.from_array(np.ones(6, np.float32), "b")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "b"], ["y"])]
    path = saved(product(apart(location="w", offset=4), bias, nodes=nodes), tmp_path, w=bytes(4) + WEIGHTS.tobytes())
    made = as_source(path, tmp_path / "into")
    assert (tmp_path / "into/program.onnx.data").read_bytes() == WEIGHTS.tobytes()
    (step,) = plan_of(made["program"], {"x": (1, 4)}, ["y"]).steps
    assert step.operands[1].tensor.numpy().T.tolist() == WEIGHTS.tolist()
    with pytest.raises(UnsupportedError, match="ends at 2 GB") as caught:
        loading.whole(made["program"])
    assert "--to executorch" in caught.value.hint


def test_more_than_one_file_holds_inside_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(product(numpy_helper.from_array(WEIGHTS, "w")), tmp_path)
    monkeypatch.setattr(loading, "LARGEST_MESSAGE", 50)
    with pytest.raises(UnsupportedError, match="more than 2 GB of them"):
        as_source(path, tmp_path / "into")


def test_mapped_weights_are_not_written_back(tmp_path: Path) -> None:
    path = saved(product(apart(location="w")), tmp_path, w=WEIGHTS.tobytes())
    proto, places = loading.opened(path)
    mapped = loading.mapped(places["w"])
    mapped[:] = 0
    assert (tmp_path / "w").read_bytes() == WEIGHTS.tobytes()
    assert not proto.graph.initializer[0].raw_data


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


def test_what_no_tflite_file_can_hold_is_refused_before_the_work(tmp_path: Path) -> None:
    """The file is sparse: it takes no space on the disk."""
    from converters.tflite.lower import lower

    with (tmp_path / "program.pt2").open("wb") as file:
        file.truncate(2_100_000_000)
    with pytest.raises(UnsupportedError, match=r"weights are 2\.1 GB, and a TFLite file ends at 2 GB") as caught:
        lower(str(tmp_path / "program.pt2"), str(tmp_path / "m.tflite"), "float32", {}, None, {})
    assert "--to executorch" in caught.value.hint
