"""Parts of one output that 8 bits have lost while the whole looks fine: scores of 0 to 1 beside boxes of 0 to 640.

And samples that are lost while one among them, far larger, looks fine.

One tensor has one scale. A file with 8-bit activations writes it in 255 equal steps over the whole range, so what
varies by less than a step or two becomes a constant. The SQNR of the tensor does not show it, for the large part makes
up nearly all of its power. So each slice along each axis is looked at by itself.

Thresholds, and where they come from. Let a slice vary evenly over ``r`` steps. Rounding to steps leaves an error of
variance ``1/12``, the slice's own variance is ``r²/12``, so its SQNR about its mean is ``20·log10(r)`` dB:

- 3 dB is ``r = 1.4``: at most two or three levels are left, the slice is lost. A constant in its place gives 0 dB.
- A slice that spans more than 5 steps, a fiftieth of the tensor, keeps 14 dB. If it is lost all the same, rounding at
  the output is not what lost it; that is noise from elsewhere, and the limit of the whole output judges it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.feeds import Array

_SMALL_SHARE = 1 / 50
"""Of the tensor's range: slices that span less are small."""

_LOST_DB = 3.0
"""SQNR about the mean below which a slice is lost."""

_CLEAR_GAP = 10.0
"""By how much the least of the other slices spans more than the largest small one.

Features of one kind have all kinds of ranges, one next to the other; boxes and scores are apart."""

_LEAST_SHARE = 1 / 20
"""Of the slices that must be lost: in a wide layer some units hardly ever answer, and that is no second kind."""

_LEAST_VALUES = 16
"""Per slice, to say how much it varies."""

_CONSTANT_SHARE = 1e-6
"""Of the tensor's range: slices that span less are constant, to rounding in float32."""

_BLOCK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Lost:
    """Slices of a tensor that are lost.

    Attributes:
        axis: Of the tensor, its batch included.
        slices: Indices along it.
        count: Slices along it in all.
        spans: Largest range of one of them.
        range: Of the whole tensor.
        sqnr_db: The best that one of them has about its mean.
    """

    axis: int
    slices: tuple[int, ...]
    count: int
    spans: float
    range: float
    sqnr_db: float

    def __str__(self) -> str:
        several = len(self.slices) > 1
        return (
            f"mixed ranges: along axis {self.axis}, {'slices' if several else 'slice'} {_intervals(self.slices)} of "
            f"{self.count} {'vary' if several else 'varies'} by {self.spans:.3g} at most in a tensor that spans "
            f"{self.range:.3g}, and what the file computes for {'them' if several else 'it'} is as far off as that "
            f"({self.sqnr_db:.1f} dB about {'their means' if several else 'its mean'})"
        )


def finding(reference: Array, output: Array) -> str:
    """What is wrong with an output of a quantized file, in words; empty when nothing is.

    Args:
        reference: ``(samples, *shape)``: what the source computed.
        output: What the file computed.
    """
    lost = find(reference, output)
    return outshone(reference, output) if lost is None else str(lost)


def find(reference: Array, output: Array) -> Lost | None:
    """Look for slices of a quantized output that are lost because the others span far more.

    Scores are left alone: a tensor within 0 and 1, or whose sum along the axis is always the same, has one unit, and
    that a rare class stays near zero is what it should do.

    Args:
        reference: ``(samples, *shape)``, floats: what the source computed.
        output: What the file computed, of the same shape. Both may lie on disk; they are read in blocks.

    Returns:
        Those along the axis with most of them; ``None`` when there are none.
    """
    if reference.shape != output.shape or reference.dtype.kind != "f" or output.dtype.kind != "f":
        return None
    found = [_along(reference, output, axis, small) for axis, small in _small_slices(reference)]
    return max(
        (lost for lost in found if lost is not None), key=lambda lost: len(lost.slices) / lost.count, default=None
    )


def outshone(reference: Array, output: Array) -> str:
    """Whether most samples are lost, hidden behind the power of a few that are far larger.

    Args:
        reference: ``(samples, *shape)``: what the source computed.
        output: What the file computed.

    Returns:
        A finding; empty when there is none.
    """
    import numpy as np

    if reference.shape != output.shape or reference.dtype.kind != "f" or output.dtype.kind != "f":
        return ""
    largest = np.concatenate(
        [
            np.abs(np.where(np.isfinite(block), block, 0)).reshape(len(block), -1).max(1)
            for (block,) in _blocks(reference)
        ]
    )
    whole = float(largest.max())
    small = largest <= whole * _SMALL_SHARE
    if not 0 < (~small).sum() <= max(1.0, len(small) * _LEAST_SHARE) or small.sum() < 2:
        return ""
    if largest[~small].min() < _CLEAR_GAP * largest[small].max():
        return ""
    places = np.flatnonzero(small)
    # About the mean of each element: an output that is the same for all of them keeps nothing, whatever it is.
    sums = np.zeros((4, *reference.shape[1:]))
    for place in places:
        expected, error = (
            np.asarray(item, np.float64) for item in (reference[place], output[place] - reference[place])
        )
        finite = np.isfinite(expected) & np.isfinite(error)
        expected, error = np.where(finite, expected, 0), np.where(finite, error, 0)
        sums += np.stack([expected, error, expected**2, error**2])
    mean, bias, square, error_square = sums / len(places)
    signal, noise = float((square - mean**2).sum()), float((error_square - bias**2).sum())
    if signal <= 0 or noise <= 0 or 10 * math.log10(signal / noise) >= _LOST_DB:
        return ""
    return (
        f"lost for most inputs: {len(places)} of {len(small)} samples stay within {float(largest[small].max()):.3g} "
        f"where the largest reaches {whole:.3g}, and on these the file is as far off as they vary "
        f"({10 * math.log10(signal / noise):.1f} dB about the mean)"
    )


