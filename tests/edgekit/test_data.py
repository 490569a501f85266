"""Data files of every format, and what is said when one does not fit the model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import data
from edgekit.errors import DataError
from edgekit.feeds import Feeds
from edgekit.jobs import Workers
from edgekit.types import Signature, TensorSpec

Array = np.ndarray
GENERATOR = np.random.default_rng(11)
IMAGES = GENERATOR.standard_normal((6, 3, 4, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One for all tests, so that torch is imported once."""
    with Workers(tmp_path_factory.mktemp("workers"), parallel=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    return tmp_path


def signature(**inputs: tuple[tuple[int | None, ...], str]) -> Signature:
    return Signature(tuple(TensorSpec(name, shape, dtype) for name, (shape, dtype) in inputs.items()), ())


def image(*shape: int | None, dtype: str = "float32") -> Signature:
    return signature(image=(shape or (1, 3, 4, 5), dtype))


def bound(model: Signature | None = None, **arrays: Array) -> Feeds:
    return data.bind(data.Dataset("data.npz", arrays), model or image())


def loaded(path: str, workers: Workers, scratch: Path) -> Feeds:
    """The whole way: from a file to the inputs of a model."""
    return data.bind(data.load(path, scratch, workers), image())


def check(feeds: Feeds, labels: bool = True) -> None:
    assert feeds.count == len(IMAGES)
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES[:, None])
    assert feeds.arrays["image"].dtype == np.float32
    if labels:
        assert feeds.labels is not None
        np.testing.assert_array_equal(feeds.labels, LABELS[:, None])
    else:
        assert feeds.labels is None


# Formats


@pytest.mark.parametrize("input_name", ["image", "x", "pictures"])
@pytest.mark.parametrize("label_name", [*data.LABEL_NAMES, None])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(workers: Workers, here: Path, input_name: str, label_name: str | None, save: object) -> None:
    arrays = {input_name: IMAGES} | ({label_name: LABELS} if label_name else {})
    save(here / "data.npz", **arrays)
    feeds = loaded("data.npz", workers, here)
    check(feeds, labels=label_name is not None)
    assert feeds.origin == "6 samples of data.npz"


def test_npz_without_names_in_the_order_of_the_inputs(workers: Workers, here: Path) -> None:
    np.savez(here / "data.npz", IMAGES, np.arange(6, dtype=np.int64))
    model = signature(picture=((1, 3, 4, 5), "float32"), number=((1,), "int64"))
    feeds = data.bind(data.load("data.npz", here, workers), model)
    np.testing.assert_array_equal(feeds.arrays["picture"], IMAGES[:, None])
    np.testing.assert_array_equal(feeds.arrays["number"], np.arange(6)[:, None])


def test_npy(workers: Workers, here: Path) -> None:
    np.save(here / "data.npy", IMAGES)
    check(loaded("data.npy", workers, here), labels=False)


def test_the_suffix_is_not_looked_at(workers: Workers, here: Path) -> None:
    np.savez(here / "data.npz", x=IMAGES, y=LABELS)
    (here / "data.npz").rename(here / "data.pt")
    check(loaded("data.pt", workers, here))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", ["tensor", "dict", "list", "tuple", "doubles", "bfloat16", "parameter"])
def test_torch_save(workers: Workers, here: Path, kind: str, legacy: bool) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    x, y = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
    content = {
        "tensor": x,
        "dict": {"image": x, "labels": y},
        "list": [x],
        "tuple": (x,),
        "doubles": {"x": x.double(), "y": y},
        "bfloat16": x.bfloat16(),
        "parameter": torch.nn.Parameter(x),
    }[kind]
    torch.save(content, here / "data.pt", _use_new_zipfile_serialization=not legacy)
    feeds = loaded("data.pt", workers, here)
    if kind == "bfloat16":
        np.testing.assert_array_equal(feeds.arrays["image"][:, 0], x.bfloat16().float().numpy())
    else:
        check(feeds, labels=isinstance(content, dict))


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_safetensors(workers: Workers, here: Path, half: bool) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    safetensors = pytest.importorskip("safetensors.torch", reason="needs the extra torch")
    x = torch.from_numpy(IMAGES)
    safetensors.save_file(
        {"x": x.bfloat16() if half else x, "labels": torch.from_numpy(LABELS)}, here / "data.safetensors"
    )
    feeds = loaded("data.safetensors", workers, here)
    if half:
        np.testing.assert_array_equal(feeds.arrays["image"][:, 0], x.bfloat16().float().numpy())
    else:
        check(feeds)


