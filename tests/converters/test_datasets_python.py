"""Functions of the user's, and folders of tf.data: what they may give, and how a model tells samples from batches."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.datasets import _collect
from edgekit import data
from edgekit.dataset import Dataset
from edgekit.errors import ConversionError, DataError, UsageError
from edgekit.feeds import Feeds
from edgekit.jobs import Workers
from edgekit.types import Signature, TensorSpec

CODE = """\
    import numpy as np

    import profiles  # the user's own, not edgekit's

    X = np.arange(10 * 3 * 4, dtype=np.float32).reshape(10, 3, 4)
    Y = np.arange(10) % 3

    def array(): return X
    def pair(): return X, Y
    def names(): return {"image": X, "labels": Y}
    def samples():
        for x, y in zip(X, Y):
            yield x, y
    def samples_by_name():
        for x, y in zip(X, Y):
            yield {"image": x}, y
    def batches():
        for start in range(0, 10, 4):
            yield X[start : start + 4], Y[start : start + 4]
    def whole_batches():
        for start in range(0, 10, 5):
            yield X[start : start + 5], Y[start : start + 5]
    def representative_dataset():
        for x in X:
            yield [x[None]]
    listed = list(zip(X, Y))
    def two_inputs():
        for x in X:
            yield [x, x[:1]]
    def endless():
        while True:
            yield X[0], 1
    def ragged():
        yield X[0]
        yield X[0, :2, :2]
    def changing():
        yield {"image": X[0]}
        yield {"picture": X[0]}
    def nothing(): return None
    def empty(): return iter(())
    def words(): return ["cat", "dog"]
    def number(): return 3.0, 4.0
    def broken():
        yield X[0]
        raise RuntimeError("disk on fire")  # the culprit
    def hidden():
        import converters.marker
        return X
    class Loader:
        def __iter__(self):
            return iter(zip(X, Y))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("user")
    (place / "mine.py").write_text(textwrap.dedent(CODE))
    (place / "profiles.py").write_text("")
    (place / "converters").mkdir()
    (place / "converters" / "__init__.py").write_text("")
    (place / "converters" / "marker.py").write_text("")
    return place


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("scratch"), parallel=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    return folder


def read(name: str, workers: Workers) -> Dataset:
    return data.load(name, data.DataOptions(), workers.scratch, workers)


def bound(name: str, workers: Workers, *shape: int | None) -> Feeds:
    return data.bind(read(name, workers), Signature((TensorSpec("image", shape or (1, 3, 4), "float32"),), ()))


X = np.arange(10 * 3 * 4, dtype=np.float32).reshape(10, 3, 4)
Y = np.arange(10) % 3


def check(feeds: Feeds, labels: bool = True) -> None:
    np.testing.assert_array_equal(feeds.arrays["image"], X[:, None])
    assert (feeds.labels is not None) == labels
    if feeds.labels is not None:
        np.testing.assert_array_equal(feeds.labels, Y[:, None])


@pytest.mark.parametrize(
    "name",
    ["pair", "names", "samples", "samples_by_name", "batches", "whole_batches", "listed", "Loader"],
)
def test_what_a_function_may_give(workers: Workers, name: str) -> None:
    check(bound(f"mine.py:{name}", workers))


@pytest.mark.parametrize("name", ["array", "representative_dataset", "hidden"])
def test_without_labels(workers: Workers, name: str) -> None:
    check(bound(f"mine.py:{name}", workers), labels=False)


def test_a_model_without_a_batch_dimension(workers: Workers) -> None:
    feeds = bound("mine.py:samples", workers, 3, 4)
    np.testing.assert_array_equal(feeds.arrays["image"], X)


def test_lists_are_inputs_in_order(workers: Workers) -> None:
    specs = (TensorSpec("first", (1, 3, 4), "float32"), TensorSpec("second", (1, 1, 4), "float32"))
    feeds = data.bind(read("mine.py:two_inputs", workers), Signature(specs, ()))
    np.testing.assert_array_equal(feeds.arrays["first"], X[:, None])
    np.testing.assert_array_equal(feeds.arrays["second"], X[:, None, :1])


def test_an_endless_generator_is_cut_and_it_is_said(workers: Workers) -> None:
    found = read("mine.py:endless", workers)
    assert (found.items, len(found.arrays["labels"])) == (5000, 5000)
    assert found.notes == ("The first 5000 samples were taken; there are more.",)


