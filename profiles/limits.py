"""Whether a figure keeps a limit, judged on the bounds of its interval.

A limit is kept when the whole interval is within it, broken when the whole interval is beyond it, and else nothing is
shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from profiles import pairs, stats

_FEW_ROUNDS = 10


def percentile_bounds(samples: Sequence[float], share: float) -> tuple[float | None, float | None]:
    """One-sided 95 % bounds of a percentile, from order statistics, whatever the distribution.

    Args:
        samples: All of them.
        share: Which percentile, 0 to 1.

    Returns:
        Lower and upper bound; ``None`` where there are too few samples for one.
    """
    mirrored = stats.upper_bound([-value for value in samples], 1 - share)
    return (None if mirrored is None else -mirrored), stats.upper_bound(samples, share)


def at_most(limit: float, low: float | None, high: float | None) -> bool | None:
    """Whether a figure is no more than a limit; ``None`` where its interval does not say.

    Args:
        limit: The most it may be.
        low: Bound of the figure; ``None`` where it is not known.
        high: The other.
    """
    if high is not None and high <= limit:
        return True
    return False if low is not None and low > limit else None


def ratio_at_most(
    limit: float, value: float, low: float | None, high: float | None, rounds: int, floor: float | None
) -> tuple[bool | None, str]:
    """Whether a ratio of times is no more than a limit, and why nothing is shown where nothing is.

    It is broken only where it stays beyond the limit without what two processes of one file differ by. With fewer
    than :data:`profiles.pairs.MIN_ROUNDS` rounds the interval counts twice as wide, as there.

    Args:
        limit: The most it may be.
        value: The ratio.
        low: Of its 95 % interval; ``None`` with too few rounds.
        high: As there.
        rounds: That it is from.
        floor: Differences up to this share are noise; ``None`` where that is not known.
    """
    if low is None or high is None or rounds < _FEW_ROUNDS:
        return None, f"{rounds} rounds in the time given, {pairs.MIN_ROUNDS} needed"
    if floor is None:
        return None, "the baseline could not be compared with itself"
    doubt = 1 if rounds >= pairs.MIN_ROUNDS else 2
    kept = at_most(limit, value - doubt * (value - low), value + doubt * (high - value))
    if kept is False and value <= limit * (1 + floor):
        return None, f"{floor:.1%} of the difference may be noise, as two processes of the baseline differ"
    return kept, "" if kept is not None else "the interval holds the limit"


def samples_to_tell(limit: float, value: float, low: float, high: float, samples: int) -> int | None:
    """How many samples would narrow an interval until the limit is outside, were the figure to stay.

    Args:
        limit: Inside the interval.
        value: The figure.
        low: Of its interval.
        high: Of its interval.
        samples: That it is from.

    Returns:
        ``None`` where the figure is at the limit itself, and no number would do.
    """
    distance = abs(limit - value)
    if distance < 1e-9:
        return None
    half = high - value if limit > value else value - low
    return max(samples + 1, math.ceil(samples * (half / distance) ** 2))
