"""What several tasks need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import TaskFigure
from edgekit.plugins import TaskInput

if TYPE_CHECKING:
    from edgekit.feeds import Array

_BLOCK_ELEMENTS = 1 << 22


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """An array on disk in parts of some samples, each with the place of its first."""
    one = max(1, array[:1].size)
    rows = max(1, _BLOCK_ELEMENTS // one)
    for start in range(0, len(array), rows):
        yield start, np.asarray(array[start : start + rows])


def not_finite(array: Array) -> int:
    """In how many samples there is NaN or infinity."""
    if array.dtype.kind != "f":
        return 0
    return sum(int((~np.isfinite(block).reshape(len(block), -1).all(axis=1)).sum()) for _, block in blocks(array))


def nonsense(data: TaskInput, output: str | None = None) -> str:
    """What is said where an output, or any of them, holds NaN or infinity; empty where none does."""
    for whose, feeds in (("the file", data.outputs), ("the reference", data.reference)):
        for name, array in {}.items() if feeds is None else feeds.arrays.items():
            wrong = not_finite(array) if output in (None, name) else 0
            if wrong:
                return f"output {name!r} of {whose} has NaN or infinity in {wrong} of {len(array)} samples"
    return ""


def with_words(figure: TaskFigure) -> TaskFigure:
    """A figure with its sentence."""
    from profiles.paired import words

    return replace(figure, words=words(figure))
