"""Folders of pictures: which files, which labels, and what is said about the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import data
from edgekit.dataset import Dataset
from edgekit.errors import DataError, MissingDependencyError, UsageError
from edgekit.jobs import Workers

Image = pytest.importorskip("PIL.Image", reason="needs the extra images")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("scratch"), parallel=1) as opened:
        yield opened


def draw(*names: str, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size).save(name)


def read(path: str, workers: Workers, preprocess: str | None = "unit") -> Dataset:
    return data.load(path, data.DataOptions(preprocess=preprocess), workers.scratch, workers)


def files_of(found: Dataset) -> list[str]:
    assert found.pictures is not None
    return [Path(file).name for file in found.pictures.files]


def labels_of(found: Dataset) -> dict[str, int]:
    return dict(zip(files_of(found), found.arrays["labels"].tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "gif"])
def test_one_picture_of_every_kind_whatever_it_is_called(workers: Workers, suffix: str) -> None:
    draw(f"picture.{suffix}")
    Path(f"picture.{suffix}").rename("nameless")
    found = read("nameless", workers)
    assert (files_of(found), found.arrays) == (["nameless"], {})
    assert found.pictures is not None
    assert found.pictures.sizes == {"4x6": 1}


def test_a_flat_folder_has_no_labels_and_its_numbers_count(workers: Workers) -> None:
    draw("shots/10.png", "shots/9.png", "shots/1.jpg")
    found = read("shots", workers)
    assert files_of(found) == ["1.jpg", "9.png", "10.png"]
    assert (found.arrays, found.notes) == ({}, ())


def test_subfolders_are_classes_in_sorted_order(workers: Workers) -> None:
    draw("set/dog/a.png", "set/Cat/b.png", "set/cat2/deeper/c.png", "set/cat10/d.png")
    found = read("set", workers)
    # As torchvision and Keras number them: by letters, not by numbers.
    assert found.classes == ("Cat", "cat10", "cat2", "dog")
    assert labels_of(found) == {"b.png": 0, "d.png": 1, "c.png": 2, "a.png": 3}


def test_folders_that_are_numbers_are_labels(workers: Workers) -> None:
    draw("set/0/a.png", "set/10/b.png", "set/2/c.png")
    assert labels_of(read("set", workers)) == {"a.png": 0, "b.png": 10, "c.png": 2}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("labels.txt", "dog\ncat\n"),
        ("classes.txt", "\ufeffdog\r\ncat\r\n"),
        ("labels.txt", "0 dog\n1 cat\n"),
        ("classes.txt", "dog canine, hound\ncat feline\n"),
    ],
)
def test_a_list_of_classes_gives_the_order_of_the_model(workers: Workers, name: str, lines: str) -> None:
    draw("set/cat/a.png", "set/dog/b.png")
    Path("set", name).write_bytes(lines.encode())
    found = read("set", workers)
    assert labels_of(found) == {"a.png": 1, "b.png": 0}
    assert found.notes == ()
    assert "dog" in found.classes[0]


def test_a_list_names_folders_that_are_numbers(workers: Workers) -> None:
    draw("set/1/a.png", "set/0/b.png")
    Path("set/labels.txt").write_text("dog\ncat\n")
    found = read("set", workers)
    assert labels_of(found) == {"a.png": 1, "b.png": 0}
    assert found.classes == ("dog", "cat")


def test_a_list_without_one_of_the_folders_is_refused(workers: Workers) -> None:
    draw("set/cat/a.png", "set/cow/b.png")
    Path("set/labels.txt").write_text("dog\ncat\n")
    with pytest.raises(DataError, match=r"labels\.txt lists 2 classes, and none of them is 'cow'"):
        read("set", workers)


def test_what_is_left_out_is_said(workers: Workers) -> None:
    draw("set/cat/a.png", "set/dog/b.png", "set/beside.png", "set/.hidden.png", "set/__MACOSX/x.png")
    Path("set/empty").mkdir()
    Path("set/cat/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    Path("set/readme.md").write_text("words")
    found = read("set", workers)
    assert files_of(found) == ["a.png", "b.png"]
    assert found.classes == ("cat", "dog", "empty")
    assert found.notes == (
        "2 files are no picture and left out: readme.md, Thumbs.db.",
        "1 pictures beside the folders of the classes are left out.",
        "The folder of class 'empty' holds no picture.",
    )


def test_parts_of_a_data_set_are_no_classes(workers: Workers) -> None:
    draw("set/train/cat/a.png", "set/val/cat/b.png")
    with pytest.raises(DataError, match="train, val look like parts of a data set") as caught:
        read("set", workers)
    assert caught.value.hint == "Name one of them: --data set/val"
    assert labels_of(read("set/val", workers)) == {"b.png": 0}


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_a_broken_picture_is_named(workers: Workers, content: bytes) -> None:
    draw("set/cat/a.png")
    Path("set/cat/broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"--data set: set/cat/broken\.png cannot be read as a picture") as caught:
        read("set", workers)
    assert caught.value.exit_code == 2


def test_without_preprocessing_nothing_is_guessed(workers: Workers) -> None:
    draw("set/cat/a.png")
    with pytest.raises(UsageError, match="nothing says what the model was trained on") as caught:
        read("set", workers, None)
    assert all(name in caught.value.hint for name in ("unit", "signed", "imagenet", "raw", "resize=256 crop=224"))
    found = data.read("set", data.DataOptions(), workers.scratch, workers)
    assert files_of(found) == ["a.png"]


def test_without_pillow_the_extra_is_named(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    draw("set/cat/a.png")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "PIL" else find(name))
    with pytest.raises(MissingDependencyError) as caught:
        read("set", workers)
    assert "edgekit[images]" in caught.value.hint


def test_sizes_and_kinds_are_counted(workers: Workers) -> None:
    draw("set/a.png", "set/b.png")
    draw("set/c.png", size=(3, 9), mode="L")
    found = read("set", workers).pictures
    assert found is not None
    assert (found.sizes, found.modes) == ({"4x6": 2, "9x3": 1}, {"RGB": 2, "L": 1})
