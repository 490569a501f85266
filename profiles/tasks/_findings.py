"""What can be wrong with labels and outputs of tasks that read one row for each label, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import TaskFigure
from profiles import decoding

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds


def with_words(figures: Iterable[TaskFigure]) -> tuple[TaskFigure, ...]:
    """Figures with their sentences."""
    from profiles.paired import words

    return tuple(replace(figure, words=words(figure)) for figure in figures)


def outside(labels: Array, reading: decoding.Reading) -> str:
    """Labels that mean no class; empty where all do."""
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and high < reading.classes:
        return ""
    said = f"labels go from {low} to {high}, output {reading.output!r} has {reading.classes} classes, from 0"
    if low >= 1 and high == reading.classes:
        return f"{said}; the labels seem to start at 1: subtract 1"
    return said


def suspicions(labels: Array, answered: Array, reading: decoding.Reading, names: Sequence[str]) -> list[str]:
    """What is odd about labels or answers, though it can be measured."""
    found = []
    kinds = len(np.unique(labels))
    if len(np.unique(answered)) == 1 and kinds > 1:
        found.append(f"the file puts all {len(answered)} samples into class {int(answered[0])}")
    low, shifted = int(labels.min()), float(np.mean(answered == labels - 1))
    straight = float(np.mean(answered == labels))
    if low >= 1 and shifted > 2 * straight and shifted > 0.5:
        found.append(
            f"labels seem to start at 1 while classes start at 0: less 1, {100 * shifted:.1f} % of them would be "
            f"right, and as they are {100 * straight:.1f} %"
        )
    ahead = float(np.mean(answered == labels + 1))
    if not reading.background and reading.classes > int(labels.max()) + 1 and ahead > 2 * straight and ahead > 0.2:
        found.append(
            f"the model seems to have a class more in front: with --decode background=0, {100 * ahead:.1f} % of labels "
            f"would be right, and as they are {100 * straight:.1f} %"
        )
    if len(names) > reading.classes:
        found.append(f"the data names {len(names)} classes, output {reading.output!r} has {reading.classes}")
    return found


def not_finite(array: Array, reading: decoding.Reading, whose: str = "the file") -> str:
    """Rows that are not numbers; empty where all are."""
    bad = decoding.not_finite(array, reading.width)
    total = array.size // reading.width
    return f"output {reading.output!r} of {whose} has NaN or infinity in {bad} of {total} samples" if bad else ""


def constant(array: Array, reading: decoding.Reading) -> list[str]:
    """Whether an output says the same of all samples."""
    total = array.size // reading.width
    if total < 2 or not decoding.constant(array, reading.width):
        return []
    return [f"output {reading.output!r} is constant: it is the same for all {total} samples"]


def reference(reading: decoding.Reading, outputs: Feeds, before: Feeds | None) -> tuple[Array | None, list[str]]:
    """The same output of the reference, where there is one, or why it cannot be compared with."""
    if before is None:
        return None, []
    array = decoding.counterpart(reading, outputs, before)
    if array is None:
        return None, [f"the reference has no output like {reading.output!r}: there are no differences"]
    problem = not_finite(array, reading, "the reference")
    return (None, [f"{problem}: there are no differences"]) if problem else (array, [])
