"""Which samples of the data calibrate, and which are held out to check the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.data import SEED

LEAST_TO_SPLIT = 10
"""With fewer samples than this, all of them do both."""

_HELD_OUT = 5  # one sample in five, at most


@dataclass(frozen=True)
class Split:
    """Indices of samples, each list in ascending order.

    Attributes:
        calibration: To take ranges from; empty where no calibration was asked for.
        check: To compare on.
        words: What ``check`` is, for :func:`edgekit.feeds.write_some`.
    """

    calibration: npt.NDArray[np.intp]
    check: npt.NDArray[np.intp]
    words: str = ""


def split(count: int, calibrate: int, check: int | None) -> Split:
    """Draw samples with a fixed seed, so that the same data is split alike every time.

    Args:
        count: Samples there are.
        calibrate: How many to calibrate with at most; 0 for none.
        check: How many to compare on at most; all of them when ``None``.

    Returns:
        Two lists that share nothing, unless there are fewer than ``LEAST_TO_SPLIT`` samples.
    """
    nothing = np.empty(0, np.intp)
    if check is None:
        return Split(nothing, np.arange(count, dtype=np.intp))
    if not calibrate:
        # Spread over the data: files are often sorted by class.
        return Split(nothing, np.linspace(0, count - 1, min(check, count)).round().astype(np.intp))
    order = np.random.default_rng(SEED).permutation(count).astype(np.intp)
    if count < LEAST_TO_SPLIT:
        return Split(np.sort(order[:calibrate]), np.sort(order[:check]), "{origin}, too few to hold any out")
    held_out = min(check, max(1, count // _HELD_OUT))
    chosen = order[held_out:][:calibrate]
    return Split(np.sort(chosen), np.sort(order[:held_out]), "{count} held-out samples of {origin}")
