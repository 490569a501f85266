from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import feeds, registry
from edgekit.feeds import Feeds
from edgekit.plugins import MetricInput
from edgekit.types import Drift, Measurement, to_json
from profiles.agent.binding import match
from profiles.metrics import drift


def compare(reference: Any, output: Any) -> Drift:
    pair = (Feeds({"y": np.asarray(one)}) for one in (reference, output))
    return drift.compare(*pair)[0]


def measure(name: str, **given: Any) -> dict[str, Measurement]:
    given = {"path": Path(__file__), "facts": {}, "raw": {}, **given}
    found = registry.metrics()[name].measure(MetricInput(**given))
    return {item.metric: item for item in found}


def turns(*rounds: Sequence[int], delays: Sequence[int] = ()) -> list[dict[str, Any]]:
    return [
        {"ns": list(one), "switches": [0] * len(one), "run_delay_ns": list(delays) or [0] * len(one)} for one in rounds
    ]


def test_drift_known_answers() -> None:
    found = compare([[3.0, 4.0]], [[3.0, 4.5]])
    assert found.max_abs == 0.5
    assert found.sqnr_db == pytest.approx(10 * np.log10(25 / 0.25))
    assert found.cosine == pytest.approx(27 / (5 * np.hypot(3, 4.5)))
    assert found.top1_agreement is None  # one sample of shape [2] is no (batch, classes)
    assert found.samples == 1
    assert found.finding == ""


def test_drift_of_identical_outputs() -> None:
    found = compare([[1.0, 2.0]], [[1.0, 2.0]])
    assert (found.max_abs, found.sqnr_db, found.finding) == (0.0, None, "")
    assert found.cosine == pytest.approx(1.0)


def test_drift_in_double_precision() -> None:
    """In float32 the difference of these would be lost in the sum."""
    reference = np.full((1, 1000), 1e4, np.float32)
    output = reference + np.float32(0.01)
    expected = 20 * np.log10(1e4 / float(output[0, 0] - 1e4))
    assert compare(reference, output).sqnr_db == pytest.approx(expected, abs=0.01)


def test_drift_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(50, 1, 7)).astype(np.float32)
    output = reference + random.normal(0, 0.1, reference.shape).astype(np.float32)
    whole = compare(reference, output)
    monkeypatch.setattr(drift, "_BLOCK_ELEMENTS", 20)
    parts = compare(reference, output)
    assert parts.sqnr_db == pytest.approx(whole.sqnr_db)
    assert parts.max_abs == whole.max_abs
    assert parts.top1_agreement == whole.top1_agreement == np.mean(reference.argmax(2) == output.argmax(2))


@pytest.mark.parametrize(
    ("shape", "dtype", "scores"),
    [
        ((5, 1, 10), "float32", True),
        ((5, 4, 2), "float16", True),
        ((5, 1, 1), "float32", False),  # a regression
        ((5, 10), "float32", False),  # no batch
        ((5, 1, 10), "int8", False),
        ((5, 1, 8, 8), "float32", False),
    ],
)
def test_what_looks_like_class_scores(shape: tuple[int, ...], dtype: str, scores: bool) -> None:
    assert drift.looks_like_scores(np.zeros(shape, dtype)) is scores


def test_values_that_are_not_finite_are_a_finding() -> None:
    found = compare([[1.0, 2.0, 3.0]], [[1.0, np.nan, np.inf]])
    assert found.finding == "2 of 3 values are not finite, in one of the two, first in sample 0"
    assert found.max_abs == 0.0
    everything = compare([[1.0, 2.0]], [[np.nan, np.nan]])
    assert (everything.max_abs, everything.sqnr_db, everything.cosine) == (None, None, None)
    assert everything.finding
    json.dumps(to_json(everything), allow_nan=False)


def test_the_same_infinity_on_both_sides_is_no_drift() -> None:
    found = compare([[1.0, -np.inf, np.nan]], [[1.0, -np.inf, np.nan]])
    assert (found.max_abs, found.sqnr_db, found.finding) == (0.0, None, "")


def test_a_reference_of_zeros_and_other_shapes_are_findings() -> None:
    assert "zero everywhere" in compare([[0.0, 0.0]], [[0.0, 1.0]]).finding
    assert "shape [3], the reference has [2]" in compare([[0.0, 1.0]], [[0.0, 1.0, 2.0]]).finding


def test_outputs_are_paired_by_name_then_by_position() -> None:
    assert match(["a", "b"], ["b", "a"]) == {"a": "a", "b": "b"}
    assert match(["a", "b"], ["Identity", "a"]) == {"a": "a", "b": "Identity"}
    assert match(["a"], ["x", "a"]) == {"a": "a"}
    with pytest.raises(ValueError, match=r"1 expected \(a\), 2 given \(x, y\)"):
        match(["a"], ["x", "y"])


def test_other_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="2 samples of outputs, 3 of the reference"):
        drift.compare(Feeds({"y": np.zeros((3, 1))}), Feeds({"y": np.zeros((2, 1))}))


@pytest.mark.parametrize(
    ("array", "constant"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], True),  # does not depend on the sample
        ([[1.0, 2.0], [1.0, 2.1]], False),
        ([[1.0, 2.0]], False),  # one sample: only its elements can tell
        ([[2.0, 2.0]], True),
        ([[0.0], [0.0]], True),
        ([[1e6], [1e6 + 0.01]], True),  # rounding
        ([[np.nan], [np.nan]], False),  # that is a finding of its own
        ([[1.0], [np.nan]], False),
        ([[-np.inf, 1.0], [-np.inf, 1.0]], True),  # a mask
        ([[-np.inf, 1.0], [-np.inf, 2.0]], False),
        ([[1.0], [1.0], [2.0]], False),
    ],
)
def test_constant_outputs(array: list[list[float]], constant: bool) -> None:
    assert drift.constant_outputs(Feeds({"y": np.asarray(array)})) == (["y"] if constant else [])


