"""How far the outputs of a file are from a reference's, on the same samples. All arithmetic in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Drift, Measurement

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds

_CONSTANT_RATIO = 1e-6
"""Outputs that vary by less than this share of their size are constant: it is rounding in float32."""

_BLOCK_ELEMENTS = 2_000_000


def measure(data: MetricInput) -> Sequence[Measurement]:
    """The worst output's figures; :func:`compare` has them all."""
    if data.reference is None or data.outputs is None:
        return [Measurement("drift_sqnr_db", None, "dB", True, unavailable="no reference was given")]
    from edgekit import feeds

    try:
        drifts = compare(feeds.read(data.reference), feeds.read(data.outputs))
    except ValueError as error:
        return [Measurement("drift_sqnr_db", None, "dB", True, unavailable=str(error))]
    samples = drifts[0].samples
    findings = [f"{drift.output}: {drift.finding}" for drift in drifts if drift.finding]
    if findings:
        return [Measurement("drift_sqnr_db", None, "dB", True, samples=samples, unavailable="; ".join(findings))]
    ratios = [drift.sqnr_db for drift in drifts if drift.sqnr_db is not None]
    found = [
        Measurement("drift_sqnr_db", min(ratios), "dB", True, samples=samples)
        if ratios
        else Measurement("drift_sqnr_db", None, "dB", True, samples=samples, unavailable="identical outputs")
    ]
    largest = max((drift.max_abs for drift in drifts if drift.max_abs is not None), default=None)
    found.append(Measurement("drift_max_abs", largest, "", False, samples=samples))
    agreements = [drift.top1_agreement for drift in drifts if drift.top1_agreement is not None]
    if agreements:
        found.append(Measurement("top1_agreement", min(agreements), "ratio", True, samples=samples))
    return found


def compare(reference: Feeds, outputs: Feeds) -> list[Drift]:
    """Compare output by output; they are paired by name, where names differ by position.

    Args:
        reference: What the outputs should be.
        outputs: What a file computed from the same samples.

    Returns:
        One drift per output of the reference, under its name there. What makes a comparison worthless (other
        shapes, values that are not finite) is its ``finding``.

    Raises:
        ValueError: The outputs cannot be paired, or nothing was run.
    """
    from profiles.agent.binding import match

    if reference.count == 0 or reference.count != outputs.count:
        raise ValueError(f"{outputs.count} samples of outputs, {reference.count} of the reference")
    try:
        pairs = match(list(reference.arrays), list(outputs.arrays))
    except ValueError as error:
        raise ValueError(f"the outputs are not those of the reference: {error}") from None
    return [_compare_one(name, reference.arrays[name], outputs.arrays[given]) for name, given in pairs.items()]


def constant_outputs(reference: Feeds) -> list[str]:
    """Names of outputs that do not depend on the samples, or hold one value all over: they prove nothing."""
    return [name for name, array in reference.arrays.items() if _is_constant(array)]


def looks_like_scores(array: Array) -> bool:
    """Whether an output, samples first, is ``(batch, classes)`` of floats with two classes or more."""
    return array.ndim == 3 and array.shape[2] >= 2 and array.dtype.kind == "f"


def _is_constant(array: Array) -> bool:
    import numpy as np

    first = np.asarray(array[0], np.float64)
    largest, varies_over_samples = float(np.abs(first).max(initial=0.0)), 0.0
    low, high = float(first.min(initial=np.inf)), float(first.max(initial=-np.inf))
    for sample in array[1:]:
        value = np.asarray(sample, np.float64)
        varies_over_samples = max(varies_over_samples, float(np.abs(value - first).max(initial=0.0)))
        largest = max(largest, float(np.abs(value).max(initial=0.0)))
        low, high = min(low, float(value.min(initial=np.inf))), max(high, float(value.max(initial=-np.inf)))
    varies = high - low if len(array) == 1 else varies_over_samples
    return not math.isnan(varies) and varies <= largest * _CONSTANT_RATIO


def _compare_one(name: str, reference: Array, output: Array) -> Drift:
    samples = len(reference)
    if reference.shape != output.shape:
        shapes = f"shape {list(output.shape[1:])}, the reference has {list(reference.shape[1:])}"
        return Drift(name, None, None, None, None, samples, finding=shapes)
    sums = _Sums()
    for expected, found in _blocks(reference, output):
        sums.add(expected, found)
    top1 = None
    if reference.dtype.kind != "f" and output.dtype.kind != "f":
        top1 = sum(int((expected == found).sum()) for expected, found in _blocks(reference, output)) / reference.size
    elif looks_like_scores(reference) and looks_like_scores(output):
        agree = sum(
            int((expected.argmax(axis=2) == found.argmax(axis=2)).sum())
            for expected, found in _blocks(reference, output)
        )
        top1 = agree / (reference.shape[0] * reference.shape[1])
    return Drift(name, sums.max_abs, sums.sqnr_db, sums.cosine, top1, samples, finding=sums.finding)


def _blocks(reference: Array, output: Array) -> Iterator[tuple[Array, Array]]:
    """Both arrays, some samples at a time: they may be larger than memory."""
    step = max(1, _BLOCK_ELEMENTS // max(1, reference[0].size))
    for start in range(0, len(reference), step):
        yield reference[start : start + step], output[start : start + step]


class _Sums:
    """Running sums over the elements that are finite in both."""

    def __init__(self) -> None:
        self.signal = self.noise = self.power = self.product = 0.0
        self.compared = self.differing = self.total = 0
        self.largest = 0.0

    def add(self, reference: Array, output: Array) -> None:
        import numpy as np

        expected, found = np.asarray(reference, np.float64).ravel(), np.asarray(output, np.float64).ravel()
        finite = np.isfinite(expected) & np.isfinite(found)
        # The same infinity, or NaN, on both sides is no drift: masks are made of them.
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        self.differing += int((~finite & ~same).sum())
        self.total += expected.size
        expected, found = expected[finite], found[finite]
        error = found - expected
        self.compared += expected.size
        self.signal += float(expected @ expected)
        self.power += float(found @ found)
        self.product += float(expected @ found)
        self.noise += float(error @ error)
        self.largest = max(self.largest, float(np.abs(error).max(initial=0.0)))

    @property
    def max_abs(self) -> float | None:
        return self.largest if self.compared else None

    @property
    def sqnr_db(self) -> float | None:
        if self.noise == 0 or self.signal == 0:
            return None
        return 10 * (math.log10(self.signal) - math.log10(self.noise))

    @property
    def cosine(self) -> float | None:
        if self.signal == 0 or self.power == 0:
            return None
        return self.product / math.sqrt(self.signal) / math.sqrt(self.power)

    @property
    def finding(self) -> str:
        if self.differing:
            return f"{self.differing} of {self.total} values are not finite, in one of the two"
        if self.signal == 0 and self.noise > 0:
            return "the reference is zero everywhere, the output is not"
        return ""


METRIC = Metric("drift", "Drift", measure)
