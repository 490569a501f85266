"""Runs commands and says what they cost; shared by the scripts beside it."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EDGEKIT = (sys.executable, "-P", "-m", "edgekit")


@dataclass(frozen=True)
class Cost:
    """What one command took, its children included.

    Attributes:
        wall_s: Seconds on the clock.
        cpu_s: Seconds of CPU, user and system, of the command and of all its descendants, orphans included.
        exit_code: As the shell sees it.
    """

    wall_s: float
    cpu_s: float
    exit_code: int


def run(command: Sequence[str], log: Path | None = None) -> Cost:
    """Run a command to its end; its output goes to ``log``, or nowhere."""
    adopt_orphans()
    with Path(log or os.devnull).open("wb") as sink:
        start = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    return Cost(wall, usage.ru_utime + usage.ru_stime + _cpu_of_orphans(), child.returncode)


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies first, to count their CPU time too (Linux)."""
    if sys.platform == "linux":
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _cpu_of_orphans() -> float:
    total = 0.0
    while True:
        try:
            _, _, usage = os.wait3(0)
        except ChildProcessError:
            return total
        total += usage.ru_utime + usage.ru_stime


def median_and_range(values: Sequence[float]) -> str:
    """``median (smallest to largest of n)``."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f} of {len(values)})"
