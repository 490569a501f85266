"""A device that is this machine, in a home of its own: everything but the network is real."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import DeviceError, LinkLostError
from profiles.devices._shell import ShellTransport, last_line

BANNER = "Welcome! $(touch hurt) <b>{}\n"


class LocalTransport(ShellTransport):
    """Runs scripts in this machine's ``sh``, with start-up files that print.

    Args:
        home: An existing folder, for the device's home.
        python: Whether there is a Python; it is this one.
    """

    def __init__(self, home: Path, *, python: bool = True) -> None:
        super().__init__("local:test", "There is always a shell.")
        self.root = home
        self.up = True
        self.returns = True
        self.reconnections = 0
        programs = home / "bin"
        programs.mkdir(exist_ok=True)
        if python:
            (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        else:
            (programs / "python3").write_text("#!/bin/sh\nexit 127\n")
        (programs / "python3").chmod(0o755)

    @property
    def environment(self) -> Mapping[str, str]:
        """Of the device."""
        return {"HOME": str(self.root), "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}

    def command(self, script: str, *, lasting: bool) -> list[str]:
        """With noise in front, as a careless .bashrc makes it."""
        if not self.up:
            return ["sh", "-c", "echo 'the link is down' >&2; exit 255"]
        pairs = [f"{name}={value}" for name, value in self.environment.items()]
        return ["env", *pairs, "sh", "-c", f"printf '%s' '{BANNER}'; {script}"]

    def alive(self) -> bool:
        """As the test has it."""
        return self.up

    def failure(self, stderr: str) -> DeviceError:
        """As it is."""
        return DeviceError(f"{self.address}: {last_line(stderr)}")

    def home_script(self) -> str:
        """In the home."""
        return 'printf %s "$HOME/edge kit"'

    def cut(self, *, returns: bool = True) -> None:
        """The link goes, and with it all programs that use it."""
        self.up, self.returns = False, returns
        for process in self._started:
            if process.stdin is not None and not process.stdin.closed:
                reader, writer = os.pipe()
                os.close(reader)
                os.dup2(writer, process.stdin.fileno())  # the device sees an end, and this side a broken pipe
                os.close(writer)
            process.wait(10)

    def reconnect(self) -> None:
        """If the test has it so."""
        self.reconnections += 1
        if not self.returns:
            raise LinkLostError(f"{self.address}: still down")
        self.up = True
