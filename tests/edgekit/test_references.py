"""Outputs of source models that are kept: used again when nothing has changed, and never otherwise."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import feeds, references
from edgekit.dataset import Dataset
from edgekit.feeds import Feeds
from edgekit.options import SourceOptions
from edgekit.source import OpenedSource
from edgekit.types import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", (1, 4), "float32"),), (TensorSpec("y", (1, 4), "float32"),))
Ran = Callable[..., references.ReferenceOutputs]


class Scratch:
    """As much of ``Workers`` as is needed where no child is started."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file by its first bytes: the source is never run here."""
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "model.keras"
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "weights")
    return path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Where the source was run; each run gives other outputs, so that kept ones can be told from new ones."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    found: list[Path] = []

    def open_source(path: Path, workers: Any, *, options: Any, data: Dataset | None, **_: Any) -> OpenedSource:
        into = workers.scratch / f"source-{len(found)}"
        arrays = {"x": np.zeros((2, 1, 4), np.float32)} if data is None else {"x": data.arrays["x"][:, None]}
        samples = feeds.write(into / "feeds", Feeds(arrays, origin="samples"))
        outputs = {"y": np.full((len(arrays["x"]), 1, 4), len(found), np.float32)}
        labels = np.zeros((len(arrays["x"]), 1), np.int64)
        reference = feeds.write(into / "reference", Feeds(outputs, labels, "samples"))
        found.append(path)
        return OpenedSource(path, "", "", path, SIGNATURE, samples, reference, None, "", data is None, ("a note",))

    monkeypatch.setattr(references, "open_source", open_source)
    return found


@pytest.fixture
def ran(model: Path, runs: list[Path], tmp_path: Path) -> Ran:
    """Runs the model in a scratch folder of its own, as a command of its own would."""

    def run(
        value: float = 1.0, options: SourceOptions | None = None, data: bool = True, fresh: bool = False
    ) -> references.ReferenceOutputs:
        scratch = Scratch(tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}")
        scratch.scratch.mkdir()
        dataset = Dataset("data.npz", {"x": np.full((3, 4), value, np.float32)}) if data else None
        options = options or SourceOptions()
        return references.run(model, scratch, options=options, dataset=dataset, fresh=fresh)  # type: ignore[arg-type]

    return run


def outputs(found: references.ReferenceOutputs) -> float:
    """The number of the run that the outputs are from."""
    return float(feeds.read(found.outputs).arrays["y"][0, 0, 0])


def test_the_same_model_and_data_run_once(ran: Ran, runs: list[Path]) -> None:
    first, second = ran(), ran()
    assert (first.reused, second.reused) == (False, True)
    assert len(runs) == 1
    assert outputs(second) == outputs(first)
    assert np.array_equal(feeds.read(second.feeds).arrays["x"], feeds.read(first.feeds).arrays["x"])
    assert second.notes[0] == "a note"
    assert "--fresh" in second.notes[1]


def test_labels_are_no_part_of_what_is_kept(ran: Ran) -> None:
    ran()
    assert feeds.read(ran().outputs).labels is None


def test_random_samples_are_kept_with_their_outputs(ran: Ran, runs: list[Path]) -> None:
    ran(data=False)
    second = ran(data=False)
    assert second.reused
    assert len(runs) == 1
    assert feeds.read(second.feeds).arrays["x"].shape == (2, 1, 4)


def test_other_data_runs_again(ran: Ran, runs: list[Path]) -> None:
    ran(1.0)
    assert not ran(2.0).reused
    assert ran(1.0).reused
    assert len(runs) == 2


def test_fresh_runs_again_and_keeps_that(ran: Ran) -> None:
    ran()
    assert not ran(fresh=True).reused
    assert outputs(ran()) == 1.0


def test_another_model_or_other_options_run_again(ran: Ran, model: Path) -> None:
    ran()
    assert not ran(options=SourceOptions(inputs=("x=1,4",))).reused
    assert ran(options=SourceOptions(timeout_s=7.0)).reused
    with model.open("ab") as file:
        file.write(b"more")
    assert not ran().reused


def test_code_beside_the_model_counts(ran: Ran, model: Path) -> None:
    code, helper = model.parent / "net.py", model.parent / "helper.py"
    code.write_text("open('table.bin')\n")
    helper.write_text("a = 1\n")
    (model.parent / "table.bin").write_text("1")
    options = SourceOptions(model_code=f"{code}:Net")
    ran(options=options)
    (model.parent / "result.tflite").write_text("no part of the model")
    assert ran(options=options).reused
    helper.write_text("a = 2\n")
    assert not ran(options=options).reused
    (model.parent / "table.bin").write_text("2")
    assert not ran(options=options).reused


def test_weights_beside_the_model_count(ran: Ran, model: Path) -> None:
    with model.open("ab") as file:
        file.write(b"in weights.bin")
    weights = model.parent / "weights.bin"
    weights.write_bytes(b"1")
    ran()
    assert ran().reused
    weights.write_bytes(b"2")
    assert not ran().reused


@pytest.mark.parametrize("options", [SourceOptions(trust=True), SourceOptions(model_code="package.module:Net")])
def test_code_that_no_hash_covers_is_run_each_time(ran: Ran, options: SourceOptions) -> None:
    ran(options=options)
    assert not ran(options=options).reused


def entry(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "cache" / "references").glob("*/*/entry.json")
    return found.parent


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no words", "signature"])
def test_a_damaged_entry_is_computed_again_and_replaced(ran: Ran, tmp_path: Path, damage: str) -> None:
    ran()
    array = entry(tmp_path) / "outputs" / "0.npy"
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-5])
    elif damage == "changed":
        array.write_bytes(array.read_bytes()[:-1] + b"!")
    elif damage == "missing":
        array.unlink()
    elif damage == "no words":
        (entry(tmp_path) / "entry.json").write_text("{")
    else:
        (entry(tmp_path).parent / "signature.json").write_text(json.dumps({"inputs": 3}))
    assert not ran().reused
    assert ran().reused


def test_an_entry_that_another_command_removes_meanwhile_is_none(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran()
    copytree = shutil.copytree

    def removed_first(source: Path, *arguments: Any, **named: Any) -> Any:
        shutil.rmtree(source)
        return copytree(source, *arguments, **named)

    monkeypatch.setattr(shutil, "copytree", removed_first)
    assert not ran().reused


def test_a_cache_that_cannot_be_written_is_no_error(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert not ran().reused
    assert not ran().reused


def test_the_oldest_go(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "KEPT_ENTRIES", 2)
    ran(1.0)
    first = entry(tmp_path)
    ran(2.0)
    os.utime(first, (1, 1))
    ran(3.0)
    assert not first.exists()
    assert len(list(first.parent.glob("*/entry.json"))) == 2
    assert ran(3.0).reused
    assert ran(2.0).reused


def test_bytes_are_bounded_too(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "KEPT_BYTES", 1)
    ran()
    assert not list((tmp_path / "cache").rglob("entry.json"))


def test_what_a_killed_command_left_goes(ran: Ran, tmp_path: Path) -> None:
    ran(1.0)
    left = entry(tmp_path).parent / ".abc.1.partial"
    left.mkdir()
    os.utime(left, (1, 1))
    ran(2.0)
    assert not left.exists()
