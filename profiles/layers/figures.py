"""How far one tensor is from another, sample after sample; nothing is kept but sums. All arithmetic in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.feeds import Array

CLIPPED_SHARE = 0.01
"""Share of the reference's values beyond the range of the integers from which a layer counts as clipped."""

_EXPLAINED_SHARE = 2 / 3
"""Of the noise, that a factor has to explain; a bias, or a clamp behind it, leaves some."""

_LEAST_GAIN = 0.1
"""How far from 1 a factor is worth a word, and from 0: a tensor that has lost everything is not scaled."""

_STEADY_ELEMENTS = 65536
"""Of one tensor, that are remembered from sample to sample: memory must not grow with what a network holds."""

_CONSTANT_RATIO = 1e-6
"""Values that vary by less than this share of their size are constant: it is rounding in float32."""


@dataclass
class Range:
    """Least and largest finite values so far."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, values: Array) -> None:
        """Take in some values, none of them not finite."""
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        """Both, or ``None`` where there was no finite value."""
        return (self.low, self.high) if self.low <= self.high else (None, None)

    @property
    def varies(self) -> bool:
        """Whether the values differ by more than rounding."""
        return self.high - self.low > _CONSTANT_RATIO * max(abs(self.low), abs(self.high))


@dataclass
class Steady:
    """How much of a tensor is the same for every sample, from elements that are spread evenly over it.

    Attributes:
        samples: Number of all.
        total: Sum of each element.
        power: Sum of all squares.
    """

    samples: int = 0
    total: Array | None = None
    power: float = 0.0

    def add(self, values: Array) -> None:
        """Take in one sample, a vector."""
        # Odd: else a step may fall on one channel in many, whose number is even as a rule.
        some = values[:: -(-values.size // _STEADY_ELEMENTS) | 1]
        self.samples += 1
        self.total = some.copy() if self.total is None else self.total + some
        self.power += float(some @ some)

    @property
    def share(self) -> float:
        """The power of the mean over the samples, of all; what chance makes of it is taken off.

        Of ``n`` samples that have nothing in common the mean keeps ``1/n`` of their power.
        """
        if self.samples < 2 or self.total is None or self.power == 0:
            return 0.0
        share = float(self.total @ self.total) / self.samples / self.power
        return max(0.0, (share - 1 / self.samples) / (1 - 1 / self.samples))


@dataclass
class Running:
    """Figures of one pair of tensors.

    Attributes:
        limits: What the integers of the file can hold; ``None`` for floats.
        signal, noise: Sums of squares of the reference, and of the difference, where both are finite.
        product: Sum of the products of the two, there.
        elements: Number of all.
        not_finite: Elements that are finite in the reference and not in the file.
        beyond: Elements of the reference outside ``limits``.
        shift, level: What is the same for every sample in the difference, and in the reference.
        reference, found: Ranges.
    """

    limits: tuple[float, float] | None = None
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    elements: int = 0
    not_finite: int = 0
    beyond: int = 0
    shift: Steady = field(default_factory=Steady)
    level: Steady = field(default_factory=Steady)
    reference: Range = field(default_factory=Range)
    found: Range = field(default_factory=Range)

    def add(self, reference: Array, found: Array) -> None:
        """Take in one sample of both, of as many elements each."""
        import numpy as np

        expected, values = reference.reshape(-1), found.reshape(-1)
        known, finite = np.isfinite(expected), np.isfinite(values)
        self.elements += expected.size
        self.not_finite += int((known & ~finite).sum())
        self.found.add(values[finite])
        self.reference.add(expected[known])
        if not (known & finite).all():
            expected, values = expected[known & finite], values[known & finite]
        difference = expected - values
        if difference.size == reference.size:
            self.shift.add(difference)
            self.level.add(expected)
        self.signal += float(expected @ expected)
        self.noise += float(difference @ difference)
        self.product += float(expected @ values)
        if self.limits is not None:
            low, high = self.limits
            step = (high - low) / 255  # what rounds to the last level is not cut
            self.beyond += int(((expected < low - step) | (expected > high + step)).sum())

    @property
    def sqnr_db(self) -> float | None:
        """``10*log10(signal/noise)``; ``None`` when identical, or when the reference is zero everywhere."""
        if self.noise == 0 or self.signal == 0:
            return None
        return 10 * math.log10(self.signal / self.noise)

    @property
    def known_db(self) -> float | None:
        """The same for comparing: infinite when identical, minus infinite when not finite."""
        if self.not_finite:
            return -math.inf
        return math.inf if self.noise == 0 else self.sqnr_db

    @property
    def gain(self) -> float | None:
        """The factor by which the file's values are those of the reference, where that explains most of the noise.

        The least squares fit ``product / signal``; it takes ``(gain - 1)^2 * signal`` off the noise. ``None`` where
        more than a third of the noise is left, and where the factor is near 1 or near 0.
        """
        if self.signal == 0 or self.noise == 0 or self.not_finite:
            return None
        gain = self.product / self.signal
        explained = (gain - 1) ** 2 * self.signal
        said = abs(gain) >= _LEAST_GAIN and abs(gain - 1) >= _LEAST_GAIN
        return gain if said and explained >= _EXPLAINED_SHARE * self.noise else None

    @property
    def shifted_share(self) -> float:
        """Share of the noise that is the same for every sample, from 0 to 1."""
        return 0.0 if self.not_finite else self.shift.share

    @property
    def steady_share(self) -> float:
        """Share of the reference that is the same for every sample, from 0 to 1."""
        return 0.0 if self.not_finite else self.level.share

    @property
    def finding(self) -> str:
        """What is wrong beside noise; empty when nothing is."""
        found = []
        if self.not_finite:
            found.append(f"{self.not_finite / self.elements:.1%} of its values are not finite")
        elif self.reference.varies and not self.found.varies:
            found.append("dead: one value everywhere")
        if self.beyond > CLIPPED_SHARE * self.elements:
            found.append(f"clipped: {self.beyond / self.elements:.1%} of the reference's values are beyond its range")
        if self.gain is not None:
            found.append(f"scaled: its values are about {self.gain:.2g} times the reference's")
        if self.signal == 0 and self.noise > 0:
            found.append("the reference is zero everywhere, so SQNR is not defined")
        return "; ".join(found)
