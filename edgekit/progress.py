"""What a long operation tells the outside while it runs; the library itself prints nothing."""

from __future__ import annotations

from threading import Event
from typing import Protocol

from edgekit.errors import InterruptedByUserError


class Progress(Protocol):
    """Receives events from any thread."""

    def start(self, label: str) -> None:
        """Work called ``label`` begins."""

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        """``done`` of ``total`` parts of it are finished; ``unit`` names the parts where their rate says something."""

    def end(self, label: str) -> None:
        """It is over, well or badly."""

    def say(self, text: str) -> None:
        """Something a user should read now: a warning, or a choice made for them."""


class Silent:
    """Drops everything."""

    def start(self, label: str) -> None:
        """Nothing."""

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        """Nothing."""

    def end(self, label: str) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class Labelled:
    """Passes everything on, with a name in front.

    Args:
        progress: That is told.
        name: Of the device, where there are several.
        stopping: Set where work that goes on should end.
    """

    def __init__(self, progress: Progress, name: str, stopping: Event) -> None:
        self.progress, self.name, self.stopping = progress, name, stopping

    def start(self, label: str) -> None:
        """Pass it on."""
        self.progress.start(f"{self.name}: {label}")

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        """Pass it on.

        Raises:
            InterruptedByUserError: The command is to end: threads hear of Ctrl-C from here alone.
        """
        if self.stopping.is_set():
            raise InterruptedByUserError("Interrupted.")
        self.progress.advance(f"{self.name}: {label}", done, total, unit)

    def end(self, label: str) -> None:
        """Pass it on."""
        self.progress.end(f"{self.name}: {label}")

    def say(self, text: str) -> None:
        """Pass it on."""
        self.progress.say(f"{self.name}: {text}")
