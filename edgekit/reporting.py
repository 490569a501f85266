"""How a job tells the command how far it is: a line in a file beside its log."""

from __future__ import annotations

import time
from pathlib import Path

SUFFIX = ".progress"
"""Of that file, which is called like the job otherwise."""

_EVERY_S = 0.1


class _Reporter:
    """The one of this process; silent until a job begins."""

    def __init__(self) -> None:
        self.file: Path | None = None
        self.last_s = 0.0


_REPORTER = _Reporter()


def report_to(file: Path) -> None:
    """Name the file that :func:`advance` writes."""
    _REPORTER.file = file


def advance(done: int, total: int, unit: str = "samples") -> None:
    """Say that ``done`` of ``total`` parts are finished; ten times a second at most.

    Args:
        done: Number of finished parts.
        total: Number of all parts.
        unit: What they are, where their rate says something to a user; else empty.
    """
    now = time.monotonic()
    if _REPORTER.file is None or (done < total and now - _REPORTER.last_s < _EVERY_S):
        return
    _REPORTER.last_s = now
    _REPORTER.file.write_text(f"{done} {total} {unit}")


def read(file: Path) -> tuple[int, int, str] | None:
    """What was last said there; ``None`` when nothing was, or it is just being written."""
    try:
        done, total, unit = file.read_text().split(" ")
    except (OSError, ValueError):
        return None
    return int(done), int(total), unit