def test_folder_of_npy_by_name(workers: Workers, here: Path) -> None:
    for name, array in (("image", IMAGES), ("labels", LABELS), ("other", LABELS)):
        np.save(here / f"{name}.npy", array)
    feeds = loaded(".", workers, here)
    check(feeds)
    assert feeds.origin == "6 samples of ., not used: other"


def test_folder_of_npy_with_x_and_y(workers: Workers, here: Path) -> None:
    for name, array in (("x", IMAGES), ("y", LABELS), ("other", IMAGES)):
        np.save(here / f"{name}.npy", array)
    check(loaded(".", workers, here))


@pytest.mark.parametrize("with_batch", [False, True])
def test_folder_of_npy_with_a_sample_in_each(workers: Workers, here: Path, with_batch: bool) -> None:
    """In the order of their numbers, which is that of the labels: 10 comes after 9."""
    folder = here / "samples"
    folder.mkdir()
    for index, array in enumerate(IMAGES):
        np.save(folder / f"sample{index + 7}.npy", array[None] if with_batch else array)
    np.save(folder / "labels.npy", LABELS)
    check(loaded("samples", workers, here))


def test_folder_with_one_sample(workers: Workers, here: Path) -> None:
    folder = here / "samples"
    folder.mkdir()
    np.save(folder / "only.npy", IMAGES[0])
    feeds = loaded("samples", workers, here)
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES[:1, None])


def test_folder_of_npz(workers: Workers, here: Path) -> None:
    folder = here / "chunks"
    folder.mkdir()
    for index, part in enumerate((slice(0, 1), slice(1, 4), slice(4, 6))):
        np.savez(folder / f"{index + 9}.npz", x=IMAGES[part], y=LABELS[part])
    check(loaded("chunks", workers, here))


def test_folder_of_npz_with_a_sample_in_each(workers: Workers, here: Path) -> None:
    folder = here / "chunks"
    folder.mkdir()
    for index, array in enumerate(IMAGES):
        np.savez(folder / f"{index}.npz", x=array[None], y=LABELS[index])
    check(loaded("chunks", workers, here))


def test_what_was_bound_survives_the_way_to_a_child(here: Path) -> None:
    saved = data.Dataset("my data.npz", {"x": IMAGES, "odd/name": LABELS}, one_file_each=True)
    opened = data.Dataset.open(saved.save(here / "data"))
    assert (opened.origin, opened.one_file_each) == ("my data.npz", True)
    np.testing.assert_array_equal(opened.arrays["odd/name"], LABELS)


# Names, batches, dynamic dimensions


def test_names_decide_and_not_the_order() -> None:
    model = signature(a=((1, 2), "float32"), b=((1, 2), "float32"))
    first, second = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    feeds = bound(model, b=second, a=first)
    assert list(feeds.arrays) == ["a", "b"]
    np.testing.assert_array_equal(feeds.arrays["b"], second[:, None])


def test_an_input_called_y_is_an_input() -> None:
    model = signature(x=((1, 2), "float32"), y=((1, 2), "float32"))
    feeds = bound(model, x=np.zeros((3, 2), np.float32), y=np.ones((3, 2), np.float32), labels=np.arange(3))
    assert feeds.arrays["y"].shape == (3, 1, 2)
    assert feeds.labels is not None
    np.testing.assert_array_equal(feeds.labels, [[0], [1], [2]])


def test_unused_arrays_are_named() -> None:
    feeds = bound(image=IMAGES, labels=LABELS, weights=LABELS, paths=np.array(["a"] * 6))
    assert feeds.origin == "6 samples of data.npz, not used: paths, weights"


def test_a_batch_takes_several_rows() -> None:
    feeds = bound(image(2, 3, 4, 5), x=IMAGES, y=LABELS)
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES.reshape(3, 2, 3, 4, 5))
    np.testing.assert_array_equal(feeds.labels, LABELS.reshape(3, 2))


def test_rows_that_fill_no_batch_are_left_out_and_counted() -> None:
    feeds = bound(image(4, 3, 4, 5), x=IMAGES, y=LABELS)
    assert feeds.arrays["image"].shape == (1, 4, 3, 4, 5)
    np.testing.assert_array_equal(feeds.labels, LABELS[None, :4])
    assert feeds.origin == "1 samples of data.npz, without the last 2 that fill no batch"


