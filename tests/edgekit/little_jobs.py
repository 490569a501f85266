"""What the children of test_jobs.py do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from edgekit.errors import DataError


def add(a: int, b: int) -> int:
    return a + b


def echo(value: object) -> object:
    return value


def where() -> dict[str, object]:
    return {"cwd": str(Path.cwd()), "pid": os.getpid(), "path": sys.path, "frameworks": "numpy" in sys.modules}


def refuse() -> None:
    raise DataError("the data is blue", hint="paint it")


def refuse_with_a_cause() -> None:
    raise DataError("no room in the shed") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "shed/x.bin")


def stumble() -> None:
    print("the last thing it said")
    raise ZeroDivisionError("one by none")


def unserializable() -> object:
    return object()


def abort() -> None:
    print("about to abort", flush=True)
    os.abort()


def leave(code: int) -> None:
    os._exit(code)


def exit_politely() -> None:
    sys.exit("enough")


def kill_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.bin")


def write_until_full(path: str) -> None:
    with Path(path).open("wb") as file:
        for _ in range(1000):
            file.write(bytes(1 << 16))


def start_sleepers(pids: str, wait: bool) -> str:
    """A child in the job's group, one in a session of its own; their numbers go to a file."""
    sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
    started = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    write(pids, " ".join(map(str, (os.getpid(), *(child.pid for child in started)))))
    if wait:
        time.sleep(300)
    return "started"


def meet(own: str, other: str) -> bool:
    """Comes back when the other one runs at the same time."""
    Path(own).touch()
    wait_for(other)
    return True


def wait_for(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return Path(path).read_text()


def write(path: str, text: str) -> None:
    """At once, for a reader that waits for the file."""
    partial = Path(path + ".partial")
    partial.write_text(text)
    partial.rename(path)


def write_until_aborted(path: str) -> None:
    """As native code meets a full disk."""
    try:
        write_until_full(path)
    except OSError:
        os.abort()
