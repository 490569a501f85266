"""How a runtime's own program is called, and what it prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Dialect(Protocol):
    """How a program is called, and what it prints: a module ``profiles/devices/_native_<target>.py``."""

    PROGRAM: str
    TARGET: str

    def command(self, run: Run) -> list[str]:
        """The program and its options."""

    def read(self, printed: str, discard: int, count: int) -> Timed:
        """What it printed.

        Raises:
            ValueError: There is no time in it.
        """

    def output_files(self, base: str, count: int) -> list[str]:
        """Where it writes that many outputs; one file may hold them all, one after the other."""


@dataclass(frozen=True)
class Run:
    """One start of a program.

    Attributes:
        program, model: Where they are on the device.
        threads: That it may use.
        discard, count: Runs before the timed ones, and timed ones.
        inputs: File and shape of each input there; empty for what the program makes up.
        output: Base name of the files with outputs; empty to write none.
    """

    program: str
    model: str
    threads: int
    discard: int
    count: int
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    output: str = ""


@dataclass(frozen=True)
class Timed:
    """What a start of a program said.

    Attributes:
        ns: Of timed runs: each, or one typical one where it says no more.
        load_ns, first_ns: ``None`` where it does not say.
    """

    ns: list[int]
    load_ns: int | None
    first_ns: int | None