def test_whole_batches_along_the_first_axis() -> None:
    batches = IMAGES.reshape(3, 2, 3, 4, 5)
    for labels in (LABELS, LABELS.reshape(6, 1)):
        feeds = bound(image(2, 3, 4, 5), x=batches, y=labels)
        np.testing.assert_array_equal(feeds.arrays["image"], batches)
        np.testing.assert_array_equal(feeds.labels, LABELS.reshape(3, 2))


def test_fewer_rows_than_a_batch() -> None:
    with pytest.raises(DataError, match="array 'x': 6 samples are fewer than the model's batch of 8"):
        bound(image(8, 3, 4, 5), x=IMAGES)


def test_one_sample_without_a_batch_dimension() -> None:
    feeds = bound(x=IMAGES[0], y=np.array(2))
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES[:1, None])
    np.testing.assert_array_equal(feeds.labels, [[2]])


def test_a_model_without_a_batch_dimension() -> None:
    model = signature(sound=((1600,), "float32"))
    feeds = bound(model, x=np.zeros((6, 1600), np.float32), y=LABELS)
    assert feeds.arrays["sound"].shape == (6, 1600)
    np.testing.assert_array_equal(feeds.labels, LABELS[:, None])


def test_a_model_of_plain_numbers() -> None:
    feeds = bound(signature(t=((), "float32")), x=np.arange(4, dtype=np.float32))
    assert feeds.arrays["t"].shape == (4,)


def test_dynamic_dimensions_take_any_size() -> None:
    feeds = bound(signature(ids=((None, None), "int64")), x=np.zeros((6, 9), np.int64))
    assert feeds.arrays["ids"].shape == (6, 1, 9)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_floats_of_other_sizes_are_converted(dtype: str) -> None:
    feeds = bound(x=IMAGES.astype(dtype))
    assert feeds.arrays["image"].dtype == np.float32
    np.testing.assert_allclose(feeds.arrays["image"][:, 0], IMAGES, atol=2e-3)


def test_integers_of_other_sizes_are_converted_where_they_fit() -> None:
    model = signature(ids=((1, 2), "int8"))
    feeds = bound(model, x=np.full((3, 2), -100, np.int64))
    assert feeds.arrays["ids"].dtype == np.int8
    with pytest.raises(DataError, match="array 'x': int64 values that do not fit input 'ids' of int8"):
        bound(model, x=np.full((3, 2), 200, np.int64))


# What does not fit


def test_wrong_name_among_several_inputs() -> None:
    model = signature(a=((1, 2), "float32"), b=((1, 2), "float32"))
    with pytest.raises(DataError) as caught:
        bound(model, a=np.zeros((3, 2), np.float32), c=np.zeros((3, 2), np.int32))
    assert caught.value.message == (
        "--data data.npz: no array for each input. Expected a: float32[1,2], b: float32[1,2]; "
        "found a: float32[3, 2], c: int32[3, 2]."
    )
    assert caught.value.hint == "np.savez('data.npz', a=…, b=…, labels=…)"


def test_several_arrays_and_none_has_the_name() -> None:
    with pytest.raises(DataError, match=r"Expected image: float32\[1,3,4,5\]; found left: .*, right: "):
        bound(left=IMAGES, right=IMAGES)


def test_labels_alone() -> None:
    with pytest.raises(DataError, match="no array for each input"):
        bound(labels=LABELS)


def test_wrong_shape_names_expected_and_found() -> None:
    with pytest.raises(DataError) as caught:
        bound(x=np.zeros((6, 3, 8, 8), np.float32))
    assert caught.value.message == (
        "--data data.npz: array 'x': expected shape [N,3,4,5] for input 'image', found [6, 3, 8, 8]."
    )
    assert "first axis" in caught.value.hint


def test_channels_last_for_a_channels_first_model_is_told_with_the_cure() -> None:
    last = IMAGES.transpose(0, 2, 3, 1)
    with pytest.raises(DataError, match=r"found \[6, 4, 5, 3\]") as caught:
        bound(x=last)
    assert caught.value.hint == "The data is channels last and the model is not: x.transpose(0, 3, 1, 2)."
    check(bound(x=last.transpose(0, 3, 1, 2)), labels=False)


