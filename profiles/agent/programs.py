"""What programs of the system print about it. Standard library alone, Python 3.9."""

from __future__ import annotations

import shutil
import subprocess

LIMIT_S = 1.0
"""These programs answer within milliseconds, or not at all."""

_hung: set[str] = set()


class UnavailableError(Exception):
    """A reading is not to be had; the message says why."""


def said(program: str, *words: str) -> str:
    """What a program prints on its standard output.

    Args:
        program: Its name, to be found on ``PATH``.
        words: Its arguments.

    Raises:
        UnavailableError: It is not there, fails, or does not answer in :data:`LIMIT_S`; it is not asked again then, as
            readings must stay cheap.
    """
    place = shutil.which(program)
    if place is None:
        raise UnavailableError(f"there is no {program}")
    if program in _hung:
        raise UnavailableError(f"{program} did not answer within {LIMIT_S:g} s")
    try:
        found = subprocess.run(  # noqa: S603 - fixed words, no shell
            [place, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _hung.add(program)
        raise UnavailableError(f"{program} did not answer within {LIMIT_S:g} s") from None
    except OSError as error:
        raise UnavailableError(f"{program} does not start ({error.strerror or error})") from None
    if found.returncode:
        raise UnavailableError(f"{program} failed{_first_line(found.stderr or found.stdout)}")
    return found.stdout


def _first_line(text: str) -> str:
    """The start of a message, without what a terminal would obey."""
    line = (text.strip().splitlines() or [""])[0]
    printable = "".join(letter for letter in line if letter.isprintable())[:200]
    return f": {printable}" if printable else ""
