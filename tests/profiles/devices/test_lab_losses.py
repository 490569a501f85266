"""What goes wrong between a host and a device, on the emulated machine; nothing may be left there afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import SSH, Lab

FAULTS = Path(__file__).with_name("lab_faults.py")
TIMING = "warm-up and timing"
MODEL = Path(__file__).parent.parent / "models" / "tiny.tflite"


@dataclass(frozen=True)
class Outcome:
    code: int
    report: dict[str, Any]
    stderr: str

    @property
    def message(self) -> str:
        return " ".join(f"{one['message']} {one['hint']}" for one in self.report.get("failures", []))

    @property
    def notes(self) -> str:
        return " ".join(note for place in self.report["devices"] for note in place["notes"])


@pytest.fixture(scope="module", autouse=True)
def ready(lab: Lab) -> None:
    done = lab.edgekit("devices", "setup", SSH, "--wheels", lab.place / "wheels")
    assert done.returncode == 0, done.stderr


def measured(lab: Lab, fault: str, when: str = "", *arguments: str | Path, **environment: str) -> Outcome:
    """Profile a small model while something happens; whatever does, nothing is left running or lying about."""
    command = arguments or ("profile", MODEL, "--device", SSH, *(("--budget", "6") if when else ("--quick",)))
    words = [sys.executable, FAULTS, fault, when, sys.executable, "-m", "edgekit", *command, "--json"]
    done = lab.run(words, **environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["done"], found["stderr"]
    assert found["running"] == []
    assert found["folders"] == []
    return Outcome(found["code"], json.loads(found["stdout"] or "{}"), found["stderr"])


LONG = pytest.mark.skipif("EDGEKIT_LAB_LONG" not in os.environ, reason="takes minutes: EDGEKIT_LAB_LONG=1")


@pytest.mark.parametrize(
    "fault",
    ["kill-sessions", pytest.param("restart-servers", marks=LONG), pytest.param("freeze-sessions", marks=LONG)],
)
def test_a_connection_that_is_lost_in_the_middle_costs_nothing_but_time(lab: Lab, fault: str) -> None:
    command = ("profile", MODEL, MODEL.with_suffix(".onnx"), "--device", SSH, "--budget", "6")
    found = measured(lab, fault, TIMING, *command)
    assert found.code == 0, found.stderr
    assert found.notes.count("the connection was lost once") == 1
    assert found.stderr.count("trying to get it back") == 1
    for one in found.report["profiles"]:
        assert len(one["turns"]) > 5


def test_a_server_that_stays_away_ends_the_command(lab: Lab) -> None:
    found = measured(lab, "kill-all-servers", TIMING)
    assert found.code == 8, found.stderr
    assert "did not come back" in found.message
    assert "type the same command again" in found.message


def test_a_killed_agent_is_a_failure_of_the_file(lab: Lab) -> None:
    found = measured(lab, "kill-agent", TIMING)
    assert found.code == 6, found.stderr
    assert f"in LiteRT on {SSH} was killed by SIGKILL" in found.message


def test_an_agent_that_stands_still_is_a_failure_of_the_file(lab: Lab) -> None:
    found = measured(lab, "freeze-agent", TIMING, "profile", MODEL, "--device", SSH, "--timeout", "20")
    assert found.code == 6, found.stderr
    assert "was stopped after the time limit of 20 s" in found.message


@pytest.mark.parametrize(("fault", "code"), [("interrupt", 130), ("kill-edgekit", -9)])
def test_a_command_that_ends_early_leaves_nothing(lab: Lab, fault: str, code: int) -> None:
    assert measured(lab, fault, TIMING).code == code


def test_a_large_model_is_sent_once(lab: Lab, tmp_path: Path) -> None:
    import numpy as np
    import onnx

    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    table = onnx.numpy_helper.from_array(np.zeros((6_250_000, 4), np.float32), "table")
    place = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "place")
    nodes = [
        onnx.helper.make_node("Gather", ["table", "place"], ["row"]),
        onnx.helper.make_node("Add", ["x", "row"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "large", tensors[:1], tensors[1:], [table, place])
    opset = onnx.helper.make_opsetid("", 17)
    model = tmp_path / "large; touch hurt.onnx"
    model.write_bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
    kept = lab.pi / "root/.cache/edgekit/files" / f"{hashlib.sha256(model.read_bytes()).hexdigest()[:40]}-model.onnx"
    kept.unlink(missing_ok=True)
    try:
        for times in (1, 0):
            found = measured(lab, "nothing", "", "profile", model, "--device", SSH, "--quick")
            assert found.code == 0, found.stderr
            assert found.stderr.count(f"… send {model.name} to {SSH}") == times
            assert kept.stat().st_size == model.stat().st_size > 100_000_000
    finally:
        kept.unlink(missing_ok=True)


def test_a_full_disk(lab: Lab) -> None:
    found = measured(lab, "full-disk")
    assert found.code == 8, found.stderr
    assert "its disk is full: agent.pyz needs" in found.message
    assert "MB are free" in found.message
    assert "--clean" in found.message


def test_no_python(lab: Lab) -> None:
    found = measured(lab, "no-python")
    assert found.code == 8, found.stderr
    assert "there is no Python to run TFLite files" in found.message
    assert "--runner" in found.message
    checked = measured(lab, "no-python", "", "devices", "check", SSH)
    assert checked.code == 8
    assert "There is no Python." in json.dumps(checked.report)


def test_a_wheel_for_another_processor(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "numpy-2.0.0-cp311-cp311-manylinux_2_17_x86_64.whl").write_bytes(b"")
    found = measured(lab, "nothing", "", "devices", "setup", SSH, "--runtime", "onnxruntime", "--wheels", tmp_path)
    assert found.code == 8, found.stderr
    assert "has no wheel of numpy for Python 3.11, manylinux_2_36_aarch64" in found.message


def test_a_wheel_that_says_it_fits_and_does_not(lab: Lab, tmp_path: Path) -> None:
    for wheel in (lab.place / "wheels").glob("*.whl"):
        if not wheel.name.startswith("ai_edge_litert"):
            (tmp_path / wheel.name).symlink_to(wheel)
    library = next(Path(sys.prefix).rglob("_posixshmem*.so"), None) or next(Path(sys.prefix).rglob("*.so"))
    with zipfile.ZipFile(tmp_path / "ai_edge_litert-9.9.0-py3-none-any.whl", "w") as archive:
        archive.writestr("ai_edge_litert/__init__.py", "")
        archive.write(library, "ai_edge_litert/native.so")
        code = "import ctypes, pathlib\nctypes.CDLL(str(pathlib.Path(__file__).with_name('native.so')))\n"
        archive.writestr("ai_edge_litert/interpreter.py", code)
        head = "Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 9.9.0\n"
        archive.writestr("ai_edge_litert-9.9.0.dist-info/METADATA", head)
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("ai_edge_litert-9.9.0.dist-info/WHEEL", tag)
        archive.writestr("ai_edge_litert-9.9.0.dist-info/RECORD", "")
    found = measured(lab, "nothing", "", "devices", "setup", SSH, "--runtime", "litert", "--wheels", tmp_path)
    assert found.code == 8, found.stderr
    assert "litert 9.9.0 does not work there" in found.message
    assert "Is it for this processor" in found.message
    assert measured(lab, "nothing", "", "devices", "check", SSH).code == 0  # what was there before is there still


def test_a_host_key_that_changed(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:2222 {kind} {key}\n")
    found = measured(lab, "nothing", LAB_KNOWN_HOSTS=str(tmp_path / "known_hosts"))
    assert found.code == 8, found.stderr
    assert "host key is not the one that is known" in found.message
    assert "ssh-keygen -R" in found.message


def test_no_permission(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    found = measured(lab, "nothing", LAB_KEY=str(tmp_path / "other"))
    assert found.code == 8, found.stderr
    assert "does not let you in" in found.message
    assert "ssh-copy-id" in found.message


def test_a_wrong_clock_does_no_harm(lab: Lab) -> None:
    assert measured(lab, "wrong-clock").code == 0
    checked = measured(lab, "wrong-clock", "", "devices", "check", SSH)
    assert checked.code == 0
    assert "Its clock is off" in json.dumps(checked.report)


def test_start_up_files_that_talk_do_no_harm(lab: Lab) -> None:
    found = measured(lab, "noise", "", "profile", MODEL, "--device", SSH, "--quick", "--reference", MODEL)
    assert found.code == 0, found.stderr
    assert found.report["profiles"][0]["drift"]
