"""Classification: how often the class with the largest score is that of the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import ClassFigures, Flips, TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles import decoding
from profiles.tasks import _findings as findings_of

if TYPE_CHECKING:
    from edgekit.feeds import Array

SETTINGS = {**decoding.OUTPUT_SETTING, **decoding.SCORES_SETTING, **decoding.BACKGROUND_SETTING}

MOST_CONFUSED = 100
"""Of more classes than this the confusion is left empty."""

_FEW = 5
_SHOWN_SAMPLES = 100


@dataclass(frozen=True)
class Answers:
    """What a file says of each row: its class, and whether the label's is the best, or among the five best."""

    classes: Array
    top1: Array
    top5: Array


def fits(data: TaskInput) -> str:
    """Labels are whole numbers and an output has scores for as many classes."""
    labels = class_labels(data.labels)
    if labels is None:
        return ""
    reading = decoding.class_scores(data.outputs, labels.size, data.settings)
    if reading is None:
        return ""
    return f"labels are whole numbers and output {reading.output!r} has {reading.width} values per sample"


def class_labels(labels: object) -> Array | None:
    """Labels in a row, where they are whole numbers, one per row of the output."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iub" or labels.ndim > 2 or not labels.size:
        return None
    return labels.reshape(-1).astype(np.int64)


def answers(array: Array, reading: decoding.Reading, labels: Array) -> Answers:
    """Read an output, in blocks: memory holds a few numbers per row, not its scores.

    Among equal scores the first class counts as the larger, as NumPy's ``argmax`` has it.

    Args:
        array: ``(samples, batch, classes)``, or the like.
        reading: How.
        labels: ``(rows,)``, each in ``0 … classes - 1``.
    """
    classes, ranks = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
    for start, block in decoding.rows(array, reading.width):
        scores = block[:, int(reading.background) :]
        wanted = labels[start : start + len(scores), None]
        own = np.take_along_axis(scores, wanted, axis=1)
        before = (scores == own) & (np.arange(scores.shape[1]) < wanted)
        ranks[start : start + len(scores)] = (scores > own).sum(axis=1) + before.sum(axis=1)
        # The background may be the answer, and is then a wrong one.
        classes[start : start + len(scores)] = block.argmax(axis=1) - int(reading.background)
    return Answers(classes, classes == labels, ranks < _FEW)


def problem(array: Array, reading: decoding.Reading, labels: Array) -> str:
    """Why nothing can be measured; empty when it can."""
    return findings_of.outside(labels, reading) or findings_of.not_finite(array, reading)


def top1(array: Array, reading: decoding.Reading, labels: Array) -> TaskFigure:
    """The share of rows whose best class is the label's, without a reference."""
    from profiles import paired

    return paired.share("top1", answers(array, reading, labels).top1)


def measure(data: TaskInput) -> TaskResult:
    """``top1``, ``top5`` where there are more than five classes, and ``f1``, the mean over classes of their F1.

    F1 of a class is ``2·hits / (labels of it + answers of it)``, over the classes that occur in either, which is
    scikit-learn's ``f1_score(average="macro")``.

    Args:
        data: With labels ``(samples, batch)`` of whole numbers.

    Raises:
        UsageError: A setting has a value that means nothing.
    """
    labels = class_labels(data.labels)
    if labels is None:
        return _nothing("", "labels are not whole numbers, one for each sample")
    reading = decoding.class_scores(data.outputs, labels.size, data.settings)
    if reading is None:
        return _nothing("", f"no output has a row of scores for each of {labels.size} labels")
    array = data.outputs.arrays[reading.output]
    unusable = problem(array, reading, labels)
    if unusable:
        return _nothing(reading.words, unusable)
    file = answers(array, reading, labels)
    before, missing = findings_of.reference(reading, data.outputs, data.reference)
    reference = None if before is None else answers(before, reading, labels)
    odd = findings_of.suspicions(labels, file.classes, reading, data.classes)
    findings = [*odd, *findings_of.constant(array, reading), *missing]
    figures = _figures(file, reference, labels, reading.classes)
    classes = _per_class(labels, file, reference, data.classes)
    flips = None if reference is None else _flips(file, reference, data, reading.classes)
    return TaskResult("classification", reading.words, figures, classes, flips, tuple(findings))


