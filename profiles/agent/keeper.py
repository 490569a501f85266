"""Stands between an agent and a connection that may go at any time; started as ``agent.pyz --keep JOB.json SECONDS``.

It passes requests on, and ends the agent when they end, or when nothing came for some time: a host sends empty lines as
a sign of life, for an ssh server learns of a pulled cable hours later. The agent's answers do not pass through here.
Runs are timed within the agent. Standard library alone, Python 3.9.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

_OPTION = "--keep"


def wanted(arguments: list[str]) -> bool:
    """Whether this program was asked for."""
    return arguments[1:2] == [_OPTION]


def main() -> NoReturn:
    """Start the agent and keep it."""
    _, _, job, silence_s = sys.argv
    place = Path(job)
    content = json.loads(place.read_text())
    kept = place.with_suffix(".kept.json")
    kept.write_text(json.dumps({**content, "parent": os.getpid()}))
    agent = subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, sys.argv[0], str(kept)], stdin=subprocess.PIPE, start_new_session=True
    )
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: _end(agent))
    threading.Thread(target=_follow, args=(agent,), daemon=True).start()
    _pass_on(agent, float(silence_s))
    _end(agent)


def _follow(agent: subprocess.Popen[bytes]) -> None:
    """End with the agent, as it did."""
    agent.wait()
    _leave(agent.returncode)


def _pass_on(agent: subprocess.Popen[bytes], silence_s: float) -> None:
    """Requests to the agent, until they end; signs of life are for this program alone."""
    assert agent.stdin is not None  # noqa: S101 - asked for
    pending = b""
    while select.select([0], [], [], silence_s)[0]:
        received = os.read(0, 1 << 16)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            if line:
                try:
                    agent.stdin.write(line + b"\n")
                    agent.stdin.flush()
                except BrokenPipeError:
                    return


def _end(agent: subprocess.Popen[bytes]) -> NoReturn:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(agent.pid, signal.SIGKILL)
    _leave(agent.wait())


def _leave(code: int) -> NoReturn:
    # A signal's number the way shells pass it, for ssh and adb know no other.
    os._exit(128 - code if code < 0 else code)
