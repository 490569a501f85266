"""What a user does with a device, on an emulated arm64 machine with a real sshd and a real adbd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_files import DIGITS, digits_files
from lab import SSH, Lab

ADB = "adb:127.0.0.1:5555"
LEAST_DB = 100.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_files(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few samples: everything is fifty times as slow there."""
    whole = np.load(DIGITS / "test.npz")
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, **{name: whole[name][:60] for name in whole.files})
    return path


@pytest.fixture(scope="module", params=[SSH, ADB])
def ready(lab: Lab, request: pytest.FixtureRequest) -> str:
    """The address of a device that was set up from a folder of wheels, without network."""
    address: str = request.param
    done = lab.edgekit("devices", "setup", address, "--wheels", lab.place / "wheels", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["runtimes"]) == {"litert", "onnxruntime"}
    again = json.loads(lab.edgekit("devices", "setup", address, "--wheels", lab.place / "wheels", "--json").stdout)
    assert again["reused"]
    assert again["sent_bytes"] == 0
    return address


def test_check_says_what_a_device_is_and_that_it_is_emulated(lab: Lab, ready: str) -> None:
    done = lab.edgekit("devices", "check", ready, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["devices"]
    assert found["usable"]
    assert found["facts"]["machine"] == "aarch64"
    assert found["facts"]["emulated"]
    assert found["facts"]["libc"].startswith("glibc")
    states = {one["what"]: one["state"] for one in found["remarks"]}
    assert states["litert"] == states["onnxruntime"] == "ok"
    assert states["emulated"] == "warning"


def figures_of(item: dict[str, Any]) -> dict[str, float | None]:
    return {one["metric"]: one["value"] for one in item["measurements"]}


def test_profile_gives_the_figures_and_the_drift_of_arm64(lab: Lab, ready: str, files: Path, data: Path) -> None:
    names = ["digits.float32.tflite", "digits.int8.tflite", "digits.float32.onnx"]
    arguments = ["--device", ready, "--reference", DIGITS / "digits.pt", "--model", f"{DIGITS / 'model.py'}:Digits"]
    more = ["--data", data, "--quick", "--json"]
    done = lab.edgekit("profile", *(files / name for name in names), *arguments, *more)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (place,) = report["devices"]
    assert place["facts"]["emulated"]
    assert place["facts"]["address"] == ready
    assert any("emulated" in note for note in place["notes"])
    drift = {Path(item["path"]).name: item["drift"][0]["sqnr_db"] for item in report["profiles"]}
    assert drift["digits.float32.tflite"] >= LEAST_DB
    assert drift["digits.float32.onnx"] >= LEAST_DB
    assert 30 < drift["digits.int8.tflite"] < 60
    for figures in map(figures_of, report["profiles"]):
        assert figures["latency_p50_ns"]
        assert figures["accuracy"]


def test_arm64_computes_what_x86_does(lab: Lab, ready: str, files: Path, data: Path) -> None:
    """The same file here and there: what is left is the order in which kernels add up."""
    path = files / "digits.float32.onnx"
    done = lab.edgekit("profile", path, "--reference", path, "--device", ready, "--data", data, "--quick", "--json")
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(done.stdout)["profiles"]
    sqnr = item["drift"][0]["sqnr_db"]
    assert sqnr is None or sqnr >= LEAST_DB  # None: bit-equal


def test_two_devices_in_one_table_have_no_verdict_on_emulated_times(lab: Lab, ready: str, files: Path) -> None:
    names = [files / "digits.float32.tflite", files / "digits.int8.tflite"]
    done = lab.edgekit("compare", *names, "--device", "host", "--device", ready, "--quick", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [place["name"] for place in report["devices"]] == ["host", ready]
    assert len(report["profiles"]) == 4
    verdicts = {(one["device"], one["baseline_device"]): one["verdict"] for one in report["comparisons"]}
    assert verdicts[ready, ready] == verdicts[ready, "host"] == "inconclusive"
    assert verdicts["host", "host"] != "inconclusive" or any(
        "rounds" in one["reason"] for one in report["comparisons"] if one["device"] == "host"
    )


def test_a_file_that_cannot_run_there_has_its_exit_code(lab: Lab, ready: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken;touch hurt.tflite"
    content = bytearray((DIGITS / "digits.pt").read_bytes()[:4000])
    content[4:8] = b"TFL3"
    broken.write_bytes(content)
    done = lab.edgekit("profile", broken, "--device", ready, "--quick", "--json")
    assert done.returncode == 6, done.stderr
    assert "LiteRT on" in json.loads(done.stdout)["failures"][0]["message"]
    assert not list(tmp_path.rglob("hurt"))


def test_nothing_is_left_there(lab: Lab, ready: str) -> None:
    home = lab.pi / ("data/local/tmp/edgekit" if ready == ADB else "root/.cache/edgekit")
    assert (home / "files").is_dir()
    assert not list((home / "run").iterdir())
