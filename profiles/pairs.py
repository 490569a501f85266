"""How much faster one file is than another, from rounds in which both had a turn.

Each round gives one ratio of the two median runs; what the machine did to the round, it did to both. The figure is the
median ratio with an interval that heeds the autocorrelation of the rounds (:func:`profiles.stats.median_interval`).

The baseline runs twice, in two processes. What these two differ by is no property of the file: it is the floor below
which no difference is believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiles import stats
from profiles.turns import centre

MIN_ROUNDS = 30
"""With fewer, intervals come out too narrow."""

_FEW_ROUNDS = 10
"""From here on a difference counts that an interval twice as wide shows too, beyond twice the floor."""

LEAST_FLOOR = 0.01
"""The floor is never below one per cent: two processes of one file differ by as much through their addresses alone."""

_WIDEST = 0.05
"""Half an interval that holds 1 and is wider than this shows nothing, not even that there is no difference."""

_PRECISE = 0.01
"""Half an interval that is narrow enough to stop."""

FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "no difference shown", "inconclusive"


@dataclass(frozen=True)
class Ratio:
    """Of the times of two files.

    Attributes:
        value: Median over rounds; below 1 the file is faster than the baseline.
        low, high: 95 % interval; ``None`` with too few rounds for one.
        rounds: In which both had a turn.
    """

    value: float
    low: float | None
    high: float | None
    rounds: int

    @property
    def half_width(self) -> float:
        """Of the interval, as a share; infinite without one."""
        if self.low is None or self.high is None:
            return math.inf
        return (self.high - self.low) / (2 * self.value)


def ratio(turns: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> Ratio | None:
    """The ratio of a file's time to its baseline's.

    Args:
        turns: Of the file, with the numbers of their rounds.
        baseline: Those of the baseline.

    Returns:
        ``None`` when no round had both.
    """
    base = {turn["round"]: centre(turn) for turn in baseline}
    logs = [math.log(centre(turn) / base[turn["round"]]) for turn in turns if turn["round"] in base]
    if not logs:
        return None
    value = math.exp(stats.percentile(logs, 0.5))
    interval = stats.median_interval([[one] for one in logs])
    if interval is None:
        return Ratio(value, None, None, len(logs))
    return Ratio(value, math.exp(interval[0]), math.exp(interval[1]), len(logs))


Median = tuple[float | None, float | None, float | None, int]
"""A median, its interval, and the number of rounds it is from."""


def of_intervals(median: Median, baseline: Median) -> Ratio | None:
    """The ratio of two medians that were not taken in the same rounds, with the widest interval they allow.

    Args:
        median: Of the file.
        baseline: Of the baseline.
    """
    value, low, high, rounds = median
    base, base_low, base_high, base_rounds = baseline
    if not value or not base:
        return None
    fewest = min(rounds, base_rounds)
    if low is None or high is None or base_low is None or base_high is None:
        return Ratio(value / base, None, None, fewest)
    return Ratio(value / base, low / base_high, high / base_low, fewest)


def floor_of(twin: Ratio | None) -> float | None:
    """How far two processes of the baseline may be apart, as a share; ``None`` where that is not known.

    Args:
        twin: The ratio of the baseline to itself.
    """
    if twin is None or twin.low is None or twin.high is None:
        return None
    return max(LEAST_FLOOR, twin.high - 1, 1 / twin.low - 1)


def verdict(found: Ratio | None, floor: float | None) -> tuple[str, str]:
    """What a ratio shows, and why it shows nothing where it does not.

    Args:
        found: Of the file to the baseline.
        floor: Of :func:`floor_of`.
    """
    if floor is None:
        return INCONCLUSIVE, "the baseline could not be compared with itself"
    rounds = 0 if found is None else found.rounds
    if found is None or found.low is None or found.high is None or rounds < _FEW_ROUNDS:
        return INCONCLUSIVE, f"{rounds} rounds in the time given, {MIN_ROUNDS} needed"
    doubt = 1 if rounds >= MIN_ROUNDS else 2
    if found.value + doubt * (found.high - found.value) < 1 and found.value * (1 + doubt * floor) < 1:
        return FASTER, ""
    if found.value - doubt * (found.value - found.low) > 1 and found.value > 1 + doubt * floor:
        return SLOWER, ""
    if doubt > 1:
        return INCONCLUSIVE, f"{rounds} rounds in the time given, {MIN_ROUNDS} needed to show small differences"
    if found.half_width > max(_WIDEST, floor):
        return INCONCLUSIVE, f"the interval is ±{found.half_width:.0%} wide"
    return SAME, ""


def precise(turns: Sequence[Sequence[Mapping[str, Any]]], baseline: int, twin: int) -> bool:
    """Whether every ratio is known as well as it is worth.

    Args:
        turns: Of all files.
        baseline: Which of them is the baseline.
        twin: Which is its copy.
    """
    floor = floor_of(ratio(turns[twin], turns[baseline]))
    if floor is None:
        return False
    for number, own in enumerate(turns):
        if number == baseline or not own:
            continue
        found = ratio(own, turns[baseline])
        if found is None or found.rounds < MIN_ROUNDS or found.half_width > max(_PRECISE, floor / 2):
            return False
    return True
