"""What the kernel says about this process: memory, and whether a timed run was interrupted; on Linux alone.

Memory readings are in bytes. ``peak`` is the highest resident size since it was last reset; never
``ru_maxrss``, which is inherited through exec, so that a child of a large parent reports its parent's.

Pages of program code are counted apart. A runtime's libraries come into memory page by page, as they are first
called: 3 to 9 MB while the first file is loaded and run, which is no property of that file.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

_PROC = Path("/proc/self")
_RESET_PEAK = "5"  # see proc_pid_clear_refs(5)
_KEYS = ("rss_bytes", "peak_bytes", "code_bytes", "pss_bytes", "uss_bytes")


def memory() -> dict[str, int | None]:
    """What this process has in memory now, in bytes; ``None`` where the system does not say.

    Returns:
        ``rss_bytes``, the resident size, and ``peak_bytes``, its peak, with the pages of libraries;
        ``code_bytes``, unchanged pages of libraries among them;
        ``pss_bytes``, each page but those divided by the number of processes that have it;
        ``uss_bytes``, each page but those that no other process has.
    """
    found: dict[str, int | None] = dict.fromkeys(_KEYS)
    found.update(_mappings())  # first, for what reading it takes is then in the other figures, each time
    try:
        status = (_PROC / "status").read_text()
    except OSError:
        return found  # no Linux
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            found["rss_bytes" if key == "VmRSS" else "peak_bytes"] = int(value.split()[0]) * 1024
    return found


class _Mapped:
    """All mappings of one file, or all that are of none."""

    def __init__(self) -> None:
        self.is_code = False
        self.kib = dict.fromkeys((b"Rss", b"Anonymous", b"Pss", b"Private_Clean", b"Private_Dirty"), 0)


def _mappings() -> dict[str, int]:
    """Sums over ``/proc/self/smaps`` (see proc_pid_smaps(5)); empty where there is none.

    A file is code when any part of it may be executed: a library, not a model that is mapped into memory. Pages of
    a library that were written to are this process's own, and counted as such.
    """
    files: dict[bytes, _Mapped] = {}
    current = _Mapped()
    try:
        with (_PROC / "smaps").open("rb") as lines:
            for line in lines:
                key, _, value = line.partition(b":")
                if key in current.kib:
                    current.kib[key] += int(value.split()[0])
                elif b"-" in key and b" " in key:  # 7f00-7f10 r-xp 00000000 fe:00 1234   /lib/libx.so
                    fields = line.split(maxsplit=5)
                    name = b"" if fields[4] == b"0" else fields[5]
                    current = files.setdefault(name, _Mapped())
                    current.is_code = current.is_code or (name != b"" and b"x" in fields[1])
    except OSError:
        return {}
    code = pss = uss = 0
    for mapped in files.values():
        kib = mapped.kib
        if mapped.is_code:
            code += kib[b"Rss"] - kib[b"Anonymous"]
            pss += kib[b"Anonymous"]  # changed pages are private, but for the moment after a fork
            uss += kib[b"Anonymous"]
        else:
            pss += kib[b"Pss"]
            uss += kib[b"Private_Clean"] + kib[b"Private_Dirty"]
    if code + pss == 0:
        return {}  # an emulator that knows the file, and no sizes
    return {"code_bytes": code * 1024, "pss_bytes": pss * 1024, "uss_bytes": uss * 1024}


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
