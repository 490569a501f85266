"""A runtime's process that stops answering in the middle of a comparison; one that is killed is in test_profile.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekit.measuring import Measuring
from edgekit.profile import profile
from profiles.devices._session import AgentSession

MODELS = Path(__file__).parents[1] / "profiles" / "models"
FILES = [MODELS / "tiny.onnx", MODELS / "tiny.tflite"]


@pytest.mark.parametrize("victim", [0, 1])
def test_an_agent_that_hangs_costs_its_own_row(victim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    stopped: list[int] = []
    original = AgentSession.time

    def time_or_hang(self: AgentSession, discard: int, count: int) -> Mapping[str, Any]:
        if self.path == FILES[victim] and not stopped:
            stopped.append(self.process.pid)
            self.timeout_s = 1.0
            os.kill(self.process.pid, signal.SIGSTOP)
        return original(self, discard, count)

    monkeypatch.setattr(AgentSession, "time", time_or_hang)
    report = profile(FILES, measuring=Measuring(budget_s=0.4))
    assert [item.path for item in report.profiles] == [str(FILES[1 - victim])]
    assert [item.what for item in report.failures] == [str(FILES[victim])]
    assert "was stopped after the time limit of 1 s, in timed runs" in report.failures[0].message
    assert report.failures[0].exit_code == 6
    with pytest.raises(ProcessLookupError):
        os.kill(stopped[0], 0)


def test_an_aside_that_takes_too_long_costs_what_comes_after_it_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    original = AgentSession.peak

    def hang(self: AgentSession, threads: int) -> Mapping[str, Any]:
        self.timeout_s = 1.0
        os.kill(self.process.pid, signal.SIGSTOP)
        return original(self, threads)

    monkeypatch.setattr(AgentSession, "peak", hang)
    report = profile(FILES[1:], measuring=Measuring(budget_s=0.4))
    assert not report.failures
    figures = {one.metric: one for one in report.profiles[0].measurements}
    assert figures["latency_p50_ns"].value
    assert figures["arena_bytes"].value is None
    assert "was stopped before" in figures["arena_bytes"].unavailable
