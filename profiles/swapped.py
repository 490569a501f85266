"""Two outputs of a file that have changed places: each agrees with the reference of the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.feeds import Array

_DISAGREES_DB = 30.0
"""Outputs that agree better as they are paired are left in peace."""

_AGREES_DB = 10.0
"""Noise at a third of the signal: the least that counts as belonging together."""

_BETTER_DB = 20.0
"""By how much the other way must be better, in both."""

_GLANCE = 64
"""Samples that are looked at first; only what looks swapped there is gone through whole."""

_BLOCK_ELEMENTS = 1 << 16


def swapped(
    reference: Mapping[str, Array],
    outputs: Mapping[str, Array],
    pairs: Mapping[str, str],
    sqnr_db: Mapping[str, float | None],
) -> dict[str, str]:
    """Name in the reference to a sentence, for outputs that look swapped.

    Args:
        reference: Arrays by name, samples first.
        outputs: Likewise, under names of their own.
        pairs: Name in the reference to name of the output.
        sqnr_db: Of each pair; ``None`` where the two are identical or cannot be compared.
    """
    apart = [name for name, given in pairs.items() if _disagree(reference[name], outputs[given], sqnr_db[name])]
    found: dict[str, str] = {}
    for one, other in combinations(apart, 2):
        if one in found or other in found:
            continue
        first, second = outputs[pairs[one]], outputs[pairs[other]]
        direct = (_direct(sqnr_db[one]), _direct(sqnr_db[other]))
        crossed = (_sqnr(reference[other], first, _GLANCE), _sqnr(reference[one], second, _GLANCE))
        if not _better(direct, crossed):
            continue
        crossed = (_sqnr(reference[other], first), _sqnr(reference[one], second))
        if _better(direct, crossed):
            found[one] = found[other] = (
                f"outputs {pairs[one]!r} and {pairs[other]!r} look swapped: the first agrees with {other!r} of the "
                f"reference ({_words(crossed[0])}) and the second with {one!r} ({_words(crossed[1])})"
            )
    return found


def _disagree(reference: Array, output: Array, sqnr_db: float | None) -> bool:
    if reference.shape != output.shape:
        return True
    return sqnr_db is not None and sqnr_db < _DISAGREES_DB


def _direct(sqnr_db: float | None) -> float:
    return -math.inf if sqnr_db is None else sqnr_db


def _better(direct: tuple[float, float], crossed: tuple[float, float]) -> bool:
    return all(new >= _AGREES_DB and new - old >= _BETTER_DB for old, new in zip(direct, crossed, strict=True))


def _sqnr(reference: Array, output: Array, samples: int | None = None) -> float:
    """In dB, over the first so many samples; the worst there is where the two cannot be compared."""
    import numpy as np

    if reference.shape != output.shape:
        return -math.inf
    step = max(1, _BLOCK_ELEMENTS // max(1, reference[0].size))
    signal = noise = 0.0
    for start in range(0, min(len(reference), samples or len(reference)), step):
        expected = np.asarray(reference[start : start + step], np.float64).ravel()
        found = np.asarray(output[start : start + step], np.float64).ravel()
        with np.errstate(invalid="ignore"):
            error = found - expected
        finite = np.isfinite(error)
        signal += float(expected[finite] @ expected[finite])
        noise += float(error[finite] @ error[finite])
    if signal == 0:
        return -math.inf
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def _words(db: float) -> str:
    return "exactly" if math.isinf(db) else f"{db:.1f} dB"
