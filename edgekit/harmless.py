"""Text from elsewhere on its way to a terminal: names of files and tensors, and what devices print."""

from __future__ import annotations

_KEPT = "\n\t"


def harmless(text: str) -> str:
    """The text with ``?`` for everything that a terminal would obey, and for what turns the direction of writing."""
    return "".join(letter if letter.isprintable() or letter in _KEPT else "?" for letter in text)