@dataclass(frozen=True)
class _Small:
    """Slices that span far less than the others: a mask along the axis, the range of each slice and of the tensor."""

    mask: Array
    spans: Array
    range: float


def _small_slices(reference: Array) -> Iterator[tuple[int, _Small]]:
    """Axes of ``reference`` with two groups of slices, from their extremes alone: most tensors end here."""
    import numpy as np

    axes = _axes(reference)
    lows = {axis: np.full(reference.shape[axis], np.inf) for axis in axes}
    highs = {axis: np.full(reference.shape[axis], -np.inf) for axis in axes}
    sums = dict.fromkeys(axes, (math.inf, -math.inf))
    for (block,) in _blocks(reference):
        finite = np.isfinite(block)
        for axis in axes:
            others = tuple(place for place in range(block.ndim) if place != axis)
            lows[axis] = np.minimum(lows[axis], block.min(others, initial=np.inf, where=finite))
            highs[axis] = np.maximum(highs[axis], block.max(others, initial=-np.inf, where=finite))
            totals = block.sum(axis, where=finite)
            sums[axis] = (min(sums[axis][0], float(totals.min())), max(sums[axis][1], float(totals.max())))
    for axis in axes:
        low, high = float(lows[axis].min()), float(highs[axis].max())
        whole, spans = high - low, np.maximum(highs[axis] - lows[axis], 0.0)
        same_sum = sums[axis][1] - sums[axis][0] <= 1e-3 * whole
        scores = low >= -1e-3 and high <= 1 + 1e-3
        if not math.isfinite(whole) or whole <= 0 or scores or same_sum:
            continue
        small = (spans <= whole * _SMALL_SHARE) & (spans > whole * _CONSTANT_SHARE)
        large = spans > whole * _SMALL_SHARE
        if small.any() and large.any() and spans[large].min() >= _CLEAR_GAP * spans[small].max():
            yield axis, _Small(small, spans, whole)


def _along(reference: Array, output: Array, axis: int, small: _Small) -> Lost | None:
    """Which of the small slices along one axis are lost."""
    import numpy as np

    size = reference.shape[axis]
    others = tuple(place for place in range(reference.ndim) if place != axis)
    moments = np.zeros((4, size))  # sums of the reference and of the error, and of their squares
    count = np.zeros(size)
    middle: Array | None = None
    for expected, found in _blocks(reference, output):
        finite = np.isfinite(expected) & np.isfinite(found)
        expected, found = np.where(finite, expected, 0), np.where(finite, found, 0)
        count += finite.sum(others)
        if middle is None:  # small variations about a large mean: sums of squares are taken about a near value
            shape = [size if place == axis else 1 for place in range(reference.ndim)]
            middle = expected.mean(others).reshape(shape)
        about, error = expected - middle, found - expected
        for row, values in enumerate((about, error, about * about, error * error)):
            moments[row] += values.sum(others, where=finite)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, bias, square, error_square = moments / count
        # A shift of the whole slice would leave its information; so the error is taken about its mean, too.
        sqnr_db = 10 * np.log10((square - mean**2) / np.maximum(error_square - bias**2, 0.0))
    lost = small.mask & (count >= _LEAST_VALUES) & (sqnr_db < _LOST_DB)
    if lost.sum() < max(1.0, size * _LEAST_SHARE):
        return None
    places = tuple(int(place) for place in np.flatnonzero(lost))
    return Lost(axis - 1, places, size, float(small.spans[lost].max()), small.range, float(sqnr_db[lost].max()))


def _axes(reference: Array) -> list[int]:
    """Axes to cut along: not that of the samples, and not the model's own batch unless there is nothing else."""
    first = 1 if reference.ndim == 2 else 2
    return [axis for axis in range(first, reference.ndim) if reference.shape[axis] > 1]


def _blocks(*arrays: Array) -> Iterator[tuple[Any, ...]]:
    """The arrays in float64, some samples at a time: they may be larger than memory."""
    import numpy as np

    step = max(1, _BLOCK_ELEMENTS // max(1, arrays[0][0].size)) if len(arrays[0]) else 1
    for start in range(0, len(arrays[0]), step):
        yield tuple(np.asarray(array[start : start + step], np.float64) for array in arrays)


def _intervals(places: tuple[int, ...]) -> str:
    """``4-83, 90``; at most five of them."""
    parts: list[tuple[int, int]] = []
    for place in places:
        if parts and place == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], place)
        else:
            parts.append((place, place))
    shown = [f"{first}-{last}" if last > first else str(first) for first, last in parts]
    return ", ".join(shown[:5]) + (" …" if len(shown) > 5 else "")
