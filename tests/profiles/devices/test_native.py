from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from local_transport import LocalTransport
from tiny_models import IMAGE, MODELS

from edgekit import data, feeds, registry
from edgekit.device_plugins import ConnectOptions
from edgekit.errors import DeviceError, EdgekitError, MeasurementError
from edgekit.plugins import MetricInput
from profiles import rounds
from profiles.devices import _native_executorch, _native_tflite
from profiles.devices._native_dialect import Run
from profiles.devices._native_session import NativeSession
from profiles.devices._remote import RemoteDevice
from profiles.metrics import latency, memory

ROOT = Path(__file__).parent.parent.parent.parent
PROGRAMS = Path(__file__).with_name("native_programs.py")
OLD = """STARTING!
count=4 first=31000 curr=30500 min=30100 max=31000 avg=30600.5 std=300

count=50 first=29902 curr=29134 min=27275 max=31989 avg=2.95034e+04 std=1097

Inference timings in us: Init: 17187, First inference: 35123, Warmup (avg): 3.06005e+04, Inference (avg): 2.95034e+04
"""
NEW = """INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 median=1239807
INFO: Inference timings in us: Init: 5579, First inference: 1357602
"""
NO_WARM_UP = """INFO: count=0

INFO: count={count}

INFO: Inference timings in us: Init: 5579, First inference: 0, Warmup (avg): nan, Inference (avg): 1250.5
"""


def script(folder: Path, name: str) -> Path:
    program = folder / name
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {PROGRAMS} {name} "$@"\n')
    return program


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[RemoteDevice]:
    """A device without Python, and both programs."""
    home = tmp_path / "bare home"
    home.mkdir()
    (tmp_path / "scratch").mkdir()
    runners = tuple(script(tmp_path, name) for name in ("benchmark_model", "executor_runner"))
    options = ConnectOptions(scratch=tmp_path / "scratch", name="phone", runners=runners)
    with RemoteDevice(LocalTransport(home, python=False), options) as found:
        yield found
    runs = home / "edge kit" / "run"
    assert not runs.exists() or not list(runs.iterdir())


def opened(device: RemoteDevice, tmp_path: Path, model: str = "tiny.tflite") -> NativeSession:
    target = {".tflite": "tflite", ".pte": "executorch", ".onnx": "onnx"}[Path(model).suffix]
    session = device.open_session(MODELS / model, target, 1, None, tmp_path / "scratch", 60.0)
    assert isinstance(session, NativeSession)
    return session


def test_statistics_of_old_and_new_programs() -> None:
    old = _native_tflite.read(OLD, 4, 50)
    assert (old.ns, old.load_ns, old.first_ns) == ([29_503_400], 17_187_000, 35_123_000)
    assert _native_tflite.read(NEW, 1, 50).ns == [1_239_807_000]
    with pytest.raises(ValueError, match="no line with count="):
        _native_tflite.read("Segmentation fault", 0, 1)


@pytest.mark.parametrize("count", ["1 curr=1300", "2 curr=1300(all same)", "2 first=1300 curr=1201 min=1201 max=1300"])
def test_the_first_run_of_a_program_without_warm_up_is_not_zero(count: str) -> None:
    found = _native_tflite.read(NO_WARM_UP.format(count=count), 0, int(count[0]))
    assert (found.first_ns, found.load_ns) == (1_300_000, 5_579_000)


def test_times_of_executorch_old_and_new() -> None:
    new = "".join(f"I 00 executor_runner.cpp:1] Iteration {number} of 3: {number}.5 ms\n" for number in (1, 2, 3))
    assert _native_executorch.read(new, 1, 2).ns == [2_500_000, 3_500_000]
    old = _native_executorch.read("I 00 x] Model executed successfully 4 time(s) in 10.000000 ms.", 1, 3)
    assert (old.ns, old.load_ns, old.first_ns) == ([2_500_000], None, None)
    with pytest.raises(ValueError, match="executed successfully"):
        _native_executorch.read("E 00 Loading failed", 0, 1)
    with pytest.raises(ValueError, match="logcat"):
        _native_executorch.read("OutputX 0: tensor(sizes=[1, 2], [0.5, 0.25])", 0, 1)


