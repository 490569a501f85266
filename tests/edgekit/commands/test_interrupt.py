"""Ctrl-C in the middle of a conversion."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conversion import left

PATIENCE_S = 60.0


def processes_that_mention(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("read and export", signal.SIGINT),
        ("read and export", signal.SIGTERM),
        ("torch.export -> ONNX", signal.SIGINT),
        ("verify", signal.SIGINT),
    ],
)
def test_interrupt_leaves_no_child_and_no_file(here: Path, tmp_path: Path, stage: str, number: int) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["weights.pt", "--model", "code_of_user.py:Net", "--input", "1,3,8,8"]
    if stage == "read and export":
        arguments[2] = "code_of_user.py:sleepy"
    elif stage == "verify":
        arguments[2:5] = ["code_of_user.py:Slow", "--input", "1,3,32,32"]
    command = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "convert", *arguments, "--to", "onnx", "--output", "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert command.stderr is not None
    for line in command.stderr:
        if line.startswith("… ") and stage in line:
            break
    if stage == "read and export":
        deadline = time.monotonic() + PATIENCE_S
        while not (here / "asleep").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    command.send_signal(number)
    out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    assert processes_that_mention(str(scratch)) == []
    assert left(scratch) == []
    assert left(here / "out") == [], err
