"""Names of results, what is refused before any work, and moves that leave all or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit import publish
from edgekit.errors import UsageError
from edgekit.publish import Destination, destinations
from edgekit.types import Artifact, Signature, TensorSpec, Verification

ONNX = ("onnx", "float32", ".onnx")
TFLITE = ("tflite", "int8", ".tflite")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def places(
    output: str | None = None,
    *wanted: tuple[str, str, str],
    model: str = "net.pt2",
    force: bool = False,
    keep: tuple[str, ...] = (),
) -> list[str]:
    path = None if output is None else Path(output)
    found = destinations(Path(model), wanted or (ONNX,), path, force, [Path(model), *map(Path, keep)])
    return [str(place.path) for place in found]


def made(folder: Path, size: int = 1000) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "made.onnx"
    file.write_bytes(bytes(range(256)) * (size // 256 + 1))
    return file


def artifact(path: Path) -> Artifact:
    spec = TensorSpec("x", (1, None), "float32")
    return Artifact(
        str(path), "onnx", "float32", 1, "00", Signature((spec,), (spec,)), Verification("passed", "none", 90.0)
    )


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_names_come_from_the_model_and_the_scheme() -> None:
    assert places(None, ONNX, TFLITE) == ["net.float32.onnx", "net.int8.tflite"]
    assert places(None, ONNX, model="some/where/net.best.ckpt") == ["net.best.float32.onnx"]


def test_output_folder_is_made(here: Path) -> None:
    assert places("deep/er", ONNX, TFLITE) == ["deep/er/net.float32.onnx", "deep/er/net.int8.tflite"]
    assert (here / "deep" / "er").is_dir()


def test_output_file(here: Path) -> None:
    assert places("out/mine.onnx") == ["out/mine.onnx"]
    assert names(here / "out") == []


def test_a_folder_with_the_name_of_a_file_is_a_folder(here: Path) -> None:
    (here / "models.onnx").mkdir()
    assert places("models.onnx") == ["models.onnx/net.float32.onnx"]


def test_one_file_name_for_two_files() -> None:
    with pytest.raises(UsageError, match=r"--output mine\.onnx: one file name for 2 files") as caught:
        places("mine.onnx", ONNX, TFLITE)
    assert "--output out/" in caught.value.hint


def test_file_name_with_another_targets_suffix() -> None:
    with pytest.raises(UsageError, match=r"the file will be \.onnx, not \.tflite") as caught:
        places("mine.tflite")
    assert caught.value.hint == "--output mine.onnx"


@pytest.mark.parametrize("taken", ["net.float32.onnx", "net.float32.onnx.json"])
def test_existing_results_need_force(here: Path, taken: str) -> None:
    (here / taken).write_text("precious")
    with pytest.raises(UsageError, match=f"{taken} exists already") as caught:
        places()
    assert "--force" in caught.value.hint
    assert places(force=True) == ["net.float32.onnx"]
    assert (here / taken).read_text() == "precious"


@pytest.mark.parametrize("output", ["con.onnx", "out/NUL.onnx", "com1.float32.onnx"])
def test_reserved_names_are_refused(output: str) -> None:
    with pytest.raises(UsageError, match="reserved name on Windows"):
        places(output)


def test_a_model_with_a_reserved_name() -> None:
    with pytest.raises(UsageError, match="'aux' is a reserved name") as caught:
        places(None, ONNX, model="aux.pt2")
    assert "--output" in caught.value.hint
    assert places("console.onnx", model="aux.pt2") == ["console.onnx"]


@pytest.mark.parametrize("kept", ["mine.onnx", "mine.onnx.json"])
def test_neither_model_nor_data_is_replaced_even_by_force(here: Path, kept: str) -> None:
    (here / kept).write_text("the only copy")
    for model, keep in ((kept, ()), ("net.pt2", (kept,))):
        with pytest.raises(UsageError, match="would replace a file it is made from"):
            places("mine.onnx", model=model, keep=keep, force=True)
    (here / "link").symlink_to(here / kept)
    with pytest.raises(UsageError, match="would replace a file it is made from"):
        places("mine.onnx", model="link", force=True)


def test_a_folder_in_the_place_of_a_result(here: Path) -> None:
    (here / "net.float32.onnx").mkdir()
    with pytest.raises(UsageError, match="this is a folder"):
        places(force=True)


def test_a_file_in_the_place_of_the_folder(here: Path) -> None:
    (here / "out").write_text("")
    with pytest.raises(UsageError, match="--output out/deeper: cannot make the folder out/deeper: Not a directory"):
        places("out/deeper")
    with pytest.raises(UsageError, match="--output out: cannot make the folder out: File exists"):
        places("out")


def test_a_folder_that_may_not_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")  # root may write anywhere
    with pytest.raises(UsageError, match=r"--output locked: nothing can be written to .*locked") as caught:
        places("locked")
    assert "--output FOLDER" in caught.value.hint


def test_a_current_folder_that_may_not_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="The current folder: nothing can be written to"):
        places()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_really_may_not_be_written(here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="nothing can be written to"):
        places("locked")


def test_a_read_only_disk_is_refused_before_any_work(tiny_disk: Path) -> None:
    remounted = subprocess.run(["mount", "-o", "remount,ro", tiny_disk])
    assert remounted.returncode == 0
    with pytest.raises(UsageError, match="nothing can be written to"):
        places(str(tiny_disk))
    with pytest.raises(UsageError, match=r"cannot make the folder .*: Read-only file system"):
        places(str(tiny_disk / "out"))


def test_publish_moves_file_and_sidecar(here: Path) -> None:
    file, final = made(here / "scratch"), here / "net.onnx"
    publish.publish(file, Destination(final), artifact(final), {"path": "net.pt2", "kind": "k", "sha256": "11"})
    assert final.read_bytes() == file.read_bytes()
    sidecar = json.loads((here / "net.onnx.json").read_text())
    assert sidecar["schema_version"] == 2
    assert sidecar["source"]["sha256"] == "11"
    assert sidecar["artifact"]["signature"]["inputs"] == [
        {"name": "x", "shape": [1, None], "dtype": "float32", "scale": None, "zero_point": None}
    ]
    assert names(here) == ["net.onnx", "net.onnx.json", "scratch"]


def test_sha256(here: Path) -> None:
    file = made(here, 100_000)
    assert publish.sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_a_disk_full_at_the_model_leaves_what_was_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    file, out = made(here / "scratch"), here / "out"
    out.mkdir()
    final = out / "net.onnx"
    if before:
        final.write_text("old")
        (out / "net.onnx.json").write_text("old too")
    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(UsageError, match=r"net\.onnx: cannot be written: No space left on device"):
        publish.publish(file, Destination(final), artifact(final), {})
    assert names(out) == (["net.onnx", "net.onnx.json"] if before else [])
    if before:
        assert (final.read_text(), (out / "net.onnx.json").read_text()) == ("old", "old too")


def test_a_disk_that_is_really_full_leaves_nothing(here: Path, tiny_disk: Path) -> None:
    file, final = made(here / "scratch", 1 << 20), tiny_disk / "net.onnx"
    with pytest.raises(UsageError, match=r"net\.onnx: cannot be written: No space left on device") as caught:
        publish.publish(file, Destination(final), artifact(final), {})
    assert "--output FOLDER" in caught.value.hint
    assert names(tiny_disk) == []


def test_a_disk_without_room_for_the_sidecar_leaves_nothing(here: Path, tiny_disk: Path) -> None:
    (tiny_disk / "rest").write_bytes(bytes(shutil.disk_usage(tiny_disk).free))
    file, final = made(here / "scratch"), tiny_disk / "net.onnx"
    with pytest.raises(UsageError, match="No space left on device"):
        publish.publish(file, Destination(final), artifact(final), {})
    assert names(tiny_disk) == ["rest"]
