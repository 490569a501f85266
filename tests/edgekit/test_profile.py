from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgekit import registry
from edgekit.cli import State, cli
from edgekit.errors import MissingDependencyError, UsageError
from edgekit.measuring import Measuring
from edgekit.options import SourceOptions
from edgekit.profile import profile
from edgekit.types import Measurement, Profile, Report, from_json, to_json
from profiles.devices._session import AgentSession

MODELS = Path(__file__).parents[1] / "profiles" / "models"
QUICK = Measuring(budget_s=0.4)


@pytest.fixture(autouse=True)
def surroundings(own_scratch: Path) -> Iterator[None]:
    """No agent may be left."""
    yield
    assert not agents(own_scratch)


def agents(scratch: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(scratch).encode() in place.read_bytes():
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    path = tmp_path / "pictures.npz"
    random = np.random.default_rng(0)
    image = random.standard_normal((40, 1, 8, 8)).astype(np.float32)
    np.savez(path, image=image, labels=random.integers(0, 4, 40))
    return str(path)


def figures(item: Profile) -> Mapping[str, Measurement]:
    return {one.metric: one for one in item.measurements}


def test_three_runtimes_against_a_reference(pictures: str) -> None:
    files = [MODELS / name for name in ("tiny.tflite", "tiny.onnx", "tiny.pte")]
    report = profile(files, reference=MODELS / "tiny.onnx", data=pictures, measuring=QUICK)
    assert not report.failures
    assert [item.path for item in report.profiles] == [str(file) for file in files]
    assert [item.runtime.rpartition(" ")[0] for item in report.profiles] == [
        "LiteRT",
        "ONNX Runtime",
        "ExecuTorch",
    ]
    for item in report.profiles:
        found = figures(item)
        assert found["size_bytes"].value == Path(item.path).stat().st_size
        for name in ("load_ns", "first_run_ns", "latency_p50_ns", "latency_p90_ns", "peak_memory_bytes"):
            assert (found[name].value or 0) > 0, name
        assert found["latency_p50_ns"].samples == sum(len(turn.ns) for turn in item.turns)
        assert found["accuracy"].samples == 40
        assert found["accuracy"].value == found["reference_accuracy"].value
        assert [one.output for one in item.drift] == ["scores"]
        assert item.drift[0].sqnr_db is None or item.drift[0].sqnr_db > 100
        assert item.drift[0].top1_agreement == 1.0
        assert item.drift[0].samples == 40
    assert f"Inputs: 40 samples of {pictures}." in report.notes
    assert report.devices[0].facts.cores == len(os.sched_getaffinity(0))
    as_json = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert from_json(Report, as_json) == report


def test_random_inputs_are_said(tmp_path: Path) -> None:
    report = profile([MODELS / "tiny.onnx"], measuring=QUICK)
    found = figures(report.profiles[0])
    assert any("random samples" in note for note in report.notes)
    assert found["drift_sqnr_db"].unavailable == "no reference was given"
    assert found["accuracy"].unavailable == "the data has no labels"


def test_what_fails_fails_alone(tmp_path: Path) -> None:
    damaged, source, junk = (tmp_path / name for name in ("damaged.tflite", "source.pt", "junk.onnx"))
    damaged.write_bytes((MODELS / "tiny.tflite").read_bytes()[:2000])
    source.write_bytes(b"\x80\x02}q\x00.")
    junk.write_bytes(b"\xff" * 100)
    report = profile([damaged, source, junk, MODELS / "tiny.onnx"], measuring=QUICK)
    assert [Path(item.path).name for item in report.profiles] == ["tiny.onnx"]
    assert [(Path(item.what).name, item.exit_code) for item in report.failures] == [
        ("damaged.tflite", 6),
        ("source.pt", 4),
        ("junk.onnx", 4),
    ]
    assert Path(report.failures[0].log).is_file()


@pytest.mark.parametrize("victim", [0, 1])
def test_an_agent_killed_while_it_is_timed(victim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file twice, so that only one of the two can be meant."""
    opened: list[AgentSession] = []
    original = AgentSession.time

    def time_and_kill(self: AgentSession, discard: int, count: int) -> Mapping[str, Any]:
        opened.append(self) if self not in opened else None
        if len(opened) == 2 and self is opened[victim]:
            os.kill(self.process.pid, signal.SIGKILL)
        return original(self, discard, count)

    monkeypatch.setattr(AgentSession, "time", time_and_kill)
    report = profile([MODELS / "tiny.onnx", MODELS / "tiny.tflite"], measuring=QUICK)
    assert len(report.profiles) == len(report.failures) == 1
    assert report.failures[0].error == "MeasurementError"
    assert "was killed by SIGKILL, in timed runs" in report.failures[0].message
    assert report.failures[0].what == str(MODELS / ("tiny.onnx", "tiny.tflite")[victim])


def test_data_that_fits_one_file_only(pictures: str) -> None:
    report = profile([MODELS / "tiny.onnx", MODELS / "sum.onnx"], data=pictures, measuring=QUICK)
    assert [Path(item.path).name for item in report.profiles] == ["tiny.onnx"]
    assert report.failures[0].exit_code == 2
    assert "a: float32[?,3], b: int64[?,3]" in report.failures[0].message


def test_sizes_that_a_file_leaves_open() -> None:
    refused = profile([MODELS / "open.onnx"], measuring=QUICK).failures[0]
    assert "x: float32[?,?]" in refused.message
    assert "--input x=1,1" in refused.hint
    options = SourceOptions(inputs=("x=2,50",))
    assert profile([MODELS / "open.onnx"], options=options, measuring=QUICK).profiles


def test_outputs_that_are_not_numbers_are_a_finding(pictures: str) -> None:
    report = profile([MODELS / "dead.onnx"], reference=MODELS / "tiny.onnx", data=pictures, measuring=QUICK)
    item = report.profiles[0]
    assert "160 of 160 values are not finite" in item.drift[0].finding
    assert any("not finite" in note for note in item.notes)
    assert "not finite" in figures(item)["drift_sqnr_db"].unavailable
    json.dumps(to_json(report), allow_nan=False)


def test_a_reference_that_proves_nothing(tmp_path: Path) -> None:
    same = tmp_path / "same.npz"
    np.savez(same, image=np.ones((5, 1, 8, 8), np.float32))
    model = MODELS / "tiny.onnx"
    report = profile([model], reference=model, data=str(same), measuring=QUICK)
    assert any("Output scores of the reference is the same for all samples" in note for note in report.notes)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"tiny\.tf: no such file"):
        profile([MODELS / "tiny.onnx", MODELS / "tiny.tf"])


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.runtimes()["litert"], "PACKAGES", ("numpy", "no_such_package"))
    with pytest.raises(MissingDependencyError, match="no_such_package") as caught:
        profile([MODELS / "tiny.tflite"])
    assert "edgekit[tflite]" in caught.value.hint


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["profile", *arguments], obj=State(), standalone_mode=False)


def test_the_command_prints_a_table(pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    model = str(MODELS / "tiny.onnx")
    arguments = ("--reference", str(MODELS / "tiny.tflite"), "--data", pictures, "--budget", "0.4", "-q")
    result = run(model, *arguments)
    assert result.exception is None
    assert result.return_value == 0
    for word in (
        "tiny.onnx",
        "p50",
        "p99",
        "95% CI",
        "memory",
        "SQNR",
        "accuracy",
        "1 thread",
        "load average",
    ):
        assert word in result.stdout, word
    assert result.stderr == ""
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run(model, *arguments).stdout
    assert max(map(len, narrow.split("ONNX Runtime")[0].splitlines())) <= 80
    assert "…" not in narrow


def test_the_command_prints_json_and_the_first_exit_code(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((MODELS / "tiny.tflite").read_bytes()[:2000])
    result = run(str(damaged), str(MODELS / "tiny.onnx"), "--budget", "0.4", "--json", "-q")
    assert result.return_value == 6
    report = from_json(Report, json.loads(result.stdout))
    assert len(report.profiles) == len(report.failures) == 1
    assert "damaged.tflite" in result.stderr


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """The real command, interrupted while it times."""
    scratch = tmp_path / "tmp"
    command = [sys.executable, "-P", "-m", "edgekit", "profile", str(MODELS / "tiny.onnx"), "--budget", "60"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)})
    assert process.stderr is not None
    for line in process.stderr:
        if "timing" in line:
            break
    time.sleep(0.3)
    assert agents(scratch)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "Interrupted" in process.stderr.read()
    process.stderr.close()