def _nothing(words: str, reason: str) -> TaskResult:
    figures = [TaskFigure(name, "ratio", True, None, unavailable=reason) for name in ("top1", "f1")]
    return TaskResult("classification", words, findings_of.with_words(figures), findings=(reason,))


def _figures(file: Answers, reference: Answers | None, labels: Array, classes: int) -> tuple[TaskFigure, ...]:
    from profiles import paired

    figures = [paired.share("top1", file.top1, None if reference is None else reference.top1)]
    if classes > _FEW:
        figures.append(paired.share("top5", file.top5, None if reference is None else reference.top5))
    macro = [None if each is None else partial(macro_f1, labels, each.classes) for each in (file, reference)]
    assert macro[0] is not None  # noqa: S101 - it is the file's
    figures.append(paired.resampled("f1", "ratio", True, len(labels), macro[0], macro[1]))
    return tuple(figures)


def macro_f1(labels: Array, answered: Array, drawn: Array) -> Array:
    """F1 of each resample, as :data:`profiles.paired.Statistic` has it.

    Args:
        labels: ``(rows,)``, from 0.
        answered: ``(rows,)``; -1 is a class that no label means.
        drawn: ``(resamples, rows)``: how often each row is drawn.
    """
    size = int(max(labels.max(), answered.max())) + 2
    found = np.empty(len(drawn))
    right = labels == answered
    true, said, both_say = labels + 1, answered + 1, labels[right] + 1
    for index, weights in enumerate(drawn):
        both = np.bincount(true, weights, size) + np.bincount(said, weights, size)
        hits = np.bincount(both_say, weights[right], size)
        occurs = both > 0
        found[index] = np.mean(2 * hits[occurs] / both[occurs])
    return found


def _per_class(
    labels: Array, file: Answers, reference: Answers | None, names: Sequence[str]
) -> tuple[ClassFigures, ...]:
    size = max(int(labels.max()) + 1, len(names))
    samples = np.bincount(labels, minlength=size)
    hits = np.bincount(labels[file.top1], minlength=size)
    before = None if reference is None else np.bincount(labels[reference.top1], minlength=size)
    return tuple(
        ClassFigures(
            label,
            names[label] if label < len(names) else "",
            int(samples[label]),
            float(hits[label] / samples[label]) if samples[label] else None,
            float(before[label] / samples[label]) if before is not None and samples[label] else None,
        )
        for label in range(size)
    )


def _flips(file: Answers, reference: Answers, data: TaskInput, classes: int) -> Flips:
    other = file.classes != reference.classes
    broken, repaired = reference.top1 & ~file.top1, file.top1 & ~reference.top1
    confusion: tuple[tuple[int, ...], ...] = ()
    first = int(min(file.classes.min(), reference.classes.min(), 0))
    size = classes - first
    if size <= MOST_CONFUSED:
        cells = np.bincount((reference.classes - first) * size + file.classes - first, minlength=size * size)
        confusion = tuple(tuple(int(cell) for cell in row) for row in cells.reshape(size, size))
    return Flips(
        int(broken.sum()),
        int(repaired.sum()),
        int((other & ~broken & ~repaired).sum()),
        places(broken, data),
        places(repaired, data),
        confusion,
    )


def places(chosen: Array, data: TaskInput) -> tuple[int, ...]:
    """Places in the data of the first hundred rows that are chosen."""
    found = np.flatnonzero(chosen)[:_SHOWN_SAMPLES]
    if data.inputs.places is not None:
        batch = max(1, len(chosen) // max(1, data.inputs.count))
        found = np.asarray(data.inputs.places)[found // batch] * batch + found % batch
    return tuple(int(place) for place in found)


TASK = Task(
    name="classification",
    title="classification",
    fits=fits,
    measure=measure,
    rank=30,
    settings=SETTINGS,
)
