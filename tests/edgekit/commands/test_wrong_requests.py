"""Requests that cannot be met: operators, limits, outputs, full disks; told as text and as JSON."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check, left, line_of

from edgekit import convert

# What cannot be converted


def test_all_unsupported_operators_are_listed_with_their_place(run: Run) -> None:
    for package in ("litert_torch", "executorch"):
        pytest.importorskip(package, reason="needs the extras tflite and executorch")
    done = run("unsupported.pt2", to="all", output="out")
    place = f"(top) (code_of_user.py:{line_of('torch.linalg.eigvalsh')})"
    inner = f"first (code_of_user.py:{line_of('torch.linalg.inv')})"
    check(done, 4)
    lines = {line.split()[1]: line for line in done.err.splitlines() if line.startswith("failed: ")}
    assert set(lines) == {"tflite", "onnx", "executorch"}
    for target, line in lines.items():
        assert "of this model" in line
        assert f"eigh.default at {place}" in line, target
        assert f"linalg_inv_ex.default at {inner}" in line, target
        assert f"bessel_j0.default at {inner}" in line, target
        assert "with_effects" not in line


@pytest.mark.parametrize("name", ["training.pt2", "training.pt"])
def test_training_mode(run: Run, name: str) -> None:
    check(run(name), 5, f"{name}: the program was exported in training mode", "model.eval()")


def test_unknown_scheme(run: Run) -> None:
    check(run("net.pt2", "--quant", "int3"), 2, "--quant: there is no scheme 'int3'.", "There are float32, ")


def test_constant_output_is_not_passed(run: Run) -> None:
    said = "the source's own output is the same for all 8 inputs, so nothing can be proven"
    check(run("constant.pt2"), 7, "constant.float32.onnx was not handed over", said, "--no-verify")


def test_a_limit_that_nothing_can_reach(run: Run) -> None:
    done = run("net.pt2", "--min-sqnr", "300")
    check(done, 7, "net.float32.onnx was not handed over", "is below the limit of 300 dB", "--min-sqnr DB")


def test_one_failure_does_not_stop_the_others(run: Run, here: Path) -> None:
    np.savez(here / "data.npz", x=np.random.default_rng(3).standard_normal((16, 3, 8, 8), np.float32))
    done = run("net.pt2", "--quant", "float32", "--int8", "--data", "data.npz", "--min-sqnr", "90")
    assert done.code == 7
    assert "failed: onnx int8: net.int8.onnx was not handed over" in done.err
    assert left(here / "out") == ["net.float32.onnx", "net.float32.onnx.json"]


# The output


def test_existing_output(run: Run, here: Path) -> None:
    (here / "kept").mkdir()
    (here / "kept" / "net.float32.onnx").write_text("precious")
    check(run("net.pt2", output="kept"), 2, "kept/net.float32.onnx exists already.", "--force")
    assert (here / "kept" / "net.float32.onnx").read_text() == "precious"


def test_output_that_cannot_be_written(run: Run, here: Path) -> None:
    check(run("net.pt2", output="/proc/nowhere"), 2, "cannot make the folder /proc/nowhere")
    (here / "file").touch()
    check(run("net.pt2", output="file/deeper"), 2, "cannot make the folder file/deeper: Not a directory")


def test_output_disk_full(run: Run, tiny_disk: Path) -> None:
    (tiny_disk / "rest").write_bytes(bytes((256 << 10) - 4096))
    done = run("net.pt2", output=str(tiny_disk))
    check(done, 2, "net.float32.onnx: cannot be written: No space left on device", "--output FOLDER")
    assert left(tiny_disk) == ["rest"]


def test_temporary_disk_full(run: Run, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tiny_disk))
    (tiny_disk / "rest").write_bytes(bytes((256 << 10) - (64 << 10)))
    done = run("net.pt2")
    check(done, 2, f"The disk that holds temporary files is full ({tiny_disk}).", "TMPDIR=")
    assert left(tiny_disk) == ["rest"]


# --json


def test_json_on_errors(run: Run) -> None:
    done = run("weights.pt", "--json")
    check(done, 2, "error: weights.pt: weights alone")
    (failure,) = json.loads(done.out)["failures"]
    assert failure["error"] == "UsageError"
    assert failure["exit_code"] == 2
    assert failure["message"].startswith("weights.pt: weights alone")
    assert "--model" in failure["hint"]


def test_json_on_failures_of_a_target(run: Run) -> None:
    done = run("constant.pt2", "--json")
    check(done, 7)
    report = json.loads(done.out)
    assert report["artifacts"] == []
    assert [(failure["what"], failure["exit_code"]) for failure in report["failures"]] == [("onnx float32", 7)]


def test_json_on_wrong_options(run: Run) -> None:
    done = run("net.pt2", "--json", "--no-such-option")
    check(done, 2, "No such option")
    (failure,) = json.loads(done.out)["failures"]
    assert failure["error"] == "UsageError"
    assert "--no-such-option" in failure["message"]


def test_faults_of_edgekit_show_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise KeyError("inner")

    monkeypatch.setattr(convert, "destinations", fault)
    check(run("net.pt2"), 1, "Unexpected KeyError: 'inner'", "edgekit --debug")
