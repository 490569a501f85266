"""What a long operation tells the outside while it runs; the library itself prints nothing."""

from __future__ import annotations

from typing import Protocol


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
