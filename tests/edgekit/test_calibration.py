from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.calibration import ranges as ranges_file
from converters.calibration.ranges import Collector
from edgekit import calibration, feeds, registry
from edgekit.calibration import RangesPlace
from edgekit.feeds import Feeds
from edgekit.source import OpenedSource
from edgekit.types import Signature


@pytest.fixture
def opened(tmp_path: Path) -> OpenedSource:
    samples = np.arange(12, dtype=np.float32).reshape(3, 4)
    folder = feeds.write(tmp_path / "calibration", Feeds({"x": samples}, origin="3 samples"))
    return OpenedSource(
        path=Path("model.pt2"),
        kind="",
        form="torch.export",
        program=tmp_path,
        signature=Signature((), ()),
        feeds=folder,
        reference=folder,
        calibration=folder,
        fingerprint="f",
        random_inputs=False,
        notes=(),
    )


def made(folder: Path) -> Path:
    collector = Collector()
    collector.add("x", np.array([-1.0, 2.0], np.float32))
    path = folder / "made.json"
    ranges_file.write(path, collector.finish("TFLite", 3, "3 samples", 99.99))
    return path


def place(opened: OpenedSource, form: str = "TFLite", percentile: float = 99.99) -> RangesPlace:
    return calibration.place(opened, registry.calibrations()[form], percentile)


def test_every_target_can_be_calibrated() -> None:
    assert set(registry.calibrations()) == {"TFLite", "ONNX", "torch.export"}


def test_what_is_kept_is_found_again(opened: OpenedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    first = place(opened)
    assert not first.reused
    kept = first.keep(made(tmp_path))
    assert kept.parent == tmp_path / "cache" / "ranges"
    assert kept.name.startswith("model.TFLite.")
    assert place(opened) == replace(first, reused=True)
    assert ranges_file.read(kept).conditions["model"] == "f"
    facts = first.facts(kept, "mse")
    assert (facts.ranges, facts.method, facts.samples, facts.reused) == (str(kept), "mse", 3, False)


def test_a_damaged_file_is_computed_again(
    opened: OpenedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    kept = place(opened).keep(made(tmp_path))
    kept.write_text(kept.read_text()[:100])
    again = place(opened)
    assert not again.reused
    assert ranges_file.read(again.keep(made(tmp_path))).samples == 3
    assert place(opened).reused


def test_everything_that_decides_on_them_is_in_the_name(
    opened: OpenedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    other = feeds.write(tmp_path / "other", Feeds({"x": np.ones((3, 4), np.float32)}, origin="3 samples"))
    places = [
        place(opened),
        place(opened, "ONNX"),
        place(opened, percentile=99.0),
        place(replace(opened, fingerprint="g")),
        place(replace(opened, variant="Bias correction")),
        place(replace(opened, form="ONNX")),
        place(replace(opened, calibration=other)),
    ]
    assert len({item.path for item in places}) == len(places)


def test_without_a_place_to_keep_them_they_are_used_all_the_same(
    opened: OpenedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file"))
    where = place(opened)
    path = made(tmp_path)
    assert where.keep(path) == path
    assert where.facts(path, "auto").ranges == ""


def test_the_oldest_ones_go(opened: OpenedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "_KEPT_FILES", 2)
    folder = tmp_path / "cache" / "ranges"
    folder.mkdir(parents=True)
    for age, name in enumerate(("new", "old", "older")):
        file = folder / f"{name}.json"
        file.write_text("{}")
        os.utime(file, (1_000_000 - age, 1_000_000 - age))
    kept = place(opened).keep(made(tmp_path))
    assert sorted(file.name for file in folder.iterdir()) == sorted([kept.name, "new.json"])
    assert json.loads(kept.read_text())["samples"] == 3
