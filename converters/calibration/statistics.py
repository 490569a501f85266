"""What is kept of a tensor's values while samples stream past: memory does not grow with their number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS = 4096
KEPT_VALUES = 16_384
MASKED = -1e8
"""At or below it, a value is a mask: no network computes such a number and means it."""
_KEPT_PER_SAMPLE = 1024
_BLOCK = 16_384
"""Values at a time: their intermediate results stay in the processor's cache."""


class TensorStatistics:
    """Extremes, a histogram and a uniform sample of the finite values of one tensor.

    The histogram covers ``(-limit, limit)`` with a power of two as the limit. When a larger value comes, the limit
    doubles and neighbouring bins are added up: exact, whatever the order of the samples. Zeros are counted apart,
    since every quantizer represents them exactly.

    Attributes:
        count: Finite values seen.
        zeros: Zeros among them.
        not_finite: NaNs and infinities seen; a float64 that float32 cannot hold is one of them.
        masked: Values left out because they only say "not this one" (:meth:`add_but_masks`).
        low, high: Extremes; both 0 before the first value.
        total, squares: Sum and sum of squares.
        limit: 0 before the first value that is not zero.
    """

    def __init__(self, seed: int = 0) -> None:
        self.count = self.zeros = self.not_finite = self.masked = 0
        self.low = self.high = self.total = self.squares = 0.0
        self.limit = 0.0
        self.histogram = np.zeros(BINS, np.int64)
        self._kept = np.empty(KEPT_VALUES, np.float32)
        self._offered = 0
        self._random = np.random.default_rng(seed)

    @property
    def kept(self) -> npt.NDArray[np.float32]:
        """A uniform sample of all values."""
        return self._kept[: min(self._offered, KEPT_VALUES)]

    def add_but_masks(self, values: Array) -> None:
        """As :meth:`add`, without what attention masks put where a softmax must not look: -1e9, -3.4e38, -inf.

        A range that held such a number would leave no steps to the values beside it.
        """
        with np.errstate(over="ignore"):
            values = np.asarray(values, np.float32)
        hidden = values <= MASKED
        if hidden.any():
            self.masked += int(hidden.sum())
            values = values[~hidden]
        self.add(values)

    def add(self, values: Array) -> None:
        """Take in the values of one sample, of any shape."""
        with np.errstate(over="ignore"):
            flat = np.asarray(values, np.float32).ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):  # a NaN is its own minimum
            finite = flat[np.isfinite(flat)]
            self.not_finite += flat.size - finite.size
            if finite.size:
                self.add(finite)
            return
        self.low = min(low, self.low) if self.count else low
        self.high = max(high, self.high) if self.count else high
        self.count += flat.size
        self._keep(flat)
        if low == high == 0:
            self.zeros += flat.size
            return
        self._widen(max(-low, high))
        for start in range(0, flat.size, _BLOCK):
            self._count(flat[start : start + _BLOCK])

    def _count(self, block: npt.NDArray[np.float32]) -> None:
        # In float64, scaling by a power of two rounds no float32: each value falls into one bin, at any limit.
        wide = block.astype(np.float64)
        self.total += float(wide.sum())
        self.squares += float(wide @ wide)
        zeros = block.size - int(np.count_nonzero(block))
        self.zeros += zeros
        wide *= BINS / 2 / self.limit
        places = np.floor(wide, out=wide).astype(np.intp)
        places += BINS // 2
        self.histogram += np.bincount(places, minlength=BINS)
        self.histogram[BINS // 2] -= zeros

    def _widen(self, largest: float) -> None:
        wanted = math.ldexp(1.0, math.frexp(largest)[1])  # the power of two above it
        if not self.limit:
            self.limit = wanted
        while wanted > self.limit:
            self.limit *= 2
            merged = np.zeros(BINS, np.int64)
            merged[BINS // 4 : 3 * BINS // 4] = self.histogram.reshape(-1, 2).sum(1)
            self.histogram = merged

    def _keep(self, flat: npt.NDArray[np.float32]) -> None:
        """Reservoir sampling (Vitter 1985, algorithm R), over a random part of each sample so that it stays cheap."""
        if flat.size > _KEPT_PER_SAMPLE:
            flat = flat[self._random.integers(0, flat.size, _KEPT_PER_SAMPLE)]
        free = max(0, min(KEPT_VALUES - self._offered, flat.size))
        self._kept[self._offered : self._offered + free] = flat[:free]
        late = flat[free:]
        if late.size:
            order = self._offered + free + np.arange(1, late.size + 1)
            places = (self._random.random(late.size) * order).astype(np.int64)
            chosen = places < KEPT_VALUES
            self._kept[places[chosen]] = late[chosen]
        self._offered += flat.size

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        width = 2 * self.limit / BINS
        return np.asarray((np.arange(BINS) + 0.5) * width - self.limit, np.float64)