def test_channels_first_for_a_channels_last_model_is_told_with_the_cure() -> None:
    with pytest.raises(DataError) as caught:
        bound(image(1, 4, 5, 3), x=IMAGES)
    assert caught.value.hint == "The data is channels first and the model is not: x.transpose(0, 2, 3, 1)."
    bound(image(1, 4, 5, 3), x=IMAGES.transpose(0, 2, 3, 1))


def test_bytes_for_floats_tell_about_scaling() -> None:
    with pytest.raises(DataError, match="expected float32 for input 'image', found uint8") as caught:
        bound(x=np.zeros((6, 3, 4, 5), np.uint8))
    assert "/ 255" in caught.value.hint


def test_floats_for_integers() -> None:
    with pytest.raises(DataError, match="expected int64 for input 'image', found float32") as caught:
        bound(image(1, 3, 4, 5, dtype="int64"), x=IMAGES)
    assert "255" not in caught.value.hint


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    spoilt = IMAGES.copy()
    spoilt[2, 1, :2, 0] = bad
    with pytest.raises(DataError, match="array 'x': 2 values are not finite"):
        bound(x=spoilt)


def test_inputs_with_different_numbers_of_samples() -> None:
    model = signature(a=((1, 2), "float32"), b=((1, 2), "float32"))
    with pytest.raises(DataError, match=r"different numbers of samples: \{'a': 3, 'b': 4\}"):
        bound(model, a=np.zeros((3, 2), np.float32), b=np.zeros((4, 2), np.float32))


@pytest.mark.parametrize("count", [5, 7])
def test_number_of_labels(count: int) -> None:
    with pytest.raises(DataError, match=f"{count} labels for 6 samples"):
        bound(x=IMAGES, y=np.zeros(count, np.int64))
    with pytest.raises(DataError, match=f"{count} labels for 6 samples"):
        bound(image(4, 3, 4, 5), x=IMAGES, y=np.zeros(count, np.int64))


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_])
def test_one_hot_labels_are_told_with_the_cure(dtype: type) -> None:
    with pytest.raises(DataError, match=r"labels must be whole numbers of shape \[N\], found \w+\[6, 3\]") as caught:
        bound(x=IMAGES, y=np.eye(3, dtype=dtype)[LABELS])
    assert "argmax(1)" in caught.value.hint


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.astype(np.float64), LABELS.astype(np.uint8)])
def test_spellings_of_labels(labels: Array) -> None:
    check(bound(x=IMAGES, y=labels))


def test_numbers_to_predict_are_no_labels_and_it_is_said() -> None:
    feeds = bound(x=IMAGES, y=GENERATOR.standard_normal((6, 2)))
    check(feeds, labels=False)
    assert feeds.origin == "6 samples of data.npz, not used: y"


# Files that cannot be read


