"""The first layer where SQNR collapses, and those that lose most.

Noise adds up along depth, so every layer of a healthy file stands a little below what feeds it. A collapse is a layer
that stands far below what its inputs allow; or, where noise hides that, one that adds the same error to every sample.

The limits are measured (``benchmarks/planted_faults.py`` repeats it). Healthy int8 files of a digits CNN, ResNet-20 and
a MobileNet in three formats, and MLPerf Tiny's ResNet-8, DS-CNN and MobileNet, lose 8.1 dB in one layer at most (its
autoencoder, whose weights have one scale for each layer, loses 11.8 dB in the first, and that is named). A
depthwise layer rounded with one scale for all channels loses 11 dB and more, weights times 8 lose 50. A dropped bias
costs 6 to 8 dB in int8, which is no more than healthy layers lose; but its steady error stands 13 dB and more above
that of its inputs, and that of healthy layers 10 dB at most.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.drift_types import LayerDrift
from profiles.layers.figures import Running
from profiles.layers.taps import MOVES, QUANTIZING, Tapped

WORST = 10
"""Layers named beside the first."""

COLLAPSE_DB = 10.0
"""What a layer loses against the worst of its inputs when it collapses."""

QUANTIZED_DB = 36.0
FLOAT_DB = 60.0
"""Inputs better than this count as this: what layers reach at best in 8 bits, and what nobody needs to explain."""

LEAST_DB = -60.0
"""Worse counts as this, values that are not finite too."""

SHIFT_DB = 12.0
SHIFT_LOST_DB = 4.0
SHIFT_SHARE = 0.15
CLEAR_SHIFT_SHARE = 0.8
STEADY_SHARE = 0.5
"""A layer is shifted when its steady error loses so much, all of it so much, and so large a share of it is steady;
nothing is said where so much of the reference is steady, too: then the samples hardly differ."""

_SOFTMAX = frozenset({"log_softmax", "logsoftmax", "softmax"})
_STEADY_CEILING_DB = 45.0


@dataclass(frozen=True)
class Judgement:
    """Of one layer.

    Attributes:
        lost_db: By how much its SQNR is below the worst of its inputs; 0 where it is not.
        shifted: Whether it adds the same error to every sample.
        collapses: Whether drift begins here, if not before.
    """

    lost_db: float
    shifted: bool
    collapses: bool


def judged(file: Sequence[Tapped], running: Mapping[str, Running], quantized: bool) -> dict[str, Judgement]:
    """Judge each tensor by those it is computed from.

    Args:
        file: Taps in order of execution.
        running: Figures of those that are paired, by name. What is computed from others that are not is judged by what
            feeds those.
        quantized: Whether the file computes with integers, or with weights of few bits.

    Returns:
        By name, for those that are paired.
    """
    ceiling = QUANTIZED_DB if quantized else FLOAT_DB
    reached: dict[str, float] = {}
    steady: dict[str, float] = {}
    found: dict[str, Judgement] = {}
    ends = _before_softmax(file)
    for tap in file:
        given = min((reached.get(name, ceiling) for name in tap.inputs), default=ceiling)
        given_steady = min((steady.get(name, _STEADY_CEILING_DB) for name in tap.inputs), default=_STEADY_CEILING_DB)
        figures = running.get(tap.tensor)
        if figures is not None:
            figures = _better(figures, [running[name] for name in ends.get(tap.tensor, ()) if name in running])
        known = None if figures is None else figures.known_db
        reached[tap.tensor] = given if known is None else min(max(known, LEAST_DB), ceiling)
        steady[tap.tensor] = given_steady if figures is None or known is None else _steady_db(figures, known)
        if figures is not None:
            lost = max(0.0, given - reached[tap.tensor])
            shifted = figures.gain is None and _is_shifted(figures, lost, given_steady - steady[tap.tensor])
            found[tap.tensor] = Judgement(lost, shifted, shifted or lost >= COLLAPSE_DB)
    return found


def _before_softmax(file: Sequence[Tapped]) -> dict[str, set[str]]:
    """What nothing but softmax reads, and those: to them values far below the largest are all the same.

    Quantizers know that, and give such values no levels; so what softmax makes of a tensor tells how good it is.
    """
    readers: dict[str, list[Tapped]] = {}
    for tap in file:
        for name in tap.inputs:
            readers.setdefault(name, []).append(tap)
    found: dict[str, set[str]] = {}
    for tap in reversed(list(file)):
        own = readers.get(tap.tensor, [])
        ends = [{item.tensor} if item.kind in _SOFTMAX else found.get(item.tensor, set()) for item in own]
        through = all(item.kind in _SOFTMAX | QUANTIZING | MOVES for item in own)
        if own and through and all(ends):
            found[tap.tensor] = set().union(*ends)
    return found


def _better(figures: Running, behind: Sequence[Running]) -> Running:
    """Those of a tensor, or of the worst softmax behind it where that stands better."""
    known = [(item.known_db, item) for item in behind]
    compared = [(level, item) for level, item in known if level is not None]
    if not compared or len(compared) < len(known) or figures.known_db is None:
        return figures
    level, worst = min(compared, key=lambda pair: pair[0])
    return worst if level > figures.known_db else figures


def _steady_db(figures: Running, known_db: float) -> float:
    """SQNR with the steady error alone as noise."""
    share = figures.shifted_share
    return min(_STEADY_CEILING_DB, known_db - 10 * math.log10(share)) if share > 0 else _STEADY_CEILING_DB


def _is_shifted(figures: Running, lost_db: float, lost_steady_db: float) -> bool:
    least = SHIFT_SHARE if lost_db < COLLAPSE_DB else CLEAR_SHIFT_SHARE  # what collapses anyway may have other causes
    if figures.steady_share > STEADY_SHARE or figures.shifted_share < least:
        return False
    return lost_db >= SHIFT_LOST_DB and lost_steady_db >= SHIFT_DB


def worst(layers: Sequence[LayerDrift]) -> tuple[int, ...]:
    """``index`` of up to ten layers that lose most, the worst first."""
    losing = sorted((layer for layer in layers if layer.lost_db > 0), key=lambda layer: -layer.lost_db)
    return tuple(layer.index for layer in losing[:WORST])


_SMALL_MODULES = ("act", "batch_norm", "bn", "drop", "norm", "relu")


def pattern(tap: Tapped, other: Tapped, paths: Mapping[str, int]) -> str:
    """What ``--exclude`` takes to keep this layer float: its module path, or else the kind of operator.

    Args:
        tap: Of the quantized file.
        other: Of the float file.
        paths: How many taps of the quantized file have each module path (:func:`paths_of`).

    Returns:
        Of several paths that were fused, the one that fewest layers have; empty for what only changes how values are
        stored.
    """
    kinds = [kind for kind in (tap.kind, other.kind) if kind not in QUANTIZING]
    own = tap.module if tap.kind not in QUANTIZING else ""
    found = list(filter(None, (own or other.module).split("+")))
    if found:
        return glob.escape(min(found, key=lambda path: (paths.get(path, 0), _is_small(path), -len(path), path)))
    return kinds[0] if kinds else ""


def _is_small(path: str) -> bool:
    """Whether it is called like what is fused into another layer rather than like that layer."""
    return path.rpartition(".")[2].lower().startswith(_SMALL_MODULES)


def paths_of(file: Sequence[Tapped]) -> dict[str, int]:
    """How many taps have each module path, those above theirs included: a pattern matches all below it."""
    found: dict[str, int] = {}
    for tap in file:
        above: set[str] = set()
        for path in filter(None, tap.module.split("+")):
            parts = path.split(".")
            above.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
        for path in above:
            found[path] = found.get(path, 0) + 1
    return found
