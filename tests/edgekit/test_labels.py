"""``--labels``: what files give, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import labels
from edgekit.errors import DataError
from edgekit.feeds import Array, Feeds


def samples(count: int, batch: int = 1, places: Array | None = None) -> Feeds:
    return Feeds({"x": np.zeros((count, batch, 4), np.float32)}, places=places)


def text(tmp_path: Path, content: str, name: str = "labels.csv") -> str:
    path = tmp_path / name
    path.write_text(content)
    return str(path)


def saved(tmp_path: Path, array: Any, name: str = "labels.npy") -> str:
    np.save(tmp_path / name, array)
    return str(tmp_path / name)


def read(typed: str, count: int, **named: Any) -> Array:
    found = labels.read(typed, samples(count), **named)
    assert isinstance(found, np.ndarray)
    return found


# Numbers


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32", "bool"])
def test_whole_numbers(dtype: str, tmp_path: Path) -> None:
    found = read(saved(tmp_path, np.array([0, 1, 1]).astype(dtype)), 3)
    assert found.dtype.kind in "iu"
    assert found.tolist() == [[0], [1], [1]]


def test_numbers_to_predict_keep_their_shape(tmp_path: Path) -> None:
    wanted = np.arange(12.0).reshape(6, 2) / 4
    path = saved(tmp_path, wanted)
    np.testing.assert_array_equal(read(path, 6), wanted.reshape(6, 1, 2))
    np.testing.assert_array_equal(labels.read(path, samples(3, 2)), wanted.reshape(3, 2, 2))


def test_a_column_of_numbers_is_flat(tmp_path: Path) -> None:
    assert read(saved(tmp_path, np.array([[2], [0]])), 2).tolist() == [[2], [0]]


def test_masks_are_numbers_too(tmp_path: Path) -> None:
    assert read(saved(tmp_path, np.ones((2, 5, 5), np.uint8)), 2).shape == (2, 1, 5, 5)


def test_batches_and_those_that_fill_none(tmp_path: Path) -> None:
    path = saved(tmp_path, np.arange(7))
    assert np.asarray(labels.read(path, samples(3, 2))).tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(DataError, match=r"labels.npy has 7 labels, the data 2 samples in batches of 2"):
        labels.read(path, samples(2, 2))


def test_samples_that_were_drawn_get_their_own_labels(tmp_path: Path) -> None:
    places = np.array([3, 0])
    path = saved(tmp_path, np.arange(8))
    assert np.asarray(labels.read(path, samples(2, 1, places))).tolist() == [[3], [0]]
    assert np.asarray(labels.read(path, samples(2, 2, places))).tolist() == [[6, 7], [0, 1]]


@pytest.mark.parametrize(
    ("arrays", "member", "expected"),
    [
        ({"labels": [1, 2], "x": [8, 9]}, "", [1, 2]),
        ({"y": [1, 2], "x": [8, 9]}, "", [1, 2]),
        ({"anything": [1, 2]}, "", [1, 2]),
        ({"labels": [1, 2], "fine": [8, 9]}, ":fine", [8, 9]),
    ],
)
def test_arrays_of_npz(arrays: dict[str, list[int]], member: str, expected: list[int], tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{name: np.array(array) for name, array in arrays.items()})
    assert read(f"{tmp_path / 'data.npz'}{member}", 2).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("content", "name", "member", "expected"),
    [
        ("3\n1\n\n", "labels.txt", "", [3, 1]),
        ("0.5\n1\n", "labels.txt", "", [0.5, 1]),
        ("label\n3\n1\n", "labels.csv", "", [3, 1]),
        ("3\n1\n", "labels.csv", "", [3, 1]),
        ("a,b,y\n1,2,3\n4,5,6\n", "labels.csv", "", [3, 6]),
        ("a,b,c\n1,2,3\n4,5,6\n", "labels.csv", ":b", [2, 5]),
        ("1,2,3\n4,5,6\n", "labels.csv", ":1", [2, 5]),
        ("a;b\n1;2\n4;5\n", "labels.csv", ":a", [1, 4]),
        ("a\tlabels\n1\t2\n4\t5\n", "labels.tsv", "", [2, 5]),
    ],
)
def test_columns(content: str, name: str, member: str, expected: list[float], tmp_path: Path) -> None:
    assert read(text(tmp_path, content, name) + member, 2).ravel().tolist() == expected


# Words


def test_words_that_repeat_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    path = text(tmp_path, "species\nlily\niris\nlily\n") + ":species"
    assert read(path, 3).ravel().tolist() == [1, 0, 1]
    assert labels.class_names(path) == ("iris", "lily")


def test_classes_that_the_data_names_keep_its_order(tmp_path: Path) -> None:
    path = text(tmp_path, "lily\niris\nlily\n", "labels.txt")
    names = ("rose", "lily", "iris")
    assert read(path, 3, names=names).ravel().tolist() == [1, 2, 1]
    assert labels.class_names(path, names) == names


def test_words_of_npy(tmp_path: Path) -> None:
    path = saved(tmp_path, np.array(["b", "a", "b"]))
    assert read(path, 3).ravel().tolist() == [1, 0, 1]
    assert labels.class_names(path) == ("a", "b")


def test_lines_that_are_all_different_are_texts(tmp_path: Path) -> None:
    path = text(tmp_path, "turn left, please\nstop\n", "said.txt")
    assert labels.read(path, samples(2)) == ["turn left, please", "stop"]
    assert labels.class_names(path) == ()
    with pytest.raises(DataError, match=r"said\.txt has 2 labels, the data 3 samples"):
        labels.read(path, samples(3))


def test_the_input_itself() -> None:
    assert labels.read("input", samples(3)) == labels.INPUT
    assert labels.class_names("input") == ()


# Boxes

COCO = {
    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "sub/a.jpg"}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 5, "name": "cat"}],
    "annotations": [
        {"image_id": 3, "category_id": 18, "bbox": [10, 20, 5, 6], "iscrowd": 1},
        {"image_id": 3, "category_id": 5, "bbox": [0, 0, 1.5, 2]},
    ],
}


def coco(tmp_path: Path, content: Any = COCO) -> str:
    return text(tmp_path, json.dumps(content), "instances.json")


def test_boxes_of_coco(tmp_path: Path) -> None:
    first, second = labels.read(coco(tmp_path), samples(2))
    assert first["boxes"].shape == (0, 4) and first["labels"].shape == (0,)
    assert second["boxes"].tolist() == [[10, 20, 15, 26], [0, 0, 1.5, 2]]
    assert second["labels"].tolist() == [18, 5]
    assert second["iscrowd"].tolist() == [1, 0]
    assert second["boxes"].dtype == np.float64 and second["labels"].dtype == np.int64


def test_categories_numbered_from_zero(tmp_path: Path) -> None:
    _, second = labels.read(coco(tmp_path) + ":index", samples(2))
    assert second["labels"].tolist() == [1, 0]


def test_boxes_go_by_the_names_of_files(tmp_path: Path) -> None:
    path = coco(tmp_path)
    first, second = labels.read(path, samples(2), files=["pictures/a.jpg", "pictures/b.jpg"])
    assert (len(first["boxes"]), len(second["boxes"])) == (2, 0)
    with pytest.raises(DataError, match=r"it says nothing of 1 pictures, such as c\.jpg"):
        labels.read(path, samples(2), files=["a.jpg", "c.jpg"])


def test_boxes_of_a_list(tmp_path: Path) -> None:
    path = coco(tmp_path, [{"boxes": [[1, 2, 3, 4]], "labels": [0]}, {"boxes": [], "labels": []}])
    first, second = labels.read(path, samples(2))
    assert first["boxes"].tolist() == [[1, 2, 3, 4]]
    assert second["boxes"].shape == (0, 4)


# What cannot be used


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(99), "labels.npy has 99 labels, the data 100 samples"),
        (np.full(100, np.nan), r"100 labels are not finite \(NaN or infinite\)"),
        (np.zeros(100, complex), "labels are numbers, found complex128"),
        (np.eye(4, dtype=int)[np.zeros(100, int)], r"labels are one-hot, of shape \[100, 4\]"),
    ],
)
def test_arrays_that_cannot_be_used(array: Array, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        labels.read(saved(tmp_path, array), samples(100))


def test_arrays_that_would_run_code(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="without running code"):
        labels.read(str(tmp_path / "labels.npy"), samples(1))


@pytest.mark.parametrize(
    ("content", "name", "member", "reason"),
    [
        ("1\nmany\n3\n", "labels.txt", "", "line 2: it holds 'many', which is no number, as others are"),
        ("1\n\n3\n", "labels.txt", "", "line 2: a label is missing"),
        ("\n", "labels.txt", "", "there is no label in it"),
        ("", "labels.csv", "", "there is no label in it"),
        ("a,b\n1,2\n", "labels.csv", "", "which of a, b are the labels"),
        ("a,b\n1,2\n", "labels.csv", ":c", "it has no 'c'; it has a, b"),
        ("a,y\n1,2\n3\n", "labels.csv", "", "line 3: 1 fields, and the first line has 2"),
        ("{", "labels.json", "", "it is no JSON"),
        ("{}", "labels.json", "", "neither COCO"),
        ('[{"boxes": [[1, 2, 3, 4]], "labels": []}]', "labels.json", "", "1 boxes with 0 labels"),
        ('[{"boxes": []}]', "labels.json", "", "KeyError 'labels'"),
        ("[]", "labels.json", ":ids", "'ids' means nothing here"),
    ],
)
def test_files_that_cannot_be_used(content: str, name: str, member: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        labels.read(text(tmp_path, content, name) + member, samples(1))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="it is no text"):
        labels.read(str(tmp_path / "labels.txt"), samples(1))


def test_files_that_are_missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        labels.read(str(tmp_path / "labels.npy"), samples(1))
    with pytest.raises(DataError, match=r"labels are read from \.npy, \.npz") as caught:
        labels.read(text(tmp_path, "1\n", "labels.xlsx"), samples(1))
    assert "--labels labels.csv" in caught.value.hint
    with pytest.raises(DataError, match="holds one array, and has no name"):
        labels.read(saved(tmp_path, np.zeros(1)) + ":y", samples(1))
    np.savez(tmp_path / "data.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(DataError, match="which of a, b are the labels"):
        labels.read(str(tmp_path / "data.npz"), samples(1))
