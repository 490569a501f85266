"""``--sustained`` and ``--cooldown`` from the command to the report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgekit import asides
from edgekit.cli import State, cli
from edgekit.errors import UsageError
from edgekit.measuring import Measuring
from edgekit.profile import profile
from edgekit.progress import Silent
from edgekit.types import Report, from_json
from profiles.devices._session import AgentSession

MODELS = Path(__file__).parents[1] / "profiles" / "models"
FILES = [MODELS / "tiny.onnx", MODELS / "tiny.tflite"]


class Recorder(Silent):
    """Remembers what was going on, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.far: dict[str, tuple[int, int]] = {}

    def start(self, label: str) -> None:
        self.events.append(f"start {label}")

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        self.far[label] = (done, total)

    def end(self, label: str) -> None:
        self.events.append(f"end {label}")


@pytest.mark.usefixtures("own_scratch")
def test_the_command_runs_files_without_pause() -> None:
    words = [*map(str, FILES), "--quick", "--sustained", "1s", "--cooldown", "0.1s", "--json", "--quiet"]
    result = CliRunner().invoke(cli, ["profile", *words], obj=State(json=True), standalone_mode=False)
    assert result.return_value == 0, result.output
    report = from_json(Report, json.loads(result.stdout))
    for item in report.profiles:
        assert item.sustained is not None
        assert (item.sustained.duration_s, item.sustained.window_s) == (1.0, 0.25)
        assert item.sustained.moments
        found = {one.metric: one for one in item.measurements}
        assert (found["sustained_ratio"].value or 0) > 0, found["sustained_ratio"].unavailable
    assert "Timing began after waiting 0.1 s." in report.devices[0].notes


@pytest.mark.usefixtures("own_scratch")
def test_each_file_runs_alone_after_a_pause() -> None:
    progress = Recorder()
    profile(FILES, measuring=Measuring(budget_s=0.3, sustained_s=0.5, cooldown="0.1s"), progress=progress)
    rows = [event for event in progress.events if "without pause" in event or "cool down" in event]
    expected = ["start cool down for 0.1 s", "end cool down for 0.1 s"]
    for file in FILES:
        label = f"{file.name}: 0.5 s without pause"
        expected += ["start cool down for 0.1 s", "end cool down for 0.1 s", f"start {label}", f"end {label}"]
        assert progress.far[label] == (5, 5)
    assert rows == expected


@pytest.mark.usefixtures("own_scratch")
def test_a_file_that_stops_meanwhile_keeps_its_other_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    original, aside = AgentSession.time, asides.sustained

    def sustained(*arguments: Any, **more: Any) -> None:
        begun.append("now")
        aside(*arguments, **more)

    def time_or_die(self: AgentSession, discard: int, count: int) -> Mapping[str, Any]:
        if begun and self.path == FILES[0]:
            self.process.kill()
        return original(self, discard, count)

    monkeypatch.setattr(asides, "sustained", sustained)
    monkeypatch.setattr(AgentSession, "time", time_or_die)
    report = profile(FILES, measuring=Measuring(budget_s=0.3, thorough=False, sustained_s=0.5))
    assert not report.failures
    dead, alive = report.profiles
    assert dead.sustained is None
    assert alive.sustained is not None
    found = {one.metric: one for one in dead.measurements}
    assert (found["latency_p50_ns"].value or 0) > 0
    assert found["sustained_ratio"].value is None
    assert found["sustained_ratio"].unavailable


@pytest.mark.usefixtures("own_scratch")
def test_nothing_of_it_where_it_was_not_asked_for() -> None:
    (item,) = profile(FILES[:1], measuring=Measuring(budget_s=0.3, thorough=False)).profiles
    assert item.sustained is None
    assert not [one for one in item.measurements if one.metric.startswith("sustained")]


@pytest.mark.usefixtures("own_scratch")
@pytest.mark.parametrize(("option", "typed"), [("--sustained", "10"), ("--sustained", "0s"), ("--cooldown", "55F")])
def test_what_was_typed_wrongly(option: str, typed: str) -> None:
    result = CliRunner().invoke(
        cli, ["profile", str(FILES[0]), "--quick", option, typed, "--quiet"], obj=State(), standalone_mode=False
    )
    assert isinstance(result.exception, UsageError | click.BadParameter)
    assert result.exception.exit_code == 2
    assert repr(typed) in result.exception.message


@pytest.mark.parametrize(
    ("words", "row"),
    [(["--sustained", "60s"], "60 s without pause"), (["--cooldown", "60s"], "cool down for 60 s")],
    ids=["sustained", "cooldown"],
)
def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path, words: list[str], row: str) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    command = [sys.executable, "-P", "-m", "edgekit", "profile", str(FILES[0]), "--quick", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)})
    assert process.stderr is not None
    for line in process.stderr:
        if row in line:
            break
    time.sleep(0.3)
    assert processes(scratch)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "Interrupted" in process.stderr.read()
    process.stderr.close()
    assert not processes(scratch)
    assert not list(scratch.iterdir())


def processes(scratch: Path) -> list[str]:
    """Command lines in which the folder appears."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(scratch) in words:
            found.append(words)
    return found
