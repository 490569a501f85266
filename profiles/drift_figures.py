"""Sums over an output and its reference, and the figures that follow from them, for all samples and for each.

Both arrays are gone through once, in blocks of samples; what is kept is a few numbers per sample. All arithmetic is in
float64. Elements that are not finite in one of the two are left out of all figures.

Formulas, with reference ``r``, output ``o`` and error ``e = o - r``:

- ``max_abs`` = max|e|, ``mean_abs`` = mean|e|, ``rmse`` = √mean(e²), in the output's own unit;
- ``sqnr`` = 10·log10(Σr² / Σe²) in dB;
- ``psnr`` = 20·log10(range / rmse) in dB, with the range (max - min) of the reference over all samples as its peak;
- ``cosine`` = Σr·o / √(Σr²·Σo²);
- ``kl`` = Σr·ln(r/o) of each row of the last axis, the mean over rows, in nats: the divergence of Kullback and Leibler
  (1951) of the output from the reference. Only where both are distributions, see :mod:`profiles.distributions`;
- ``relative`` = rmse / range, the range as for ``psnr``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.drift_types import Figure

if TYPE_CHECKING:
    from edgekit.feeds import Array
    from profiles.distributions import Divergence

IDENTICAL = "the two are identical"
"""Why a ratio to the error is not defined where there is no error."""

_GOOD_SHARE = 0.95

_METRICS = (
    ("max_abs", "", False),
    ("mean_abs", "", False),
    ("rmse", "", False),
    ("sqnr", "dB", True),
    ("psnr", "dB", True),
    ("cosine", "ratio", True),
    ("kl", "nat", False),
    ("relative", "ratio", False),
)
"""Name, unit, and whether more is better."""


class Sums:
    """Running sums of one output.

    Attributes:
        compared: Elements that are finite in both, of each sample, ``(samples,)`` int64.
        largest, absolute, noise, signal, power, product: Of each sample, ``(samples,)`` float64: max|e|, Σ|e|, Σe²,
            Σr², Σo², Σr·o.
        low, high: Of the reference, over all samples.
        differing: Elements that are not finite in one of the two.
        first_differing: The first sample that has one; ``None`` when none has.

    Args:
        samples: How many there will be.
    """

    def __init__(self, samples: int) -> None:
        import numpy as np

        self.compared = np.zeros(samples, np.int64)
        self.largest, self.absolute, self.noise, self.signal, self.power, self.product = np.zeros((6, samples))
        self.low, self.high = math.inf, -math.inf
        self.total = self.differing = 0
        self.first_differing: int | None = None

    def add(self, start: int, reference: Array, output: Array) -> None:
        """Take in the samples from ``start`` on.

        Args:
            start: Place of the first.
            reference: ``(samples, elements)``, numbers of any type.
            output: Likewise.
        """
        import numpy as np

        expected, found = reference.astype(np.float64), output.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            error = found - expected
            noise = np.einsum("ij,ij->i", error, error)
        self.total += expected.size
        whole: Any = None
        if not np.isfinite(noise).all():
            whole = self._leave_out(start, expected, found)
            error = found - expected
            noise = np.einsum("ij,ij->i", error, error)
        here = slice(start, start + len(expected))
        self.noise[here] = noise
        self.signal[here] = np.einsum("ij,ij->i", expected, expected)
        self.power[here] = np.einsum("ij,ij->i", found, found)
        self.product[here] = np.einsum("ij,ij->i", expected, found)
        self.compared[here] = expected.shape[1] if whole is None else whole.sum(axis=1)
        everywhere: Any = True if whole is None else whole
        self.low = min(self.low, float(expected.min(initial=math.inf, where=everywhere)))
        self.high = max(self.high, float(expected.max(initial=-math.inf, where=everywhere)))
        np.abs(error, out=error)
        self.largest[here] = error.max(axis=1, initial=0.0)
        self.absolute[here] = error.sum(axis=1)

    def _leave_out(self, start: int, expected: Array, found: Array) -> Array:
        """Put zeros where one of the two is not finite; returns where both are."""
        import numpy as np

        finite = np.isfinite(expected) & np.isfinite(found)
        # The same infinity, or NaN, on both sides is no drift: masks are made of them.
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        differing = (~finite & ~same).sum(axis=1)
        if differing.any():
            self.differing += int(differing.sum())
            if self.first_differing is None:
                self.first_differing = start + int(np.flatnonzero(differing)[0])
        expected[~finite] = found[~finite] = 0.0
        return finite

    @property
    def range(self) -> float | None:
        """Of the reference; ``None`` where no element is finite."""
        return self.high - self.low if self.high >= self.low else None

    @property
    def identical(self) -> bool:
        """Whether nothing differs among what was compared."""
        return not self.noise.any()


def figures(sums: Sums, divergence: Divergence, places: Array | None) -> tuple[Figure, ...]:
    """All figures, in the order of the list above.

    Args:
        sums: Of an output.
        divergence: Of the same.
        places: Of the samples in the data that they were drawn from; ``None`` where nothing was drawn.
    """
    ways = _ways(sums, divergence)
    return tuple(
        _figure(metric, unit, higher, ways[metric], places, sums.identical) for metric, unit, higher in _METRICS
    )


@dataclass(frozen=True)
class _Way:
    """One metric, before it is put into words.

    Attributes:
        value: Over everything; infinite for ratios to no error.
        each: Of each sample; NaN where it is not defined.
        why: What to say where it is defined nowhere.
    """

    value: float | None
    each: Array | None = None
    why: str = ""


def _ways(sums: Sums, divergence: Divergence) -> dict[str, _Way]:
    import numpy as np

    compared = int(sums.compared.sum())
    if not compared:
        nothing = _Way(None, None, "no value is finite in both")
        return {metric: nothing for metric, _, _ in _METRICS}
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = sums.noise / sums.compared
        found = {
            "max_abs": _Way(float(sums.largest.max()), np.where(sums.compared > 0, sums.largest, np.nan)),
            "mean_abs": _Way(float(sums.absolute.sum()) / compared, sums.absolute / sums.compared),
            "rmse": _Way(math.sqrt(float(sums.noise.sum()) / compared), np.sqrt(squares)),
            "sqnr": _sqnr(sums),
            "cosine": _cosine(sums),
            "kl": _Way(divergence.value, divergence.each, divergence.why or "no row is finite in both"),
        }
        found |= _by_range(sums, float(sums.noise.sum()) / compared, squares)
    return found


def _by_range(sums: Sums, square: float, squares: Array) -> dict[str, _Way]:
    """The two that need the range of the reference."""
    import numpy as np

    if not sums.range:
        constant = _Way(None, None, "the reference is constant, so it has no range")
        return {"psnr": constant, "relative": constant}
    peaks = sums.range**2 / squares
    whole = sums.range**2 / square if square else math.inf
    return {
        "psnr": _Way(_decibel(whole), 10 * np.log10(peaks)),
        "relative": _Way(math.sqrt(square) / sums.range, np.sqrt(squares) / sums.range),
    }


def _sqnr(sums: Sums) -> _Way:
    import numpy as np

    signal, noise = float(sums.signal.sum()), float(sums.noise.sum())
    each = 10 * (np.log10(sums.signal) - np.log10(sums.noise))
    each[(sums.signal == 0) | (sums.compared == 0)] = np.nan
    if noise == 0:
        return _Way(math.inf, each)
    if signal == 0:
        return _Way(None, None, "the reference is zero everywhere")
    return _Way(_decibel(signal) - _decibel(noise), each)


def _cosine(sums: Sums) -> _Way:
    import numpy as np

    signal, power = float(sums.signal.sum()), float(sums.power.sum())
    if signal == 0 or power == 0:
        return _Way(None, None, "one of the two is zero everywhere")
    each = sums.product / np.sqrt(sums.signal) / np.sqrt(sums.power)
    each[(sums.signal == 0) | (sums.power == 0)] = np.nan
    return _Way(float(sums.product.sum()) / math.sqrt(signal) / math.sqrt(power), each)


def _decibel(ratio: float) -> float:
    return 10 * math.log10(ratio) if math.isfinite(ratio) else ratio


def _figure(metric: str, unit: str, higher: bool, way: _Way, places: Array | None, identical: bool) -> Figure:
    import numpy as np

    value = way.value if way.value is not None and math.isfinite(way.value) else None
    why = "" if value is not None else (IDENTICAL if way.value is not None else way.why)
    if way.each is None:
        return Figure(metric, value, unit, higher, unavailable=why)
    defined = np.flatnonzero(~np.isnan(way.each))
    if not len(defined):
        return Figure(metric, value, unit, higher, unavailable=why, undefined=len(way.each))
    each = way.each[defined]
    worst = int(defined[each.argmin() if higher else each.argmax()])
    return Figure(
        metric,
        value,
        unit,
        higher,
        median=_finite(float(np.median(each))),
        p95=_finite(no_worse_than(each, higher)),
        worst=_finite(float(way.each[worst])),
        worst_sample=None if identical else place_of(worst, places),
        unavailable=why,
        undefined=len(way.each) - len(defined),
    )


def no_worse_than(each: Array | Sequence[float], higher_is_better: bool) -> float:
    """The value of a sample than which 95 % of the samples are no worse: an order statistic, nothing in between."""
    import numpy as np

    ordered = np.sort(np.asarray(each, np.float64))
    place = math.ceil(_GOOD_SHARE * len(ordered) - 1e-9) - 1
    return float(ordered[len(ordered) - 1 - place] if higher_is_better else ordered[place])


def place_of(sample: int, places: Array | None) -> int:
    """Of a sample in the data that it was drawn from."""
    return sample if places is None else int(places[sample])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
