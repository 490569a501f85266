"""Data files of every format, and what is said when one cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import data
from edgekit.errors import DataError, UsageError
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


def loaded(path: str, workers: Workers, scratch: Path) -> Feeds:
    """The whole way: from a file to the inputs of a model."""
    return data.bind(data.load(path, data.DataOptions(), scratch, workers), signature(image=((1, 3, 4, 5), "float32")))


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
    feeds = data.bind(data.load("data.npz", data.DataOptions(), here, workers), model)
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


# Files that cannot be read


def refused(path: str, workers: Workers, scratch: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        data.load(path, data.DataOptions(), scratch, workers)
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
    (here / "notes").mkdir()
    assert "It is empty" in refused("notes", workers, here).hint
    (here / "notes" / "cat.txt").touch()
    error = refused("notes", workers, here)
    assert "there is no array and no picture in it" in error.message
    assert error.hint.startswith("It holds cat.txt. edgekit reads: NumPy .npz and .npy")


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


@pytest.mark.parametrize("content", [b"plain words\n", b"\x00" * 500, b"PNG", b"<html>1, 2</html>"])
def test_files_of_another_kind(workers: Workers, here: Path, content: bytes) -> None:
    (here / "data.csv").write_bytes(content)
    error = refused("data.csv", workers, here)
    assert "not a data file that edgekit knows" in error.message
    assert "CSV and TSV" in error.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (data.DataOptions(preprocess="unit"), "--preprocess does not go with data.npz"),
        (data.DataOptions(label_column="0"), "--label-column does not go with data.npz"),
        (data.DataOptions(columns="a,b"), "--columns does not go with data.npz"),
    ],
)
def test_options_of_other_formats_are_refused(
    workers: Workers, here: Path, options: data.DataOptions, said: str
) -> None:
    np.savez(here / "data.npz", x=IMAGES)
    with pytest.raises(UsageError, match=said) as caught:
        data.load("data.npz", options, here, workers)
    assert caught.value.hint.startswith("It is for ")


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