def test_names_of_tensors_never_reach_the_command_line() -> None:
    run = Run("benchmark_model", "model.tflite", 1, 0, 1, (("0.bin", (1, 8)), ("1.bin", (2,))), "out")
    words = _native_tflite.command(run)
    assert "--input_layer=input0,input1" in words
    assert "--input_layer_shape=1,8:2" in words
    assert "--input_layer_value_files=input0:0.bin,input1:1.bin" in words


@pytest.mark.parametrize("model", ["tiny.tflite", "tiny.pte"])
def test_a_file_runs_and_its_outputs_come_back(bare: RemoteDevice, tmp_path: Path, model: str) -> None:
    target = {"tiny.tflite": "tflite", "tiny.pte": "executorch"}[model]
    images = feeds.write(tmp_path / "images", data.random_feeds(IMAGE, 3, 0, {}))
    with registry.host().open_session(MODELS / model, target, 1, None, tmp_path, 60.0) as here:
        expected = feeds.read(here.outputs(images, tmp_path / "here"))
        names = [one.name for one in here.signature.inputs]
    with opened(bare, tmp_path, model) as session:
        assert len(session.signature.inputs) == len(names)
        raw = {"start": session.ready(), "load": session.load(), "first": session.first(images)}
        assert raw["first"]["first_ns"] > 0
        assert any("shell and not of an app" in note for note in raw["load"]["notes"])
        (timing,) = rounds.measure([session], budget_s=3.0, seed=0, on_progress=lambda done: None)
        assert timing.error is None
        turn = {**session.time(0, 5), "round": 0, "sentinel_ns": None}
        found = feeds.read(session.outputs(images, tmp_path / "there"))
    for mine, theirs in zip(found.arrays.values(), expected.arrays.values(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    given = MetricInput(MODELS / model, {}, {**raw, "turns": timing.turns})
    figures = {one.metric: one for one in (*latency.measure(given), *memory.measure(given))}
    assert figures["latency_p50_ns"].value
    assert figures["peak_memory_bytes"].value is None
    tail = {one.metric: one for one in latency.measure(MetricInput(MODELS / model, {}, {**raw, "turns": [turn]}))}
    if model == "tiny.tflite":  # it prints a median alone, and no tail can be made of medians
        assert "no single runs" in tail["latency_p99_ns"].unavailable
    else:
        assert len(turn["ns"]) == 5


def test_what_a_program_does_not_say_has_a_reason(bare: RemoteDevice, tmp_path: Path) -> None:
    with opened(bare, tmp_path) as session:
        assert session.undelegated() is None
        assert session.sentinel()["sentinel_ns"] == []
        assert "does not say" in session.peak(1)["unavailable"]
        assert "does not say" in session.operators(tmp_path, 3)["unavailable"]
        assert session.conditions()["load_average"] is not None
        with pytest.raises(MeasurementError, match="cannot be timed after pauses"):
            session.idle(0.1, 1)


def test_a_program_that_prints_nothing_is_told(bare: RemoteDevice, tmp_path: Path) -> None:
    (tmp_path / "benchmark_model").write_text("#!/bin/sh\necho usage: something else\n")
    with pytest.raises(MeasurementError, match="benchmark_model on phone printed no time"):
        opened(bare, tmp_path).load()


def test_a_program_that_fails_is_told_with_its_last_line(bare: RemoteDevice, tmp_path: Path) -> None:
    (tmp_path / "benchmark_model").write_text("#!/bin/sh\necho 'ERROR: unresolved custom op' >&2\nexit 1\n")
    with pytest.raises(MeasurementError, match="exit code 1: ERROR: unresolved custom op"):
        opened(bare, tmp_path).load()


def test_a_format_without_a_program_is_refused_by_name(bare: RemoteDevice, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="nobody offers a program of its own for ONNX") as caught:
        opened(bare, tmp_path, "tiny.onnx")
    assert "TFLite" in caught.value.hint


def test_a_program_in_the_folder_of_settings_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "scratch").mkdir()
    options = ConnectOptions(scratch=tmp_path / "scratch", name="x")
    with RemoteDevice(LocalTransport(home, python=False), options) as device:
        with pytest.raises(EdgekitError, match="no Python to run TFLite"):
            opened(device, tmp_path)
        folder = tmp_path / "config" / "runners" / platform.machine()
        folder.mkdir(parents=True)
        script(folder, "benchmark_model")
        with opened(device, tmp_path) as session:
            assert session.load()["load_ns"]
