"""Which tensor of a file is which of its float counterpart.

Names say it first, then module path and operator; what is left between tensors that are paired is aligned in order
of execution (Needleman and Wunsch, 1970). Operators may be fused, split or put in on one side. Where order leaves a
choice the values decide; they never pair what order and shape do not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from profiles.layers.taps import ACTIVATIONS, MOVES, QUANTIZING, Tapped

_TRUSTED_SHARE = 0.9
"""Names count when so many of the equal ones are of equal shape and kind: numbers for names may be equal by chance."""

_SAME, _FUSED, _LOOSE = 2.0, 1.9, 0.5
_LIKENESS_WEIGHT = 2.0
_SURE = 0.9
"""Correlation of tensors whose operators differ, from which they are taken for one."""

_CLEARLY_NEARER = 4.0
"""Factor between two distances that no noise makes (6 dB)."""


@dataclass(frozen=True)
class Match:
    """A pair.

    Attributes:
        place, reference: Places in the two lists.
        how: ``name``, ``module`` or ``order``.
    """

    place: int
    reference: int
    how: str


Likeness = Callable[[int, int], float | None]
"""Correlation of a tensor of the file and one of the reference on a few samples; ``None`` where one is constant."""

Distance = Callable[[int, int], float]
"""Sum of squares of their difference on those."""


def match(file: Sequence[Tapped], reference: Sequence[Tapped], likeness: Likeness, distance: Distance) -> list[Match]:
    """Pair the taps of two files.

    Args:
        file: In order of execution.
        reference: The same of the float file.
        likeness: Called for pairs with as many elements, and only where there is a choice.
        distance: The same.

    Returns:
        At most one pair for each tap of the file, in its order. Several may share one of the reference: a tensor and
        the same quantized.
    """
    pairs = _by_name(file, reference)
    pairs += _by_key(file, reference, pairs)
    pairs += _by_order(file, reference, pairs, likeness)
    taken = {pair.reference for pair in pairs}
    behind = {place: other for place, other in _activations_behind(reference).items() if other not in taken}
    moved = [_behind_activation(pair, file, behind, distance) for pair in pairs]
    return sorted(moved, key=lambda pair: pair.place)


def _by_name(file: Sequence[Tapped], reference: Sequence[Tapped]) -> list[Match]:
    places = {tap.tensor: place for place, tap in enumerate(reference)}
    named = []
    for place, tap in enumerate(file):
        found = places.get(tap.tensor, places.get(tap.twin))
        if found is not None:
            named.append((place, found))
    agreeing = [(one, other) for one, other in named if _may_be_one(file[one], reference[other])]
    if len(agreeing) < _TRUSTED_SHARE * len(named):
        return []
    return [Match(one, other, "name") for one, other in agreeing]


def _may_be_one(one: Tapped, other: Tapped) -> bool:
    if one.sizes != other.sizes:
        return False
    loose = QUANTIZING | ACTIVATIONS | MOVES
    return one.kind == other.kind or one.kind in loose or other.kind in loose


def _by_key(file: Sequence[Tapped], reference: Sequence[Tapped], known: Sequence[Match]) -> list[Match]:
    """Pairs of equal module path, kind and shape, where both files have as many of them."""
    taken, given = {pair.place for pair in known}, {pair.reference for pair in known}
    ours, theirs = _groups(file, taken), _groups(reference, given)
    found = []
    for key, places in ours.items():
        others = theirs.get(key, [])
        if len(places) == len(others):
            found += [Match(one, other, "module") for one, other in zip(places, others, strict=True)]
    return found


def _groups(taps: Sequence[Tapped], without: set[int]) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place, tap in enumerate(taps):
        if place not in without and tap.module:
            found[tap.module, tap.kind, tap.sizes].append(place)
    return found


def _by_order(
    file: Sequence[Tapped], reference: Sequence[Tapped], known: Sequence[Match], likeness: Likeness
) -> list[Match]:
    taken, given = {pair.place for pair in known}, {pair.reference for pair in known}
    found: list[Match] = []
    before = (-1, -1)
    for anchor in [*_rising(known), (len(file), len(reference))]:
        ours = [place for place in range(before[0] + 1, anchor[0]) if place not in taken]
        theirs = [place for place in range(before[1] + 1, anchor[1]) if place not in given]
        found += _aligned(file, reference, ours, theirs, likeness)
        before = anchor
    return found


def _rising(known: Sequence[Match]) -> list[tuple[int, int]]:
    """The longest list of pairs that rises on both sides: others are no anchors."""
    ends: list[int] = []  # the reference that ends the best list of each length
    chains: list[list[tuple[int, int]]] = []
    for place, other in sorted((pair.place, pair.reference) for pair in known):
        length = bisect_left(ends, other)
        chain = [*(chains[length - 1] if length else []), (place, other)]
        ends[length : length + 1] = [other]
        chains[length : length + 1] = [chain]
    return chains[-1] if chains else []


def _aligned(
    file: Sequence[Tapped],
    reference: Sequence[Tapped],
    ours: Sequence[int],
    theirs: Sequence[int],
    likeness: Likeness,
) -> list[Match]:
    """The alignment of two stretches with the largest sum of scores."""
    if not ours or not theirs:
        return []
    scores = [[_score(file[one], reference[other], one, other, likeness) for other in theirs] for one in ours]
    best = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for row in range(len(ours) - 1, -1, -1):
        for column in range(len(theirs) - 1, -1, -1):
            paired = scores[row][column] + best[row + 1][column + 1] if scores[row][column] > 0 else 0.0
            best[row][column] = max(paired, best[row + 1][column], best[row][column + 1])
    found, row, column = [], 0, 0
    while row < len(ours) and column < len(theirs):
        score = scores[row][column]
        if score > 0 and best[row][column] == score + best[row + 1][column + 1]:
            found.append(Match(ours[row], theirs[column], "order"))
            row, column = row + 1, column + 1
        elif best[row][column] == best[row + 1][column]:
            row += 1
        else:
            column += 1
    return found


def _score(one: Tapped, other: Tapped, place: int, other_place: int, likeness: Likeness) -> float:
    """How well two taps go together; 0 where they do not."""
    if one.sizes != other.sizes:
        return 0.0
    alike = likeness(place, other_place)
    sure = alike is not None and alike >= _SURE
    if one.kind == other.kind:
        base = _SAME
    elif sure and (one.kind in ACTIVATIONS or other.kind in ACTIVATIONS):
        base = _FUSED
    elif sure:
        base = _LOOSE
    else:
        return 0.0
    return base + _LIKENESS_WEIGHT * max(0.0, alike or 0.0)


def _activations_behind(reference: Sequence[Tapped]) -> dict[int, int]:
    """The activation that alone reads a tensor of the reference, by place."""
    places = {tap.tensor: place for place, tap in enumerate(reference)}
    readers: dict[int, list[int]] = defaultdict(list)
    for place, tap in enumerate(reference):
        for name in tap.inputs:
            if name in places:
                readers[places[name]].append(place)
    return {
        place: found[0]
        for place, found in readers.items()
        if len(found) == 1 and reference[found[0]].kind in ACTIVATIONS
    }


def _behind_activation(pair: Match, file: Sequence[Tapped], behind: dict[int, int], distance: Distance) -> Match:
    """Quantizers drop a relu and keep the name of what was before it: then the tensor is the one behind."""
    other = behind.get(pair.reference)
    if other is None or file[pair.place].kind in ACTIVATIONS:
        return pair
    if distance(pair.place, other) * _CLEARLY_NEARER < distance(pair.place, pair.reference):
        return Match(pair.place, other, pair.how)
    return pair
