"""Waiting for a program's first words."""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import time


def new_mark() -> bytes:
    """A line that nobody else prints."""
    return f"edgekit-{secrets.token_hex(16)}\n".encode()


def marked(script: str, mark: bytes) -> str:
    """A script that prints the mark first: what comes before it was printed by start-up files of the user's shell."""
    return f"printf '%s\\n' {mark.decode().strip()}; {script}"


def skip_to(process: subprocess.Popen[bytes], mark: bytes, timeout_s: float) -> bool:
    """Read a program's output up to the mark, and no byte more.

    Args:
        process: With an unbuffered pipe as stdout.
        mark: To look for.
        timeout_s: Time limit in seconds.

    Returns:
        Whether it came.
    """
    assert process.stdout is not None  # noqa: S101 - see above
    source, deadline = process.stdout.fileno(), time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(source, select.POLLIN)
    seen = b""
    while not seen.endswith(mark):
        one = os.read(source, 1) if poll.poll(max(0.0, deadline - time.monotonic()) * 1000) else b""
        if not one:
            return False
        seen = (seen + one)[-len(mark) :]
    return True
