from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from tiny_models import OpenSession

from edgekit.device_plugins import Session
from edgekit.errors import MeasurementError
from edgekit.plugins import MetricInput
from edgekit.types import Measurement, Sustained, from_json, to_json
from profiles import sustained
from profiles.metrics import sustained as metric

NAMES = ("sustained_first_p50_ns", "sustained_last_p50_ns", "sustained_ratio")


class Fake:
    """A device whose time passes in runs, in requests and in readings of its state alone.

    Args:
        run_ns: How long a run takes, by the seconds that have passed.
        request_ns: What a request takes beside the runs.
        typical: Whether one figure stands for all runs, as with native programs.
    """

    def __init__(self, run_ns: Callable[[float], float], request_ns: float = 0, typical: bool = False) -> None:
        self.run_ns, self.request_ns, self.typical = run_ns, request_ns, typical
        self.now_ns = 5e9
        self.counts: list[int] = []
        self.read_at: list[float] = []
        self.state: dict[str, Any] = {}

    def monotonic(self) -> float:
        return self.now_ns / 1e9

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        assert discard == 0
        self.counts.append(count)
        self.now_ns += self.request_ns
        ns = []
        for _ in range(count):
            ns.append(self.run_ns(self.now_ns / 1e9 - 5))
            self.now_ns += ns[-1]
        return {"ns": [statistics.median(ns)] if self.typical else ns}

    def conditions(self) -> Mapping[str, Any]:
        self.read_at.append(self.now_ns / 1e9 - 5)
        return self.state


RunFake = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> RunFake:
    """Lets a fake run; its result is as it arrives here: without what JSON does not have."""

    def start(fake: Fake, duration_s: float, progress: Callable[[float], None] = lambda done: None) -> dict[str, Any]:
        monkeypatch.setattr(sustained, "time", fake)
        raw: dict[str, Any] = json.loads(json.dumps(sustained.run(cast(Session, fake), duration_s, progress)))
        return raw

    return start


def measured(raw: Mapping[str, Any] | None) -> dict[str, Measurement]:
    found = metric.measure(MetricInput(Path(__file__), {}, {} if raw is None else {"sustained": raw}))
    return {one.metric: one for one in found}


def recorded(raw: Mapping[str, Any]) -> Sustained:
    found = metric.record(raw)
    assert found is not None
    return found


def test_a_device_that_slows_down(run: RunFake) -> None:
    """1 ms a run for five minutes, 1.5 ms afterwards."""
    fake = Fake(lambda at: 1e6 if at < 300 else 1.5e6)
    raw = run(fake, 600.0)
    found = measured(raw)
    assert tuple(found) == NAMES
    assert (raw["duration_s"], raw["window_s"]) == (600.0, 30.0)
    first, last, ratio = (found[name] for name in NAMES)
    assert (first.value, first.low, first.high, first.unit) == (1e6, 1e6, 1e6, "ns")
    assert (last.value, last.low, last.high) == (1.5e6, 1.5e6, 1.5e6)
    assert first.samples == pytest.approx(30_000, rel=0.02)
    assert last.samples == pytest.approx(20_000, rel=0.04)
    assert (ratio.value, ratio.low, ratio.high, ratio.unit) == (1.5, 1.5, 1.5, "ratio")
    record = recorded(raw)
    assert [one.p50_ns for one in record.moments if one.time_s < 299] == [1e6] * sum(
        one.time_s < 299 for one in record.moments
    )
    assert record.moments[-1].p50_ns == 1.5e6
    assert sum(one.runs for one in record.moments) == sum(fake.counts)
    assert raw["busy_ratio"] == pytest.approx(1.0)
    assert metric.notes(raw) == []
    assert from_json(Sustained, json.loads(json.dumps(to_json(record)))) == record


def test_runs_of_a_fast_model_are_not_all_kept(run: RunFake) -> None:
    raw = run(Fake(lambda at: 1e5), 60.0)
    assert max(turn["runs"] for turn in raw["turns"]) == 5000  # half a second of them
    assert max(len(turn["ns"]) for turn in raw["turns"]) < 130
    assert sum(turn["runs"] for turn in raw["turns"]) == pytest.approx(600_000, rel=0.01)


def test_the_state_is_read_now_and_then_between_turns(run: RunFake) -> None:
    fake = Fake(lambda at: 1e6)
    fake.state = {
        "temperature_celsius": {"gpu": 41.0, "cpu": 63.5},
        "frequency_khz": {"0": 600_000, "1": 700_000, "7": 2_800_000},
        "affinity": [0, 1],
    }
    raw = run(fake, 60.0)
    assert 10 <= len(fake.read_at) <= 13
    assert min(after - before for before, after in zip(fake.read_at, fake.read_at[1:], strict=False)) >= 5
    for moment in recorded(raw).moments:
        assert (moment.temperature_celsius, moment.frequency_khz) == (63.5, 700_000)  # of the CPUs that it may use


