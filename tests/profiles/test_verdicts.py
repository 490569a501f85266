"""Findings decide first, then what labels show, then noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgekit.drift_types import Drift, TaskFigure, TaskResult, Verdict
from edgekit.errors import UsageError
from profiles import verdicts


def noise(sqnr_db: float | None) -> list[Drift]:
    return [Drift("y", 0.1, sqnr_db, 0.9, 0.9, 100, kind="scores")]


def top1(difference: float, low: float, high: float) -> TaskResult:
    figure = TaskFigure(
        "top1", "ratio", True, 0.9 + difference, reference=0.9,
        difference=difference, difference_low=low, difference_high=high,
    )  # fmt: skip
    return TaskResult("classification", "", (figure,))


def error(difference: float, low: float, high: float, reference: float = 2.0) -> TaskResult:
    figure = TaskFigure(
        "rmse", "", False, reference + difference, reference=reference,
        difference=difference, difference_low=low, difference_high=high,
    )  # fmt: skip
    return TaskResult("regression", "", (figure,))


@pytest.mark.parametrize(
    ("sqnr_db", "status"), [(None, "equal"), (95.0, "equal"), (25.0, "acceptable"), (15.0, "degraded"), (5.0, "broken")]
)
def test_noise_alone(sqnr_db: float | None, status: str) -> None:
    assert verdicts.judge("int8", noise(sqnr_db), None).status == status


def test_the_worst_output_decides() -> None:
    found = verdicts.judge("int8", [*noise(95.0), Drift("z", 0.1, 5.0, 0.9, None, 100)], None)
    assert found.status == "broken"
    assert "'z'" in found.reasons[0]


@pytest.mark.parametrize(
    ("task", "sqnr_db", "status"),
    [
        (top1(0.0, -0.002, 0.002), 15.0, "acceptable"),  # enough labels excuse noise
        (top1(0.0, -0.002, 0.002), 95.0, "equal"),
        (top1(-0.03, -0.05, -0.02), 95.0, "degraded"),  # little noise excuses nothing
        (top1(-0.3, -0.4, -0.2), 95.0, "broken"),
        (top1(-0.005, -0.015, -0.001), 15.0, "acceptable"),  # shown, and small
        (top1(0.0, -0.05, 0.05), 15.0, "degraded"),  # too few labels to tell: noise decides
        (top1(0.03, 0.02, 0.04), 15.0, "acceptable"),  # better
        (error(0.01, -0.02, 0.04), 15.0, "acceptable"),
        (error(0.4, 0.3, 0.5), 95.0, "degraded"),
        (error(3.0, 2.0, 4.0), 95.0, "broken"),
        (error(0.4, 0.3, 0.5, reference=0.0), 25.0, "acceptable"),  # no share of nothing
    ],
)
def test_labels_decide_over_noise(task: TaskResult, sqnr_db: float, status: str) -> None:
    assert verdicts.judge("int8", noise(sqnr_db), task).status == status


def test_findings_decide_over_labels() -> None:
    found = verdicts.judge("int8", noise(95.0), top1(0.0, 0.0, 0.0), findings=["output 'y': constant"])
    assert found == Verdict("broken", ("Output 'y': constant.",))


def test_there_can_be_no_verdict() -> None:
    assert verdicts.judge("int8", noise(95.0), None, random_inputs=True).status == "none"
    assert verdicts.judge("", noise(95.0), None).status == "none"
    assert verdicts.judge("int8", noise(None), None, vacuous=["y"]).status == "none"


@pytest.mark.parametrize(
    ("same", "status"), [(1.0, "equal"), (0.99, "acceptable"), (0.95, "degraded"), (0.5, "broken")]
)
def test_whole_numbers_are_the_same_or_not(same: float, status: str) -> None:
    drift = Drift("classes", 3.0, 40.0, 0.9, same, 100, kind="whole numbers")
    assert verdicts.judge("int8", [drift], None).status == status


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[int8", "not TOML"),
        ("[int9]\nequal_db = 3", "int9 is no scheme"),
        ("int8 = 3", "int8 is no table"),
        ("[int8]\nequal = 3", "[int8] has no equal"),
        ("[int8]\nequal_db = 'much'", "is no number"),
        ("[int8]\nequal_db = 3", "is above equal_db"),
    ],
)
def test_bands_that_mean_nothing(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bands.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        verdicts.read(path)
    assert message in caught.value.message


def test_a_schemes_own_table_stands_over_that_of_all(tmp_path: Path) -> None:
    path = tmp_path / "bands.toml"
    path.write_text("[all]\npoints_acceptable = 3\n[int8]\npoints_acceptable = 4\n")
    found: Mapping[str, verdicts.Bands] = verdicts.read(path)
    assert (found["int8"].points_acceptable, found["float16"].points_acceptable) == (4.0, 3.0)
    assert found["int8"].acceptable_db == verdicts.BANDS["int8"].acceptable_db
