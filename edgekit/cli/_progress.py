"""Progress on stderr: a live display on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgekit.harmless import harmless
from edgekit.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@contextmanager
def progress_display(quiet: bool) -> Iterator[Progress]:
    """The display that fits: words alone, live, or lines."""
    if quiet:
        yield Warnings()
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        from edgekit.cli._rate import RateColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
        rest = (TaskProgressColumn(), RateColumn(), TimeElapsedColumn(), TimeRemainingColumn(compact=True))
        live = RichProgress(*columns, *rest, console=Console(stderr=True))
        with live:
            yield Live(live)


class Warnings(Silent):
    """No progress; what a user should know is said all the same."""

    def say(self, text: str) -> None:
        """Print it."""
        print(harmless(text), file=sys.stderr, flush=True)


class Lines:
    """A line per finished piece of work; nothing that needs a cursor."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.lock = threading.Lock()

    def start(self, label: str) -> None:
        """Remember when."""
        with self.lock:
            self.started[label] = time.monotonic()
            print(f"… {harmless(label)}", file=sys.stderr, flush=True)

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        """Nothing: a log wants no bar."""

    def end(self, label: str) -> None:
        """Say how long it took."""
        with self.lock:
            took = time.monotonic() - self.started.pop(label, time.monotonic())
            print(f"  {harmless(label)}: {took:.1f} s", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print it."""
        with self.lock:
            print(harmless(text), file=sys.stderr, flush=True)


class Live:
    """Spinners and bars."""

    def __init__(self, display: RichProgress) -> None:
        self.display = display
        self.tasks: dict[str, TaskID] = {}

    def start(self, label: str) -> None:
        """A new row."""
        self.tasks[label] = self.display.add_task(harmless(label), total=None, unit="")

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        """Fill its bar."""
        self.display.update(self.tasks[label], completed=done, total=total, unit=unit)

    def end(self, label: str) -> None:
        """A full bar that stands still."""
        self.display.update(self.tasks.pop(label), completed=1, total=1)

    def say(self, text: str) -> None:
        """Print it above the rows."""
        self.display.console.print(harmless(text), markup=False, highlight=False)