def refused(path: str, workers: Workers, scratch: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        data.load(path, scratch, workers)
    assert path in caught.value.message
    return caught.value


def test_missing_file_with_near_names(workers: Workers, here: Path) -> None:
    (here / "calibration.npz").touch()
    error = refused("calibraton.npz", workers, here)
    assert "no such file or folder" in error.message
    assert error.hint == "Did you mean calibration.npz?"
    assert "Did you mean" not in refused("elsewhere/data.npz", workers, here).hint


def test_empty_file(workers: Workers, here: Path) -> None:
    (here / "data.npz").touch()
    assert "the file is empty" in refused("data.npz", workers, here).message


def test_empty_array(workers: Workers, here: Path) -> None:
    np.savez(here / "data.npz", x=IMAGES[:0])
    assert "array 'x' is empty, shape [0, 3, 4, 5]" in refused("data.npz", workers, here).message


def test_no_arrays(workers: Workers, here: Path) -> None:
    np.savez(here / "data.npz")
    assert "there is no array in it" in refused("data.npz", workers, here).message
    (here / "pictures").mkdir()
    (here / "pictures" / "cat.jpg").touch()
    error = refused("pictures", workers, here)
    assert "there is no array in it" in error.message
    assert ".npy or .npz" in error.hint


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncated_npz(workers: Workers, here: Path, save: object) -> None:
    save(here / "data.npz", x=IMAGES)
    whole = (here / "data.npz").read_bytes()
    (here / "data.npz").write_bytes(whole[: len(whole) // 2])
    assert "cut short or damaged" in refused("data.npz", workers, here).message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_npz(workers: Workers, here: Path, save: object) -> None:
    save(here / "data.npz", x=IMAGES)
    content = bytearray((here / "data.npz").read_bytes())
    content[200:260] = b"\xff" * 60
    (here / "data.npz").write_bytes(content)
    assert "damaged" in refused("data.npz", workers, here).message


def test_truncated_npy(workers: Workers, here: Path) -> None:
    np.save(here / "data.npy", IMAGES)
    whole = (here / "data.npy").read_bytes()
    (here / "data.npy").write_bytes(whole[:-100])
    assert "damaged" in refused("data.npy", workers, here).message


def test_truncated_safetensors(workers: Workers, here: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs the extra torch")
    safetensors.save_file({"x": IMAGES}, here / "data.safetensors")
    whole = (here / "data.safetensors").read_bytes()
    (here / "data.safetensors").write_bytes(whole[:-100])
    assert "not a readable safetensors file" in refused("data.safetensors", workers, here).message


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"\x00" * 500, b"PNG"])
def test_files_of_another_kind(workers: Workers, here: Path, content: bytes) -> None:
    (here / "data.csv").write_bytes(content)
    assert "neither .npz, .npy, safetensors nor" in refused("data.csv", workers, here).message


class Payload:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o700)


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt", "pickle"])
def test_nothing_is_unpickled(workers: Workers, here: Path, suffix: str) -> None:
    import pickle

    file, mark = here / f"data.{suffix}", here / "executed"
    objects = np.array([Payload(mark)], dtype=object)
    if suffix == "npy":
        np.save(file, objects, allow_pickle=True)
    elif suffix == "npz":
        np.savez(file, x=objects)
    elif suffix == "pt":
        pytest.importorskip("torch", reason="needs the extra torch").save({"x": Payload(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Payload(mark)))
    error = refused(file.name, workers, here)
    assert not mark.exists()
    assert "pickle" in error.message
    assert "np.savez" in error.hint
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()  # the payload works where it is let


@pytest.mark.parametrize(
    ("content", "found"),
    [({"x": [1, 2]}, "a dict with x: list"), ([1.0], "a list with arr_0: float"), ("text", "found str")],
)
def test_torch_save_of_other_things(workers: Workers, here: Path, content: object, found: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    torch.save(content, here / "data.pt")
    assert found in refused("data.pt", workers, here).message


def test_folder_whose_samples_differ_in_shape(workers: Workers, here: Path) -> None:
    folder = here / "samples"
    folder.mkdir()
    np.save(folder / "a.npy", IMAGES[0])
    np.save(folder / "b.npy", IMAGES[0, :2])
    with pytest.raises(DataError, match=r"files differ in shape: \[\[2, 4, 5\], \[3, 4, 5\]\]"):
        loaded("samples", workers, here)


def test_folder_whose_archives_differ(workers: Workers, here: Path) -> None:
    folder = here / "chunks"
    folder.mkdir()
    np.savez(folder / "1.npz", x=IMAGES)
    np.savez(folder / "2.npz", x=IMAGES, y=LABELS)
    assert "1.npz holds the arrays x, and 2.npz holds x, y" in refused("chunks", workers, here).message
    np.savez(folder / "2.npz", x=IMAGES[:, :2])
    message = refused("chunks", workers, here).message
    assert "array 'x' is [6, 3, 4, 5] in 1.npz and [6, 2, 4, 5] in 2.npz" in message


# Random samples


def test_random_samples_repeat_and_respect_limits() -> None:
    model = signature(image=((None, 3), "float32"), ids=((1, 9), "int64"), flag=((1,), "bool"))
    first = data.random_feeds(model, 5, data.SEED, {"ids": 50})
    again = data.random_feeds(model, 5, data.SEED, {"ids": 50})
    other = data.random_feeds(model, 5, data.SEED + 1, {"ids": 50})
    assert {name: array.shape for name, array in first.arrays.items()} == {
        "image": (5, 1, 3), "ids": (5, 1, 9), "flag": (5, 1),
    }  # fmt: skip
    for name in first.arrays:
        np.testing.assert_array_equal(first.arrays[name], again.arrays[name])
    assert not np.array_equal(first.arrays["image"], other.arrays["image"])
    assert 2 < first.arrays["ids"].max() < 50
    assert first.origin == f"5 random samples, seed {data.SEED}"
