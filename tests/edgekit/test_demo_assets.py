"""The digits example and the demo made of it: real weights and data, small files, twelve results that still work."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgekit import demo
from edgekit.cli.demo import cells, table
from edgekit.types import Report, from_json

LIMIT_BYTES = 300_000


@pytest.fixture(scope="module")
def folder() -> Path:
    return demo.assets()


def test_all_files_are_small(folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    assert {"model.py", "train.py", "digits.pt", "calibration.npz", "test.npz", "README.md"} <= set(sizes)
    assert sum(sizes.values()) < LIMIT_BYTES


def test_data_has_the_shape_of_the_model(folder: Path) -> None:
    calibration, test = np.load(folder / "calibration.npz"), np.load(folder / "test.npz")
    assert calibration.files == ["image"]
    assert test.files == ["image", "labels"]
    assert len(calibration["image"]) == 300
    assert len(test["image"]) == len(test["labels"]) >= 359
    for image in (calibration["image"], test["image"]):
        assert image.shape[1:] == (1, 8, 8)
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() == 1
    assert set(test["labels"]) == set(range(10))


def test_nothing_held_out_was_calibrated_with(folder: Path) -> None:
    calibration, test = np.load(folder / "calibration.npz"), np.load(folder / "test.npz")
    seen = {image.tobytes() for image in calibration["image"]}
    assert not [1 for image in test["image"] if image.tobytes() in seen]


def test_split_is_the_one_of_the_training_script(folder: Path) -> None:
    """The labels are those that scikit-learn gives to the same pictures."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    known = {
        (pixels / 16).astype(np.float32).tobytes(): label
        for pixels, label in zip(digits.images, digits.target, strict=True)
    }
    test = np.load(folder / "test.npz")
    assert [known[image.tobytes()] for image in test["image"]] == test["labels"].tolist()


def test_weights_are_as_good_as_said(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    names: dict[str, object] = {}
    exec(compile((folder / "model.py").read_text(), "model.py", "exec"), names)  # noqa: S102 - our own file
    model = names["Digits"]()  # type: ignore[operator]
    model.load_state_dict(torch.load(folder / "digits.pt", weights_only=True), strict=True)
    test = np.load(folder / "test.npz")
    with torch.no_grad():
        scores = model.eval()(torch.from_numpy(test["image"])).numpy()
    assert (scores.argmax(1) == test["labels"]).mean() >= 0.98
    assert scores.std(axis=0).min() > 0.1  # no output is dead


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of the whole demo, through the command line."""
    output = tmp_path_factory.mktemp("demo") / "made"
    command = [sys.executable, "-P", "-m", "edgekit", "demo", "--json", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "verify" in done.stderr  # progress
    assert not list(output.glob(".*"))
    page = (output / "report.html").read_text()
    assert page.startswith(("<!DOCTYPE html>", "<!doctype html>"))
    assert len(page) < 2_000_000
    return from_json(Report, json.loads(done.stdout))


def test_demo_makes_twelve_files_that_still_read_digits(report: Report) -> None:
    assert {(item.target, item.scheme) for item in report.artifacts} == {
        (target, scheme) for target in demo.TARGETS for scheme in demo.SCHEMES
    }
    assert not report.failures
    for artifact, profile in zip(report.artifacts, report.profiles, strict=True):
        assert Path(artifact.path).with_name(Path(artifact.path).name + ".json").is_file()
        figures = {item.metric: item.value for item in profile.measurements}
        assert figures["size_bytes"] == artifact.size_bytes == Path(artifact.path).stat().st_size
        ratio = min(drift.sqnr_db or math.inf for drift in profile.drift)
        assert ratio >= {"float32": 100, "float16": 60}.get(artifact.scheme, 32)
        assert (figures["accuracy"] or 0) >= (figures["reference_accuracy"] or 1) - 0.01
        assert figures["latency_p50_ns"]


def test_demo_table_fits_a_terminal(report: Report) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(table(report))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "…" not in shown
    assert all(cell.replace("\n", "") in shown for line in cells(report)[1:] for cell in line)
