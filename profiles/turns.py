"""What one turn's raw samples say: which runs something else interrupted, and how long a run takes.

A turn is the agent's answer to ``time`` (:mod:`profiles.agent`) with the number of its round.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

DELAYED_NS = 50_000
"""A run whose threads waited longer than this for a CPU counts as preempted.

On a busy machine 97 % of the runs slower than 1.5 medians had a switch or such a wait, and 6 % of the others."""

THROTTLED_RATIO = 1.1
_LEAST_CLEAN = 0.5


def preempted(turn: Mapping[str, Any]) -> list[bool] | None:
    """Per run, whether the kernel says that something else had the CPU meanwhile; ``None`` where it does not say."""
    if turn["run_delay_ns"] is None:
        return None
    return [
        switches > 0 or delay > DELAYED_NS
        for switches, delay in zip(turn["switches"], turn["run_delay_ns"], strict=True)
    ]


def centre(turn: Mapping[str, Any]) -> float:
    """The median run in nanoseconds: of those that nothing interrupted, where they are half of the turn or more.

    For ratios alone. Absolute figures are of all runs.
    """
    flags = preempted(turn)
    if flags is not None:
        clean = [value for value, flag in zip(turn["ns"], flags, strict=True) if not flag]
        if len(clean) >= _LEAST_CLEAN * len(flags):
            return float(statistics.median(clean))
    return float(statistics.median(turn["ns"]))


def throttled(sentinels: Sequence[float | None]) -> float:
    """The share of rounds in which a fixed computation took over 10 % longer than in the better half of them.

    Args:
        sentinels: Nanoseconds of it, per round; ``None`` where it was not timed.
    """
    known = sorted(value for value in sentinels if value is not None)
    if not known:
        return 0.0
    usual = statistics.median(known[: (len(known) + 1) // 2])
    return sum(value > THROTTLED_RATIO * usual for value in known) / len(known)
