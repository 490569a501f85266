"""Runs beside the emulated machine: starts an edgekit command, does something to the machine, says what came of it.

Called as ``lab_faults.py FAULT WHEN COMMAND...``: the fault is done when a line with ``WHEN`` appears on stderr, or
before the command where that is empty. Prints JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PI = Path(os.environ["LAB_PI"])
HOME = PI / "root" / ".cache" / "edgekit"
GRACE_S = 75.0
"""A keeper that hears nothing any more takes a minute to know."""


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of each process here, by its number."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(place.name)] = (parent, (place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has just ended
    return found


def named(*words: str) -> list[int]:
    own = os.getpid()
    return [pid for pid, (_, line) in processes().items() if pid != own and all(word in line for word in words)]


def kill_sessions() -> None:
    """The servers of connections, not the one that listens."""
    all_ = processes()
    servers = [pid for pid in all_ if ("sshd" in all_[pid][1] and "qemu" not in all_[pid][1].split(" ")[0]) or False]
    servers = servers or [pid for pid in all_ if "/usr/sbin/sshd" in all_[pid][1]]
    for pid in servers:
        if all_[pid][0] in servers:
            os.kill(pid, signal.SIGKILL)


def kill_all_servers() -> None:
    for pid in named("sshd"):
        if "lab_faults" not in processes().get(pid, (0, "lab_faults"))[1]:
            os.kill(pid, signal.SIGKILL)


def restart_servers() -> None:
    """As a board that is switched off and on again, but for the programs on it."""
    kill_all_servers()
    time.sleep(3)
    subprocess.Popen(["chroot", str(PI), "/usr/sbin/sshd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def freeze_sessions() -> None:
    """As a cable that is pulled: neither side hears of the other, and nobody says that it ends."""
    for pid in named("sshd", " -R"):
        os.kill(pid, signal.SIGSTOP)


def freeze_agent() -> None:
    for pid in named("model.pyz", "job.kept.json"):
        os.kill(pid, signal.SIGSTOP)


def kill_agent() -> None:
    for pid in named("model.pyz", "job.kept.json"):
        os.kill(pid, signal.SIGKILL)


def mount(source: Path | str, target: Path, *options: str) -> None:
    subprocess.run(["mount", *options, str(source), str(target)], check=True)


def covered(target: Path, text: str) -> None:
    """Another file in the place of one on the machine, for this run alone."""
    content = Path(os.environ["HOME"]) / f"covers-{target.name}"
    content.write_text(text)
    content.chmod(0o755)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(content, target, "--bind")


def full_disk() -> None:
    mount("none", HOME / "files", "-t", "tmpfs", "-o", "size=64k")


def no_python() -> None:
    mount("/dev/null", PI / "usr" / "bin" / "python3.11", "--bind")


def wrong_clock() -> None:
    covered(PI / "usr" / "bin" / "date", "#!/bin/sh\necho 1000\n")
    covered(PI / "etc" / "python3.11" / "sitecustomize.py", "import time\ntime.time = lambda: 1000.0\n")


def noise() -> None:
    lines = (
        "echo 'Welcome <b>{\"error\": 1}</b>'; printf '\\033[31mred\\033]0;title\\007\\n'; "
        "echo '{}'; echo '{\"error\": 1}'; echo bad >&2\n"
    )
    covered(PI / "root" / ".bashrc", lines)
    covered(PI / "root" / ".ssh" / "rc", lines)


FAULTS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "kill-sessions": kill_sessions,
    "kill-all-servers": kill_all_servers,
    "restart-servers": restart_servers,
    "freeze-sessions": freeze_sessions,
    "freeze-agent": freeze_agent,
    "kill-agent": kill_agent,
    "full-disk": full_disk,
    "no-python": no_python,
    "wrong-clock": wrong_clock,
    "noise": noise,
}


def main() -> None:
    fault, when, *command = sys.argv[1:]
    if not when:
        FAULTS[fault]()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []

    def act() -> None:
        time.sleep(2)
        if fault == "interrupt":
            process.send_signal(signal.SIGINT)
        elif fault == "kill-edgekit":
            process.kill()
        else:
            FAULTS[fault]()

    done = not when

    def follow() -> None:
        nonlocal done
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if not done and when in line:
                done = True
                threading.Thread(target=act).start()

    following = threading.Thread(target=follow)
    following.start()
    assert process.stdout is not None
    stdout = process.stdout.read()
    code = process.wait()
    following.join()
    deadline = time.monotonic() + GRACE_S
    while (left := named("model.pyz")) and time.monotonic() < deadline:
        time.sleep(0.2)
    runs = HOME / "run"
    while runs.is_dir() and list(runs.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.2)
    folders = sorted(map(str, runs.iterdir())) if runs.is_dir() else []
    partial = sorted(str(path) for path in HOME.rglob("*.partial"))
    running = [processes()[pid][1] for pid in left if pid in processes()]
    found = {"code": code, "stdout": stdout, "stderr": "".join(said), "running": running, "folders": folders + partial}
    print(json.dumps({**found, "done": done}))


main()
