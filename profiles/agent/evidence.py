"""What the kernel says about this process: memory, and whether a timed run was interrupted; on Linux alone.

Memory readings are in bytes. ``peak`` is the highest resident size since it was last reset; never
``ru_maxrss``, which is inherited through exec, so that a child of a large parent reports its parent's.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

_PROC = Path("/proc/self")
_RESET_PEAK = "5"  # see proc_pid_clear_refs(5)


def memory() -> dict[str, int | None]:
    """Resident size and its peak: ``rss_bytes``, ``peak_bytes``; ``None`` where the system does not say."""
    found: dict[str, int | None] = {"rss_bytes": None, "peak_bytes": None}
    try:
        status = (_PROC / "status").read_text()
    except OSError:
        return found  # no Linux
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            found["rss_bytes" if key == "VmRSS" else "peak_bytes"] = int(value.split()[0]) * 1024
    return found


def reset_peak() -> bool:
    """Forget the peak; whether the system allowed it is part of the record."""
    try:
        (_PROC / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


class Interruptions:
    """Counts what keeps this process from the CPU, over all its threads. Use as a context manager.

    Samples that took long are told apart by this evidence, not by their size: clipping the large ones would
    remove a runtime's own slow runs too.
    """

    def __enter__(self) -> Interruptions:
        self.files: list[int] = []
        try:
            tasks = list((_PROC / "task").iterdir())
        except OSError:
            return self  # no Linux
        for task in tasks:
            try:
                self.files.append(os.open(task / "schedstat", os.O_RDONLY))
            except OSError:
                continue  # the thread has ended, or the kernel keeps no such record
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            os.close(file)

    def switches(self) -> int:
        """How often the process was made to leave a CPU, so far."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def run_delay_ns(self) -> int | None:
        """Nanoseconds that threads were ready and did not run, so far; ``None`` where no record is kept."""
        if not self.files:
            return None
        total = 0
        for file in self.files:
            try:
                total += int(os.pread(file, 128, 0).split()[1])
            except OSError:
                continue  # a thread that has ended keeps its descriptor but not its record
        return total