@pytest.mark.parametrize("kind", ["loader", "dataset", "by_index"])
def test_pytorch(workers: Workers, folder: Path, kind: str) -> None:
    pytest.importorskip("torch", reason="needs the extra torch")
    (folder / "framework.py").write_text(
        textwrap.dedent(
            """\
            import mine

            def loader():
                return _torch()[0]
            def dataset():
                return _torch()[1]
            class by_index:
                def __len__(self): return 10
                def __getitem__(self, index): return mine.X[index % 10], mine.Y[index % 10]
            def _torch():
                import torch
                from torch.utils.data import DataLoader, TensorDataset
                given = TensorDataset(torch.from_numpy(mine.X).bfloat16().requires_grad_(), torch.from_numpy(mine.Y))
                return DataLoader(given, batch_size=4), given
            """
        )
    )
    check(bound(f"framework.py:{kind}", workers))


@pytest.mark.parametrize(
    ("name", "kind", "said", "hint"),
    [
        ("ragged", DataError, "array 'x' is float32[2, 2] in item 1, and was float32[N, 4] before", "one shape"),
        ("changing", DataError, "item 1 holds picture, and those before it image", ""),
        ("nothing", DataError, "it gave nothing", "yields"),
        ("empty", DataError, "it gave no samples", ""),
        ("words", DataError, "'x' is str of <U3", "np.asarray"),
        ("number", DataError, "'x' is a single number, not an array of samples", "yields"),
        ("X2", UsageError, "mine has no 'X2'", "It has np, profiles, X, Y, array"),
    ],
)
def test_what_it_may_not(workers: Workers, name: str, kind: type, said: str, hint: str) -> None:
    with pytest.raises(kind) as caught:
        read(f"mine.py:{name}", workers)
    assert said in caught.value.message
    assert f"--data mine.py:{name}" in caught.value.message
    assert hint in caught.value.hint


def test_an_exception_is_told_with_its_line(workers: Workers) -> None:
    line = next(number for number, text in enumerate(CODE.splitlines(), 1) if "the culprit" in text)
    with pytest.raises(ConversionError, match="RuntimeError: disk on fire") as caught:
        read("mine.py:broken", workers)
    assert f"(mine.py, line {line}, in broken)" in caught.value.message


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("mine.py", "the name of a function is missing", "--data mine.py:NAME"),
        ("mine.py:", "the name of a class or function is missing", "--data mine.py:"),
        ("other.py:samples", "there is no file other.py", ""),
    ],
)
def test_spellings_that_lack_something(workers: Workers, typed: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(typed, workers)
    assert said in caught.value.message
    assert hint in caught.value.hint


# tf.data


@pytest.fixture(scope="module")
def saved(folder: Path) -> Path:
    tf: Any = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
    made = tf.data.Dataset.from_tensor_slices((X, Y))
    made.save(str(folder / "samples"))
    made.batch(4).save(str(folder / "batches"), compression="GZIP")
    tf.data.Dataset.from_tensor_slices({"image": X, "labels": Y}).save(str(folder / "named"))
    tf.data.Dataset.from_tensor_slices(X).save(str(folder / "bare"))
    tf.data.Dataset.from_tensor_slices(["cat", "dog"]).save(str(folder / "words"))
    tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [2, 3]])).save(str(folder / "ragged"))
    return folder


def test_a_tf_data_set_that_is_given_as_it_is(saved: Path, tmp_path: Path) -> None:
    """Here, since importing TensorFlow once is enough."""
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    found = _collect.collect(batches, _collect.named_arrays, "--data it", tmp_path, lambda done, total: None)
    check(data.bind(found, Signature((TensorSpec("image", (1, 3, 4), "float32"),), ())))


@pytest.mark.parametrize("name", ["samples", "batches", "named", "bare"])
def test_folders_of_tf_data(workers: Workers, saved: Path, name: str) -> None:
    check(bound(name, workers), labels=name != "bare")


@pytest.mark.parametrize("name", ["words", "ragged"])
def test_elements_that_are_no_plain_numbers(workers: Workers, saved: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"--data {name}: its elements are .*, and edgekit reads plain tensors"):
        read(name, workers)


def test_a_damaged_folder_of_tf_data(workers: Workers, saved: Path, tmp_path: Path) -> None:
    import shutil

    for what in ("dataset_spec.pb", "*.snapshot"):
        copy = tmp_path / what.strip("*.")
        shutil.copytree(saved / "samples", copy)
        for file in copy.rglob(what):
            file.write_bytes(file.read_bytes()[:20] + b"\xff" * 40)
        with pytest.raises(DataError, match=r"not a readable folder of tf\.data"):
            read(str(copy), workers)
