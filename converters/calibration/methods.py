"""From the statistics of a tensor to the range that is quantized: minmax, percentile, mse, entropy, auto.

A range always holds zero, which padding and ReLU need exactly. The error of a range is measured: rounding on kept
values, clipping on the histogram of all values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.calibration.statistics import BINS, TensorStatistics
from edgekit.errors import UsageError

Range = tuple[float, float]

METHODS = ("auto", "minmax", "percentile", "mse", "entropy")
DEFAULT_PERCENTILE = 99.99
MASK_ROOM = 16.0
"""Below the values of a tensor that holds masks beside them, such as what goes into a softmax. Integers saturate, so a
mask becomes the low end; e**-16 of the least value leaves 1024 masked tokens with 0.01 % of the attention at most."""
BARE_MASK_ROOM = 128.0
"""Of a tensor that holds masks and zeros alone: both are exact, whatever the step, and what the mask is added to must
come out below its own room."""
LEVELS = 255
"""Steps between the ends of an 8-bit range."""

_SEARCH_STEPS = 64
_ENTROPY_LEVELS = 128
_ENTROPY_INSIDE = 0.99
_LEAST_PROBABILITY = 1e-9
_LEAST_GAIN = 1.26
"""How many times smaller (1 dB) a measured error must be than that of the plain extremes, for ``auto`` to clip."""


def parse(text: str) -> tuple[str, float]:
    """``percentile:99.9`` as name and percentile.

    Raises:
        UsageError: No such method, or a percentile out of range.
    """
    name, _, parameter = text.partition(":")
    if name not in METHODS or (parameter and name != "percentile"):
        raise UsageError(
            f"--calibration-method {text}: no such method.", hint=f"There are {', '.join(METHODS)} and percentile:99.9."
        )
    try:
        percentile = float(parameter or DEFAULT_PERCENTILE)
    except ValueError:
        percentile = -1.0
    if not 50 < percentile <= 100:
        raise UsageError(
            f"--calibration-method {text}: the percentile must be above 50 and at most 100.",
            hint="--calibration-method percentile:99.9",
        )
    return name, percentile


def ranges(statistics: TensorStatistics, percentile: float = DEFAULT_PERCENTILE) -> dict[str, Range]:
    """The range of each method but ``auto``."""
    found = {
        "minmax": minmax(statistics),
        "percentile": by_percentile(statistics, percentile),
        "mse": by_error(statistics),
        "entropy": by_entropy(statistics),
    }
    return {name: with_room(item, statistics) for name, item in found.items()}


def best(found: dict[str, Range], statistics: TensorStatistics) -> str:
    """The method whose range has the least measured error; the plain extremes unless another is clearly better."""
    measured = Errors(statistics)
    errors = {name: measured(item) for name, item in found.items()}
    least = min(errors, key=lambda name: errors[name])
    return least if errors[least] * _LEAST_GAIN < errors["minmax"] else "minmax"


def minmax(statistics: TensorStatistics) -> Range:
    """The extremes."""
    return min(statistics.low, 0.0), max(statistics.high, 0.0)


def with_room(found: Range, statistics: TensorStatistics) -> Range:
    """A range with its low end far enough down for the masks that were seen, if any were."""
    if not statistics.masked:
        return found
    bare = statistics.low == statistics.high == 0
    return found[0] - (BARE_MASK_ROOM if bare else MASK_ROOM), found[1]


def by_percentile(statistics: TensorStatistics, percentile: float) -> Range:
    """Cuts off ``100 - percentile`` per cent of the values at each end."""
    low, high = minmax(statistics)
    if not statistics.limit or percentile >= 100:
        return low, high
    counts = statistics.histogram.astype(np.float64)
    counts[BINS // 2] += statistics.zeros
    share = np.cumsum(counts) / counts.sum()
    edges = np.append(statistics.centres - statistics.limit / BINS, statistics.limit)
    first = int(np.searchsorted(share, 1 - percentile / 100, side="right"))
    last = int(np.searchsorted(share, percentile / 100, side="left"))
    return min(0.0, max(low, float(edges[first]))), max(0.0, min(high, float(edges[min(last, BINS - 1) + 1])))


def by_error(statistics: TensorStatistics) -> Range:
    """Shrinks each end until the measured squared error is least."""
    low, high = minmax(statistics)
    if not statistics.limit:
        return low, high
    measured = Errors(statistics)
    for _ in range(2):  # each end depends on the other through the step
        high = _search(high, lambda end, low=low: measured((low, end)))  # type: ignore[misc]
        low = _search(low, lambda end, high=high: measured((end, high)))  # type: ignore[misc]
    return low, high


def by_entropy(statistics: TensorStatistics) -> Range:
    """The symmetric cut whose quantized distribution diverges least from the true one.

    Kullback-Leibler divergence over a histogram of magnitudes, as in S. Migacz, "8-bit Inference with TensorRT",
    GTC 2017. Not more than one value in a hundred is cut off: without that limit a softmax, which has most of its
    values near zero and those that matter near one, would lose the latter.
    """
    low, high = minmax(statistics)
    if not statistics.limit:
        return low, high
    half = BINS // 2
    magnitudes = (statistics.histogram[half:] + statistics.histogram[:half][::-1]).astype(np.float64)
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    inside = (np.cumsum(magnitudes) + statistics.zeros) / max(1, statistics.count)
    cuts = [cut for cut in range(_ENTROPY_LEVELS, used + 1, max(1, used // 128)) if inside[cut - 1] >= _ENTROPY_INSIDE]
    cuts = [cut for cut in cuts if magnitudes[:cut].any()]
    if not cuts:
        return low, high
    width = statistics.limit / half
    # The last one cuts nothing off: the end of the last bin may lie behind the extreme.
    cuts = sorted({*cuts, used})
    limit = cuts[int(np.argmin(_divergences(magnitudes, cuts)))] * width
    return max(low, -limit), min(high, limit)


def error(given: Range, statistics: TensorStatistics, levels: int = LEVELS) -> float:
    """Mean squared error of quantizing to ``levels`` steps over a range; see :class:`Errors`."""
    return Errors(statistics)(given, levels)


class Errors:
    """Measures the error of many ranges of one tensor."""

    def __init__(self, statistics: TensorStatistics) -> None:
        self.statistics = statistics
        kept = statistics.kept.astype(np.float64)
        self._size = max(1, kept.size)
        self._kept = kept[kept != 0]  # zeros have no error
        self._scratch = np.empty((2, self._kept.size))
        used = np.flatnonzero(statistics.histogram)
        self._histogram = statistics.histogram[used]
        # The outer bins are wider than what is in them.
        self._centres = np.clip(statistics.centres[used], statistics.low, statistics.high)

    def __call__(self, given: Range, levels: int = LEVELS) -> float:
        """Mean squared error of quantizing, with zero exactly representable.

        Args:
            given: The range; holds zero.
            levels: Steps between its ends: 255 for 8 bits.
        """
        low, high = given
        count = max(1, self.statistics.count)
        if high <= low:
            return self.statistics.squares / count
        step = (high - low) / levels
        zero = round(-low / step)
        low, high = -zero * step, (levels - zero) * step
        # Clipped values are whole steps: what is left of them is clipping, which the histogram tells of all values.
        steps, rounded = self._scratch
        np.divide(self._kept, step, out=steps)
        np.clip(steps, -zero, levels - zero, out=steps)
        np.rint(steps, out=rounded)
        steps -= rounded
        rounding = float(steps @ steps) * step * step / self._size
        below, above = np.searchsorted(self._centres, (low, high))
        clipping = float(self._histogram[:below] @ (low - self._centres[:below]) ** 2)
        clipping += float(self._histogram[above:] @ (self._centres[above:] - high) ** 2)
        return rounding + clipping / count


def _search(end: float, cost: Callable[[float], float]) -> float:
    if not end:
        return end
    ends = end * (1 - np.arange(_SEARCH_STEPS) / (_SEARCH_STEPS + 1))
    return float(min(ends, key=cost))


def _divergences(magnitudes: npt.NDArray[np.float64], cuts: list[int]) -> npt.NDArray[np.float64]:
    """Kullback-Leibler divergence of the distribution after quantizing from the one before, for each cut.

    Before: the first ``cut`` bins, the last of which takes in what is cut off. After: without what is cut off, bins in
    ``_ENTROPY_LEVELS`` groups, each spread evenly over those of its bins that were not empty. So the sums over bins
    are differences of running sums.

    Args:
        magnitudes: Counts per bin.
        cuts: Numbers of bins, each above zero and with something in them.
    """
    ends = np.asarray(cuts)
    borders = -(-np.arange(_ENTROPY_LEVELS + 1) * ends[:, None] // _ENTROPY_LEVELS)  # (cuts, levels + 1)
    sums = np.diff(_running(magnitudes)[borders])
    members = np.diff(_running(magnitudes > 0)[borders])
    total, inside = magnitudes.sum(), _running(magnitudes)[ends]
    after = np.divide(sums, members * inside[:, None], out=np.ones_like(sums), where=members > 0)
    last = magnitudes[ends - 1]
    before = _running(_times_log(magnitudes))[ends] - _times_log(last) + _times_log(last + total - inside)
    # Nothing may have probability zero where it had one before.
    after_last = np.where(last > 0, after[:, -1], _LEAST_PROBABILITY)
    crossed = (sums * np.log(after)).sum(1) + (total - inside) * np.log(after_last)
    divergences: npt.NDArray[np.float64] = (before - crossed) / total - np.log(total)
    return divergences


def _running(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of the first 0, 1, 2... values."""
    return np.concatenate([[0], np.cumsum(values)])


def _times_log(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logarithms: npt.NDArray[np.float64] = values * np.log(np.where(values > 0, values, 1.0))
    return logarithms
