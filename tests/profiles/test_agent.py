from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_models import MODELS, OpenSession

from edgekit import feeds
from edgekit.errors import MeasurementError
from edgekit.feeds import Feeds
from edgekit.types import TensorSpec
from profiles.devices import _agent_zip

FORMATS = ("tiny.tflite", "tiny.onnx", "tiny.pte")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for_death(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


@pytest.mark.parametrize("model", FORMATS)
def test_a_session_from_import_to_outputs(model: str, open_session: OpenSession, images: Path, tmp_path: Path) -> None:
    with open_session(model) as session:
        started = session.ready()
        assert started["versions"]["numpy"] == np.__version__
        assert started["memory"]["rss_bytes"] > 0
        assert session.signature.inputs == (TensorSpec("image", (1, 1, 8, 8), "float32"),)
        assert session.signature.outputs == (TensorSpec("scores", (1, 4), "float32"),)
        first = session.first(images)
        assert first["first_ns"] > 0
        assert first["memory"]["peak_bytes"] >= started["memory"]["rss_bytes"]
        timed = session.time(3, 7)
        assert len(timed["ns"]) == len(timed["switches"]) == len(timed["run_delay_ns"]) == 7
        assert all(isinstance(value, int) and value > 0 for value in timed["ns"])
        outputs = feeds.read(session.outputs(images, tmp_path / "outputs"))
        assert outputs.arrays["scores"].shape == (6, 1, 4)


def test_three_runtimes_compute_the_same(open_session: OpenSession, images: Path, tmp_path: Path) -> None:
    found = []
    for model in FORMATS:
        with open_session(model) as session:
            folder = session.outputs(images, tmp_path / model)
            found.append(np.asarray(feeds.read(folder).arrays["scores"]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


def test_a_program_without_names_is_bound_by_position(open_session: OpenSession, images: Path, tmp_path: Path) -> None:
    with open_session("bare.pte") as session:
        assert [spec.name for spec in session.signature.inputs] == ["input_0"]
        assert session.load()["notes"] == ["the file names no inputs and outputs"]
        outputs = feeds.read(session.outputs(images, tmp_path / "outputs"))
    assert list(outputs.arrays) == ["output_0"]


def test_inputs_are_bound_by_name_and_open_sizes_taken(open_session: OpenSession, tmp_path: Path) -> None:
    a, b = np.ones((2, 5, 3), np.float32), np.arange(30, dtype=np.int64).reshape(2, 5, 3)
    given = feeds.write(tmp_path / "given", Feeds({"b": b, "a": a}))
    with open_session("sum.onnx") as session:
        assert session.signature.inputs[1] == TensorSpec("b", (None, 3), "int64")
        outputs = feeds.read(session.outputs(given, tmp_path / "outputs"))
    np.testing.assert_array_equal(outputs.arrays["total"], a + b)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((2, 1, 1, 9, 9), np.float32)}, "float32[1,1,8,8]"),
        ({"image": np.zeros((2, 1, 1, 8, 8), np.float64)}, "float64[1,1,8,8]"),
        ({"a": np.zeros((2, 1)), "b": np.zeros((2, 1))}, "1 expected (image), 2 given (a, b)"),
    ],
)
def test_samples_that_do_not_fit(
    arrays: dict[str, np.ndarray], words: str, open_session: OpenSession, tmp_path: Path
) -> None:
    given = feeds.write(tmp_path / "given", Feeds(arrays))
    with open_session("tiny.onnx") as session, pytest.raises(MeasurementError) as caught:
        session.first(given)
    assert words in caught.value.message
    assert "in its first run" in caught.value.message


