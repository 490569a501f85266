"""Which CPUs of a device are meant by what was typed after ``--affinity``."""

from __future__ import annotations

from edgekit.errors import UsageError
from edgekit.types import DeviceFacts

_KINDS = {"little": 0, "big": -1}


def resolve(typed: str | tuple[int, ...], facts: DeviceFacts) -> tuple[int, ...]:
    """Numbers of CPUs.

    Args:
        typed: ``0,1``, ``big``, ``little``, ``all`` or empty; or the numbers themselves.
        facts: Of the device. ``big`` is its fastest cluster, ``little`` its slowest.

    Returns:
        Empty for all CPUs.

    Raises:
        UsageError: It is none of these, or the device has one kind of CPUs alone.
    """
    if not isinstance(typed, str):
        return typed
    word = typed.strip().lower()
    if word in ("", "all"):
        return ()
    if word in _KINDS:
        if len(facts.clusters) < 2:
            raise UsageError(
                f"--affinity {word}: the CPUs of {facts.name} are all of one kind, as far as its kernel says.",
                hint=f"Name them by number: --affinity 0   (it has {facts.cores})",
            )
        return facts.clusters[_KINDS[word]].cpus
    parts = [part.strip() for part in word.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"--affinity {typed!r} names no CPUs.", hint="Numbers from 0 on (--affinity 0,1), big, little or all."
        )
    return tuple(sorted(set(map(int, parts))))
