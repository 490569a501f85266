"""How commands and files get to a device and back: what ssh and adb have in common.

A device is a POSIX shell and little else. Files of edgekit's lie in one folder there, :attr:`Transport.home`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Advance = Callable[[int, int], None]
"""Told bytes sent or received, and of how many."""


@dataclass(frozen=True)
class Completed:
    """A script that ended.

    Attributes:
        code: Its exit code.
        stdout: What it wrote, without what start-up files of the user's shell had written before.
        stderr: That of the script and of the program that connected, as text.
    """

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """``stdout`` as text, without the space around it."""
        return self.stdout.decode(errors="replace").strip()


class Transport(Protocol):
    """A connection.

    Every method raises :class:`edgekit.errors.DeviceError` when the device cannot be reached or refuses, and
    :class:`edgekit.errors.LinkLostError` when a connection that was there is gone.

    Paths on the device are absolute, and text; scripts are for its ``sh``, and what goes into them is quoted with
    :func:`shlex.quote`.
    """

    @property
    def address(self) -> str:
        """As :attr:`edgekit.device_types.DeviceFacts.address`."""

    @property
    def home(self) -> str:
        """The folder of edgekit's on the device; it is made when it is first asked for."""

    def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Run a script to its end."""

    def start(self, script: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a script whose stdin and stdout are unbuffered pipes; its stderr goes to ``log``.

        The process is the program that connects, in a process group of its own. What start-up files of the user's shell
        print may come before the script's own output.
        """

    def push(self, local: Path, remote: str, advance: Advance | None = None) -> None:
        """Copy a file or a folder; it is there under its name only when it is complete."""

    def pull(self, remote: str, local: Path, advance: Advance | None = None) -> None:
        """Copy a folder to here; it holds plain files and folders alone."""

    def alive(self) -> bool:
        """Whether the connection is there."""

    def free_bytes(self, place: str) -> int | None:
        """Room on the disk of a folder there; ``None`` where the device does not say."""

    def lost(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a program of :meth:`start` that has ended did so because the connection was gone."""

    def reconnect(self) -> None:
        """Connect once more, after the connection was lost."""

    def close(self) -> None:
        """End the connection, and every program that this one started."""
