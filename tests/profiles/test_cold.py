from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_models import OpenSession

from edgekit import registry
from edgekit.plugins import MetricInput
from edgekit.types import Measurement
from profiles.cold import cold
from profiles.devices._session import AgentSession

STEPS = ("cold_import_ns", "cold_load_ns", "cold_first_run_ns", "cold_steady_ns", "cold_after_idle_ns")


def measure(raw: dict[str, Any]) -> dict[str, Measurement]:
    found = registry.metrics()["cold"].measure(MetricInput(Path(__file__), {}, raw))
    return {item.metric: item for item in found}


@pytest.mark.parametrize("model", ["tiny.onnx", "tiny.tflite"])
def test_processes_one_after_the_other(model: str, open_session: OpenSession, images: Path) -> None:
    opened: list[AgentSession] = []
    done: list[int] = []

    def start() -> AgentSession:
        assert all(session.process.poll() is not None for session in opened), "the one before is still there"
        opened.append(open_session(model))
        return opened[-1]

    raw = cold(start, images, processes=2, idle_s=0.01, on_progress=done.append)
    assert len({session.process.pid for session in opened}) == 2
    assert done == [1, 2]
    assert raw["unavailable"] == ""
    found = measure({"cold": raw})
    assert tuple(found) == STEPS
    for item in found.values():
        assert item.samples == 2
        assert item.value is not None and item.low is not None and item.high is not None
        assert 0 < item.low <= item.value <= item.high
        assert "of 2 processes; process-cold, files in the page cache" in item.spread
    assert "after 10 ms without a run" in found["cold_after_idle_ns"].spread


def test_a_run_after_a_gap_comes_after_it(open_session: OpenSession, images: Path) -> None:
    with open_session("tiny.onnx") as session:
        session.first(images)
        before = session.conditions()["time_s"]
        found = session.idle(0.2, 3)["ns"]
        assert session.conditions()["time_s"] - before >= 3 * 0.2
    assert len(found) == 3
    assert all(value < 200_000_000 for value in found), "the sleep was timed too"


def test_medians_and_bounds() -> None:
    def process(load: int, *steady: int) -> dict[str, Any]:
        return {"import_ns": 9, "load_ns": load, "first_ns": 8, "steady_ns": steady, "after_idle_ns": [5]}

    raw = {"idle_s": 0.1, "processes": [process(3, 1, 2, 30), process(1, 4, 4, 4), process(2, 3)], "unavailable": ""}
    found = measure({"cold": raw})
    load, steady = found["cold_load_ns"], found["cold_steady_ns"]
    assert (load.value, load.low, load.high, load.samples) == (2, 1, 3, 3)
    assert (steady.value, steady.low, steady.high) == (3, 2, 4)


def test_a_process_that_dies_leaves_a_reason(
    open_session: OpenSession, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = AgentSession.first, []

    def first_and_die(self: AgentSession, folder: Path | None = None) -> Mapping[str, Any]:
        calls.append(self)
        if len(calls) == 2:
            os.kill(self.process.pid, signal.SIGKILL)
        return original(self, folder)

    monkeypatch.setattr(AgentSession, "first", first_and_die)
    raw = cold(lambda: open_session("tiny.onnx"), images, processes=3, idle_s=0.0)
    assert len(calls) == 2
    for item in measure({"cold": raw}).values():
        assert item.value is None
        assert item.unavailable.startswith("process 2 of 3: ")
        assert "SIGKILL" in item.unavailable


def test_it_is_said_when_nobody_asked() -> None:
    assert {item.unavailable for item in measure({}).values()} == {"not asked for (--cold)"}
