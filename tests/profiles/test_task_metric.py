"""Tasks among the figures of ``edgekit profile``: beside the reference's, with names and reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import feeds
from edgekit.feeds import Feeds
from edgekit.plugins import MetricInput
from edgekit.types import Measurement
from profiles.metrics.task import measure

LABELS = np.arange(40).reshape(40, 1) % 4


def scores(wrong: int) -> np.ndarray:
    """Scores of four classes that miss the label of the first samples."""
    found = np.eye(4, dtype=np.float32)[LABELS]
    found[:wrong] = np.roll(found[:wrong], 1, axis=2)
    return found


def measured(
    folder: Path, output: dict[str, np.ndarray], reference: dict[str, np.ndarray] | None, labels: np.ndarray | None
) -> dict[str, Measurement]:
    inputs = feeds.write(folder / "inputs", Feeds({"x": np.zeros((40, 1, 3), np.float32)}, labels))
    outputs = feeds.write(folder / "outputs", Feeds(output))
    before = None if reference is None else feeds.write(folder / "reference", Feeds(reference))
    return {one.metric: one for one in measure(MetricInput(Path("m.tflite"), {}, {}, outputs, before, inputs))}


def test_figures_and_their_change(tmp_path: Path) -> None:
    """Outputs have other names than the reference's."""
    found = measured(tmp_path, {"Identity": scores(4)}, {"scores": scores(2)}, LABELS)
    assert found["task_top1"].value == pytest.approx(0.9)
    change = found["task_top1_change"]
    assert change.value == pytest.approx(-0.05)
    assert change.low is not None and change.high is not None and change.low < -0.05 < change.high
    assert "McNemar" in change.spread
    assert "task_f1" in found


def test_without_a_reference_there_is_no_change(tmp_path: Path) -> None:
    found = measured(tmp_path, {"scores": scores(4)}, None, LABELS)
    assert found["task_top1"].value == pytest.approx(0.9)
    assert not [name for name in found if name.endswith("_change")]


@pytest.mark.parametrize(
    ("output", "labels", "reason"),
    [
        ({"scores": scores(0)}, None, "no labels"),
        ({"scores": np.zeros((40, 1, 1, 2, 2), np.float32)}, LABELS, "no task fits"),
        ({"a": scores(0), "b": scores(0)}, LABELS, "not those of the reference"),
    ],
)
def test_reasons(tmp_path: Path, output: dict[str, np.ndarray], labels: np.ndarray | None, reason: str) -> None:
    found = measured(tmp_path, output, {"scores": scores(0)}, labels)
    (one,) = found.values()
    assert one.value is None and reason in one.unavailable
