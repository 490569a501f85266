"""``--dynamic`` on ONNX files as sources: which sizes the program keeps open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import helper
from onnx_models import model, np, onnx, saved

from converters.onnx import _sizes
from converters.sources.onnx import load
from edgekit import feeds
from edgekit.errors import UnsupportedError, UsageError
from edgekit.requests import LoadRequest
from edgekit.types import to_json

ADD = [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("MatMul", ["c", "w"], ["y"])]
WEIGHTS = {"w": np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)}


def loaded(folder: Path, shapes: dict[str, Any], *dynamic: str) -> tuple[dict[str, Any], Any]:
    """The answer, and the program."""
    path = saved(model(ADD, shapes, ["y"], WEIGHTS), folder / "model.onnx")
    sizes = tuple(f"{name}=1,12,3" for name in shapes)
    answer: Any = load(to_json(LoadRequest(str(path), into=str(folder), inputs=sizes, dynamic=dynamic)))
    return answer, onnx.load(answer["program"])


def sizes_of(values: Any) -> list[list[Any]]:
    return [[dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in values]


def test_names_of_open_sizes_stay(tmp_path: Path) -> None:
    shapes = {"a": ["b", "n", 3], "b": ["b", "n", 3]}
    answer, program = loaded(tmp_path, shapes, "batch")
    assert sizes_of(program.graph.input) == [["b", 12, 3], ["b", 12, 3]]
    assert [list(spec["shape"]) for spec in answer["signature"]["inputs"]] == [[None, 12, 3], [None, 12, 3]]
    assert [list(spec["shape"]) for spec in answer["signature"]["outputs"]] == [[None, 12, 3]]
    assert _sizes.usual(program) == {"a": [1, 12, 3], "b": [1, 12, 3]}
    assert [note for note in answer["notes"] if "are fixed" in note] == [
        "Sizes that the file leaves open are fixed: a: float32[?,12,3], b: float32[?,12,3]."
    ]
    assert feeds.read(tmp_path / "sizes/1/feeds").arrays["a"].shape[1:] == (5, 12, 3)


def test_sizes_without_names_get_one(tmp_path: Path) -> None:
    shapes = {"a": [None, None, 3], "b": [None, None, 3]}
    answer, program = loaded(tmp_path, shapes, "batch", "a.1", "b.1")
    assert sizes_of(program.graph.input) == [["batch", "a_1", 3], ["batch", "b_1", 3]]
    assert not [note for note in answer["notes"] if "are fixed" in note]


def test_nothing_asked_for_leaves_no_trace(tmp_path: Path) -> None:
    _, program = loaded(tmp_path, {"a": ["b", "n", 3], "b": ["b", "n", 3]})
    assert sizes_of(program.graph.input) == [[1, 12, 3], [1, 12, 3]]
    assert _sizes.usual(program) == {}


def test_one_size_cannot_be_open_and_fixed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the same size, 'n'") as caught:
        loaded(tmp_path, {"a": ["b", "n", 3], "b": ["b", "n", 3]}, "a.1")
    assert caught.value.hint == "--dynamic a.1 --dynamic b.1"


def test_a_size_that_the_file_fixes(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"axis 0 of the input a.* is fixed in the file"):
        loaded(tmp_path, {"a": [1, "n", 3], "b": [1, "n", 3]}, "batch")