def test_a_device_that_says_nothing_of_its_state(run: RunFake) -> None:
    fake = Fake(lambda at: 1e6)
    fake.state = {"temperature_celsius": None, "frequency_khz": None, "affinity": None}
    assert {(one.temperature_celsius, one.frequency_khz) for one in recorded(run(fake, 4.0)).moments} == {(None, None)}
    fake.state = {"frequency_khz": {"0": 600_000, "1": 700_000}}
    assert {one.frequency_khz for one in recorded(run(fake, 4.0)).moments} == {700_000}


def test_a_short_run_has_turns_enough_for_an_interval(run: RunFake) -> None:
    raw = run(Fake(lambda at: 1e6), 4.0)
    assert raw["window_s"] == 1.0
    found = measured(raw)
    assert all(found[name].low is not None for name in NAMES)


def test_runs_that_are_longer_than_a_turn(run: RunFake) -> None:
    fake = Fake(lambda at: 3e9)
    found = measured(run(fake, 60.0))
    assert set(fake.counts) == {1}
    assert (found["sustained_first_p50_ns"].value, found["sustained_first_p50_ns"].samples) == (3e9, 5)
    assert found["sustained_ratio"].value == 1.0
    assert found["sustained_ratio"].low is None  # five turns are too few for one
    assert found["sustained_ratio"].spread == ""


def test_runs_that_are_longer_than_a_window(run: RunFake) -> None:
    found = measured(run(Fake(lambda at: 8e9), 10.0))
    assert [one.value for one in found.values()] == [None, None, None]
    assert {one.unavailable for one in found.values()} == {
        "no run lies within 2.5 s of the start and of the end: let it run for longer"
    }


def test_turns_are_longer_where_asking_for_one_takes_long(run: RunFake) -> None:
    """A fifth of a second, as when a native program is started over a slow connection."""
    raw = run(Fake(lambda at: 1e6, request_ns=2e8), 120.0)
    assert raw["busy_ratio"] == pytest.approx(0.94, abs=0.01)
    assert metric.notes(raw) == []
    assert max(turn["runs"] for turn in raw["turns"]) == pytest.approx(3750, abs=2)
    assert measured(raw)["sustained_ratio"].low is not None


def test_a_device_that_could_not_be_kept_busy_is_told_of(run: RunFake) -> None:
    raw = run(Fake(lambda at: 1e6, request_ns=2e9), 120.0)
    assert raw["busy_ratio"] == pytest.approx(3.75 / 5.75, abs=0.02)
    (note,) = metric.notes(raw)
    assert f"in {1 - raw['busy_ratio']:.0%} of the time" in note


def test_programs_that_give_one_figure_for_all_runs(run: RunFake) -> None:
    fake = Fake(lambda at: 1e6, typical=True)
    raw = run(fake, 60.0)
    assert sum(turn["runs"] for turn in raw["turns"]) == sum(fake.counts)
    assert raw["busy_ratio"] == pytest.approx(1.0)
    assert measured(raw)["sustained_ratio"].value == 1.0


def test_progress_is_told_in_seconds(run: RunFake) -> None:
    told: list[float] = []
    run(Fake(lambda at: 1e6), 10.0, told.append)
    assert told == sorted(told)
    assert told[-1] == 10.0
    assert len(told) > 20


def test_nothing_is_said_where_it_was_not_asked_for() -> None:
    assert measured(None) == {}


def test_a_run_that_failed() -> None:
    raw = {"unavailable": "it died"}
    assert {name: one.unavailable for name, one in measured(raw).items()} == dict.fromkeys(NAMES, "it died")
    assert metric.record(raw) is None


@pytest.mark.parametrize("model", ["tiny.onnx", "tiny.tflite"])
def test_a_real_file(model: str, open_session: OpenSession, images: Path) -> None:
    with open_session(model) as session:
        session.first(images)
        raw = sustained.run(session, 1.5, lambda done: None)
    found = measured(raw)
    for name in NAMES:
        assert (found[name].value or 0) > 0, found[name].unavailable
    record = recorded(raw)
    assert record.moments[-1].time_s > 1.0
    assert all(before.time_s < after.time_s for before, after in zip(record.moments, record.moments[1:], strict=False))
    assert 0 < raw["busy_ratio"] <= 1


def test_a_process_that_dies_meanwhile(open_session: OpenSession, images: Path) -> None:
    session = open_session("tiny.onnx")
    session.first(images)
    with pytest.raises(MeasurementError):
        sustained.run(session, 30.0, lambda done: session.process.kill())
