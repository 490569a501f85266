"""How far the outputs of a file are from a reference's, on the same samples. All arithmetic in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Drift, Measurement
from profiles.distributions import Divergence
from profiles.drift_figures import Sums, figures, place_of

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds

_CONSTANT_RATIO = 1e-6
"""Outputs that vary by less than this share of their size are constant: it is rounding in float32."""

_CLEARLY = 1e-3
"""Outputs that vary by more than this share are not constant, whatever the samples to come hold."""

_BLOCK_ELEMENTS = 1 << 15
"""Of each array that are looked at together: what is made of them stays in the processor's cache."""


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


def compare(reference: Feeds, outputs: Feeds, places: Array | None = None) -> list[Drift]:
    """Compare output by output; they are paired by name, where names differ by position.

    Args:
        reference: What the outputs should be.
        outputs: What a file computed from the same samples.
        places: Of the samples in the data that they were drawn from, ``(samples,)`` integers; those that come with
            ``outputs`` or ``reference`` when ``None``.

    Returns:
        One drift per output of the reference, under its name there, with all figures. What makes a comparison
        worthless (other shapes, values that are not finite, two outputs swapped) is its ``finding``.

    Raises:
        ValueError: The outputs cannot be paired, or nothing was run.
    """
    pairs = _paired(reference, outputs)
    for given in (outputs.places, reference.places):
        places = given if places is None else places
    drifts = [
        _compare_one(name, reference.arrays[name], outputs.arrays[given], places) for name, given in pairs.items()
    ]
    said = _swapped(reference, outputs, pairs, drifts)
    return [
        replace(drift, finding="; ".join(filter(None, (drift.finding, said.get(drift.output, ""))))) for drift in drifts
    ]


def findings(reference: Feeds, outputs: Feeds, drifts: Sequence[Drift] | None = None) -> list[str]:
    """What is wrong with outputs beside noise, a sentence each, with the name of the output.

    Other shapes, values that are not finite, outputs that are constant where the reference is not, outputs swapped.

    Args:
        reference: What the outputs should be.
        outputs: What a file computed from the same samples.
        drifts: What :func:`compare` returned for the two, where that is known already.

    Raises:
        ValueError: As :func:`compare`.
    """
    pairs = _paired(reference, outputs)
    drifts = compare(reference, outputs) if drifts is None else drifts
    exchanged = _swapped(reference, outputs, pairs, drifts)
    said = []
    for drift in drifts:
        swap = exchanged.get(drift.output, "")
        own = drift.finding.removesuffix(swap).removesuffix("; ") if swap else drift.finding
        said += [f"output {drift.output!r}: {own}"] if own else []
        said += [swap] if swap else []
    dead = set(constant_outputs(outputs))
    for name, given in pairs.items():
        if given in dead and not _is_constant(reference.arrays[name]):
            what = f"the same for all {outputs.count} samples" if outputs.count > 1 else "one value all over"
            said.append(f"output {name!r}: constant, {what}; the reference is not")
    return list(dict.fromkeys(said))


def constant_outputs(reference: Feeds) -> list[str]:
    """Names of outputs that do not depend on the samples, or hold one value all over: they prove nothing."""
    return [name for name, array in reference.arrays.items() if _is_constant(array)]


def looks_like_scores(array: Array) -> bool:
    """Whether an output, samples first, is ``(batch, classes)`` of floats with two classes or more."""
    return array.ndim == 3 and array.shape[2] >= 2 and array.dtype.kind == "f"


def _paired(reference: Feeds, outputs: Feeds) -> Mapping[str, str]:
    """Name in the reference to name of the output."""
    from profiles.agent.binding import match

    if reference.count == 0 or reference.count != outputs.count:
        raise ValueError(f"{outputs.count} samples of outputs, {reference.count} of the reference")
    try:
        return match(list(reference.arrays), list(outputs.arrays))
    except ValueError as error:
        raise ValueError(f"the outputs are not those of the reference: {error}") from None