def test_latency_percentiles_and_their_honesty() -> None:
    raw = {"load": {"load_ns": 5}, "first": {"first_ns": 7}, "turns": turns(*[range(10, 20)] * 12)}
    found = measure("latency", raw=raw)
    assert found["load_ns"].value == 5
    assert found["first_run_ns"].value == 7
    median = found["latency_p50_ns"]
    assert (median.value, median.samples, median.spread) == (
        14.5,
        120,
        "95% CI of the median, from 12 rounds",
    )
    assert median.low is not None
    assert median.high is not None
    assert median.low <= 14.5 <= median.high
    assert found["latency_p90_ns"].value == pytest.approx(18, abs=0.2)
    assert found["latency_p90_ns"].high == 19
    assert found["latency_p99_ns"].value is None
    assert found["latency_p99_ns"].unavailable == "needs 299 samples, has 120"


def test_preempted_runs_are_counted_by_evidence() -> None:
    raw: dict[str, Any] = {"load": {"load_ns": 5}, "first": {"first_ns": 7}}
    raw["turns"] = turns([1, 1, 1, 1], delays=[0, 60_000, 10_000, 0])
    raw["turns"][0]["switches"][3] = 1
    assert measure("latency", raw=raw)["preempted_ratio"].value == 0.5
    raw["turns"][0]["run_delay_ns"] = None
    assert measure("latency", raw=raw)["preempted_ratio"].value is None


@pytest.mark.parametrize(
    ("base", "last", "expected"),
    [
        ({"rss_bytes": 100, "peak_bytes": 150, "peak_reset": True}, 130, (30, None, None)),
        ({"rss_bytes": 100, "peak_bytes": 150, "peak_reset": False}, 170, (70, None, None)),
        ({"rss_bytes": 100, "peak_bytes": 150, "peak_reset": False}, 150, (50, 20, 50)),
        ({"rss_bytes": None, "peak_bytes": None, "peak_reset": False}, None, (None, None, None)),
    ],
)
def test_memory(base: dict[str, Any], last: int | None, expected: tuple[Any, ...]) -> None:
    last_reading = {"rss_bytes": 120, "peak_bytes": last, "code_bytes": 0}
    raw = {"start": {"memory": {**base, "code_bytes": 0}}, "first": {"memory": last_reading}}
    found = measure("memory", raw=raw)["peak_memory_bytes"]
    assert (found.value, found.low, found.high) == expected
    assert bool(found.spread) == (found.low is not None)
    assert bool(found.unavailable) == (found.value is None)


def test_size_with_and_without_the_content() -> None:
    found = measure("size", facts={"weights_bytes_by_dtype": {"int8": 30, "float32": 12}})
    assert found["size_bytes"].value == Path(__file__).stat().st_size
    assert found["weights_bytes"].value == 42
    assert found["weights_int8_bytes"].value == 30
    assert measure("size", facts={"unavailable": "no onnx here"})["weights_bytes"].unavailable == "no onnx here"


def folder(tmp_path: Path, name: str, given: Feeds) -> Path:
    return feeds.write(tmp_path / name, given)


def test_accuracy(tmp_path: Path) -> None:
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]].reshape(4, 1, 3)
    labels = np.array([[0], [1], [2], [1]])
    given = {
        "feeds": folder(tmp_path, "feeds", Feeds({"x": scores}, labels)),
        "outputs": folder(tmp_path, "outputs", Feeds({"scores": scores})),
        "reference": folder(tmp_path, "reference", Feeds({"scores": np.roll(scores, 1, axis=2)})),
    }
    found = measure("accuracy", **given)
    assert (found["accuracy"].value, found["accuracy"].samples) == (0.75, 4)
    assert found["accuracy"].low == pytest.approx(0.3006, abs=1e-4)
    assert found["reference_accuracy"].value == 0.25


@pytest.mark.parametrize(
    ("labels", "outputs", "reason"),
    [
        (None, np.zeros((2, 1, 3), np.float32), "the data has no labels"),
        ([[0], [3]], np.zeros((2, 1, 3), np.float32), "labels go from 0 to 3, output 'y' has 3 classes"),
        ([[0], [1]], np.zeros((2, 1, 5, 5), np.float32), "no output looks like class scores"),
    ],
)
def test_accuracy_that_cannot_be_taken(labels: Any, outputs: Any, reason: str, tmp_path: Path) -> None:
    array = None if labels is None else np.asarray(labels)
    found = measure(
        "accuracy",
        feeds=folder(tmp_path, "feeds", Feeds({"x": outputs}, array)),
        outputs=folder(tmp_path, "outputs", Feeds({"y": outputs})),
    )["accuracy"]
    assert found.value is None
    assert reason in found.unavailable


def test_drift_metric_gives_the_worst_output(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 8, 1, 4)).astype(np.float32)
    found = measure(
        "drift",
        reference=folder(tmp_path, "reference", Feeds({"a": a, "b": b})),
        outputs=folder(tmp_path, "outputs", Feeds({"a": a, "b": b * np.float32(1.01)})),
    )
    assert found["drift_sqnr_db"].value == pytest.approx(40, abs=0.01)
    assert found["drift_max_abs"].value == pytest.approx(0.01 * np.abs(b).max(), rel=1e-3)
    assert found["top1_agreement"].value == 1.0
    assert measure("drift")["drift_sqnr_db"].unavailable == "no reference was given"