@pytest.mark.parametrize("model", FORMATS)
def test_a_damaged_file(model: str, open_session: OpenSession, tmp_path: Path) -> None:
    whole = (MODELS / model).read_bytes()
    damaged = tmp_path / f"damaged{Path(model).suffix}"
    damaged.write_bytes(whole[: len(whole) // 3])
    with open_session(damaged) as session, pytest.raises(MeasurementError) as caught:
        session.load()
    assert str(damaged) in caught.value.message
    assert "loading the file" in caught.value.message
    assert Path(caught.value.log).is_file()
    assert caught.value.exit_code == 6


def test_an_agent_that_is_killed(open_session: OpenSession, images: Path) -> None:
    session = open_session("tiny.onnx")
    session.first(images)
    os.kill(session.process.pid, signal.SIGKILL)
    with pytest.raises(MeasurementError, match=r"was killed by SIGKILL, in timed runs") as caught:
        session.time(1, 1)
    assert "tiny.onnx" in caught.value.message
    assert "ONNX Runtime" in caught.value.message


def test_an_agent_that_hangs(open_session: OpenSession) -> None:
    session = open_session("tiny.onnx")
    session.load()  # an import on a busy machine takes its time
    session.timeout_s = 1.0
    os.kill(session.process.pid, signal.SIGSTOP)
    with pytest.raises(MeasurementError, match="time limit of 1 s"):
        session.time(0, 1)
    assert not alive(session.process.pid)


def test_an_agent_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from edgekit import registry\n"
        "open_session = registry.host().open_session\n"
        f"model, scratch = Path({str(MODELS / 'tiny.onnx')!r}), Path({str(tmp_path)!r})\n"
        "session = open_session(model, 'onnx', 1, None, scratch, 60)\n"
        "session.load()\n"
        # A stopped agent cannot notice that its stdin has ended: the kernel must do it.
        "os.kill(session.process.pid, signal.SIGSTOP)\n"
        "print(session.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_for_death(int(done.stdout))


def test_an_agent_outlives_the_thread_that_asked_for_it(open_session: OpenSession) -> None:
    opened = []
    thread = threading.Thread(target=lambda: opened.append(open_session("tiny.onnx")))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert opened[0].load()["load_ns"] > 0


def test_an_agent_ends_when_its_stdin_does(open_session: OpenSession) -> None:
    session = open_session("tiny.onnx")
    session.load()
    assert session.process.stdin is not None
    session.process.stdin.close()
    assert session.process.wait(timeout=10) == 0


def test_what_others_print_is_no_answer(
    open_session: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start-up code that prints, as a shell profile on a device does, and a library that prints later."""
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text(
        "import sys, threading\n"
        "print('Welcome to this computer')\n"
        "sys.stdout.flush()\n"
        "threading.Timer(1.0, lambda: print('a late word', flush=True)).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(noisy))
    with open_session("tiny.onnx") as session:
        assert session.load()["load_ns"] > 0
        deadline = time.monotonic() + 10
        while "a late word" not in session.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert session.undelegated() == ()
        assert "a late word" in session.log.read_text()


def test_the_archive_is_small_reproducible_and_python_3_9(tmp_path: Path) -> None:
    contents = _agent_zip.contents()
    names = set(contents)
    assert {
        "__main__.py",
        "profiles/agent/main.py",
        "profiles/runtimes/litert.py",
        "edgekit/feeds.py",
    } <= names
    assert {name.split("/")[0] for name in names} == {"__main__.py", "profiles", "edgekit"}
    assert sorted(name for name in names if name.startswith("edgekit/")) == [
        "edgekit/__init__.py",
        "edgekit/feeds.py",
    ]
    for name, data in contents.items():
        ast.parse(data, name, feature_version=(3, 9))
    first, second = _agent_zip.write(tmp_path / "a.pyz"), _agent_zip.write(tmp_path / "b.pyz")
    assert first.read_bytes() == second.read_bytes()


def test_the_job_is_all_that_an_agent_needs(tmp_path: Path) -> None:
    """It is what a device gets: a zip file and a JSON file, and no edgekit beside them."""
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": "nowhere.onnx", "runtime": "onnxruntime", "threads": 1, "parent": None}))
    done = subprocess.run(
        [sys.executable, "-P", str(_agent_zip.write(tmp_path / "agent.pyz")), str(job)],
        input=b'{"op": "load"}\n{"op": "nonsense"}\n{"op": "quit"}\n',
        capture_output=True,
        cwd=tmp_path,
        check=True,
    )
    started, load, nonsense = map(json.loads, done.stdout.splitlines())
    assert started["import_ns"] > 0
    assert load["error"]["type"] == "NoSuchFile"
    assert nonsense["error"]["type"] == "AttributeError"
    assert b"Traceback" in done.stderr
