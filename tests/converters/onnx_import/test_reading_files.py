"""Weights kept apart from their model: found in its folder, never outside, and more than one file can hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ConversionError, UnsupportedError

pytest.importorskip("torch", reason="needs the extra torch")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check that it is there
from onnx_files import PRODUCT, SIZE, WEIGHTS, apart, as_source, every_reader, linear_weight, product, saved  # noqa: E402

from converters.onnx import loading  # noqa: E402
from converters.onnx.inspect import inspect  # noqa: E402


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
    np.testing.assert_array_equal(linear_weight(made["program"]), WEIGHTS)
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


def test_what_no_tflite_file_can_hold_is_refused_before_the_work(tmp_path: Path) -> None:
    """The file is sparse: it takes no space on the disk."""
    from converters.tflite.lower import lower

    with (tmp_path / "program.pt2").open("wb") as file:
        file.truncate(2_100_000_000)
    with pytest.raises(UnsupportedError, match=r"weights are 2\.1 GB, and a TFLite file ends at 2 GB") as caught:
        lower(str(tmp_path / "program.pt2"), str(tmp_path / "m.tflite"), "float32", {}, None, {})
    assert "--to executorch" in caught.value.hint