def _swapped(reference: Feeds, outputs: Feeds, pairs: Mapping[str, str], drifts: Sequence[Drift]) -> Mapping[str, str]:
    from profiles.swapped import swapped

    return swapped(reference.arrays, outputs.arrays, pairs, {drift.output: drift.sqnr_db for drift in drifts})


def _is_constant(array: Array) -> bool:
    import numpy as np

    first = np.asarray(array[:1], np.float64)
    largest = varies = 0.0
    for _, block in _blocks(array):
        value = np.asarray(block, np.float64)
        if np.isnan(value).any():
            return False
        with np.errstate(invalid="ignore"):
            away = np.where(value == first, 0.0, np.abs(value - first))
        varies = max(varies, float(away.max(initial=0.0)))
        largest = max(largest, float(np.abs(value).max(initial=0.0, where=np.isfinite(value))))
        if varies > largest * _CLEARLY:
            return False
    if len(array) == 1:
        varies = float(first.max(initial=-math.inf)) - float(first.min(initial=math.inf)) if first.size else 0.0
    return varies <= largest * _CONSTANT_RATIO


def _compare_one(name: str, reference: Array, output: Array, places: Array | None) -> Drift:
    samples = len(reference)
    if reference.shape != output.shape:
        shapes = f"shape {list(output.shape[1:])}, the reference has {list(reference.shape[1:])}"
        return Drift(name, None, None, None, None, samples, finding=shapes)
    sums, divergence, agreement = Sums(samples), Divergence(reference, output), _Agreement(reference, output)
    for start, expected, found in _both(reference, output):
        divergence.add(start, expected, found)
        agreement.add(expected, found)
        sums.add(start, expected.reshape(len(expected), -1), found.reshape(len(found), -1))
    all_figures = figures(sums, divergence, places)
    values = {figure.metric: figure.value for figure in all_figures}
    return Drift(
        name,
        values["max_abs"],
        values["sqnr"],
        values["cosine"],
        agreement.share,
        samples,
        finding=_finding(sums, places),
        kind=_kind(reference, output, divergence),
        figures=all_figures,
    )


def _finding(sums: Sums, places: Array | None) -> str:
    if sums.first_differing is not None:
        first = place_of(sums.first_differing, places)
        many = f"{sums.differing} of {sums.total} values are not finite, in one of the two"
        return f"{many}, first in sample {first}"
    if not sums.signal.any() and sums.noise.any():
        return "the reference is zero everywhere, the output is not"
    return ""


def _kind(reference: Array, output: Array, divergence: Divergence) -> str:
    if reference.dtype.kind != "f" and output.dtype.kind != "f":
        return "whole numbers"
    if divergence.distribution:
        return "probabilities"
    return "scores" if looks_like_scores(reference) else "values"


class _Agreement:
    """Share of rows of scores with the same largest element, or of whole numbers that are equal."""

    def __init__(self, reference: Array, output: Array) -> None:
        self.whole = reference.dtype.kind != "f" and output.dtype.kind != "f"
        self.scores = looks_like_scores(reference) and looks_like_scores(output)
        self.equal = self.total = 0

    def add(self, reference: Array, output: Array) -> None:
        if self.whole:
            same = reference == output
        elif self.scores:
            same = reference.argmax(axis=2) == output.argmax(axis=2)
        else:
            return
        self.equal += int(same.sum())
        self.total += same.size

    @property
    def share(self) -> float | None:
        return self.equal / self.total if self.total else None


def _blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """An array some samples at a time, each with the place of its first: it may be larger than memory."""
    import numpy as np

    step = max(1, _BLOCK_ELEMENTS // max(1, array[0].size))
    for start in range(0, len(array), step):
        yield start, np.asarray(array[start : start + step])


def _both(reference: Array, output: Array) -> Iterator[tuple[int, Array, Array]]:
    import numpy as np

    for start, block in _blocks(reference):
        yield start, block, np.asarray(output[start : start + len(block)])


METRIC = Metric("drift", "Drift", measure)
