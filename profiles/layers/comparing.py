"""Two tapped files compared, group of samples after group of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.drift_types import LayerDrift
from profiles.layers import finding, matching, taps
from profiles.layers.figures import Running
from profiles.layers.finding import Judgement
from profiles.layers.matching import Match
from profiles.layers.taps import QUANTIZING, Tapped

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds

_PICKED_ELEMENTS = 512
_PICKED_SAMPLES = 4


class Comparison:
    """The tensors of a file against those of its float counterpart.

    Args:
        file: Rows of the job that tapped the file (:class:`edgekit.plugins.Tap`).
        reference: Rows of the one that tapped the float file.
    """

    def __init__(self, file: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> None:
        self.file = taps.read(file)
        self.reference = taps.read(reference)
        self.samples = 0
        self._pairs: list[Match] = []
        self._running: list[Running] = []

    def add(self, file: Feeds, reference: Feeds) -> None:
        """Take in the outputs of both tapped files on the next samples; the first ones also settle what is paired.

        Args:
            file: As the agent wrote them: integers, or already what they stand for.
            reference: The same of the float file, on the same samples.

        Raises:
            ValueError: The two were run on different numbers of samples.
        """
        if file.count != reference.count:
            raise ValueError(f"{file.count} samples of the file, {reference.count} of the float file")
        if not self._running:
            # Not all files say them, and those with open axes say a part.
            self.file = [replace(tap, shape=file.arrays[tap.output].shape[1:]) for tap in self.file]
            self.reference = [replace(tap, shape=reference.arrays[tap.output].shape[1:]) for tap in self.reference]
            self._pairs = _paired(self.file, self.reference, file, reference)
            self._running = [Running(self.file[pair.place].limits) for pair in self._pairs]
        for pair, running in zip(self._pairs, self._running, strict=True):
            one, other = self.file[pair.place], self.reference[pair.reference]
            found, expected = file.arrays[one.output], reference.arrays[other.output]
            for index in range(file.count):
                running.add(other.values(expected[index]), one.values(found[index]))
        self.samples += file.count

    def result(self, quantized: bool | None = None) -> tuple[list[LayerDrift], int | None]:
        """All pairs in order of execution, and the ``index`` of the first that collapses.

        Args:
            quantized: Whether the file has weights or activations of few bits; where it is not said, whether any of
                its tensors has a scale.
        """
        coarse = any(tap.scale is not None for tap in self.file) if quantized is None else quantized
        figures = {
            self.file[pair.place].tensor: running for pair, running in zip(self._pairs, self._running, strict=True)
        }
        judgements = finding.judged(self.file, figures, coarse)
        paths = finding.paths_of(self.file) if coarse else None
        layers = [
            self._layer(pair, running, judgements[self.file[pair.place].tensor], paths)
            for pair, running in zip(self._pairs, self._running, strict=True)
        ]
        collapsed = (layer.index for layer in layers if judgements[layer.tensor].collapses)
        return layers, next(collapsed, None)

    def unmatched(self) -> tuple[str, ...]:
        """Tensors of the file without a partner, those left out that only hold another in other numbers."""
        paired = {pair.place for pair in self._pairs}
        return tuple(
            tap.tensor for place, tap in enumerate(self.file) if place not in paired and tap.kind not in QUANTIZING
        )

    def _layer(
        self, pair: Match, running: Running, judgement: Judgement, paths: Mapping[str, int] | None
    ) -> LayerDrift:
        tap, other = self.file[pair.place], self.reference[pair.reference]
        reference_low, reference_high = running.reference.ends
        low, high = running.found.ends
        share = f"{running.shifted_share:.0%}"
        shift = f"shifted: {share} of its noise is the same for every sample" if judgement.shifted else ""
        return LayerDrift(
            index=pair.place,
            operator=tap.operator,
            module=tap.module or other.module,
            tensor=tap.tensor,
            reference_tensor=other.tensor,
            matched=pair.how,
            shape=tap.shape,
            sqnr_db=running.sqnr_db,
            lost_db=judgement.lost_db,
            reference_low=reference_low,
            reference_high=reference_high,
            low=low,
            high=high,
            exclude="" if paths is None else finding.pattern(tap, other, paths),
            finding="; ".join(filter(None, (running.finding, shift))),
        )


def _paired(file: Sequence[Tapped], reference: Sequence[Tapped], found: Feeds, expected: Feeds) -> list[Match]:
    """The match, with the values of a few samples to decide by."""
    import numpy as np

    ours = [_picked(tap, found.arrays[tap.output]) for tap in file]
    theirs = [_picked(tap, expected.arrays[tap.output]) for tap in reference]
    centred, others = [_centred(item) for item in ours], [_centred(item) for item in theirs]

    def likeness(place: int, other: int) -> float | None:
        one, two = centred[place], others[other]
        return None if one is None or two is None or one.shape != two.shape else float(one @ two)

    def distance(place: int, other: int) -> float:
        difference = ours[place] - theirs[other]
        return float(np.nan_to_num(difference @ difference, nan=np.inf))

    return matching.match(file, reference, likeness, distance)


def _picked(tap: Tapped, array: Array) -> Array:
    """Evenly spread elements of the first samples."""
    import numpy as np

    size = array[0].size
    places = np.unique(np.linspace(0, size - 1, min(size, _PICKED_ELEMENTS)).astype(np.intp))
    samples = [array[index].reshape(-1)[places] for index in range(min(len(array), _PICKED_SAMPLES))]
    return tap.values(np.concatenate(samples))


def _centred(values: Array) -> Array | None:
    """Without the mean and of length 1; ``None`` where that is not possible."""
    import numpy as np

    if not np.isfinite(values).all():
        return None
    rest = values - values.mean()
    length = float(np.sqrt(rest @ rest))
    return rest / length if length > 0 else None
