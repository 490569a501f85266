"""Two classes, told by one score: area under the ROC curve, and accuracy at the usual threshold."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles import decoding
from profiles.tasks import _findings as findings_of
from profiles.tasks.classification import class_labels

if TYPE_CHECKING:
    from edgekit.feeds import Array

SETTINGS = {**decoding.OUTPUT_SETTING, **decoding.SCORES_SETTING}


def fits(data: TaskInput) -> str:
    """Labels are 0 and 1 and an output has one score."""
    labels = class_labels(data.labels)
    if labels is None or not set(np.unique(labels).tolist()) <= {0, 1}:
        return ""
    reading = decoding.single_scores(data.outputs, labels.size, data.settings)
    if reading is None or reading.width != 1:
        return ""
    return f"labels are 0 and 1 and output {reading.output!r} has one score per sample"


def measure(data: TaskInput) -> TaskResult:
    """``auc``, and ``accuracy`` at a probability of 0.5 or a score of 0.

    AUC is the share of pairs of a sample of class 1 and one of class 0 in which the first has the larger score, equal
    scores counting half; scikit-learn's ``roc_auc_score``.

    Args:
        data: With labels 0 and 1.

    Raises:
        UsageError: A setting has a value that means nothing.
    """
    labels = class_labels(data.labels)
    if labels is None:
        return _nothing("", "labels are not whole numbers, one for each sample")
    reading = decoding.single_scores(data.outputs, labels.size, data.settings)
    if reading is None:
        return _nothing("", f"no output has a score for each of {labels.size} labels")
    array = data.outputs.arrays[reading.output]
    low, high = int(labels.min()), int(labels.max())
    problem = "" if low >= 0 and high <= 1 else f"labels go from {low} to {high}, and must be 0 and 1"
    problem = problem or findings_of.not_finite(array, reading)
    if problem:
        return _nothing(reading.words, problem)
    before, missing = findings_of.reference(reading, data.outputs, data.reference)
    findings = [*findings_of.constant(array, reading), *missing]
    mine, its = _scores(array, reading), None if before is None else _scores(before, reading)
    answered = mine > _threshold(reading)
    if low < high and len(np.unique(answered)) == 1:
        findings.append(f"the file puts all {len(labels)} samples into class {int(answered[0])}")
    figures = _figures(mine, its, labels, _threshold(reading))
    return TaskResult("binary_scores", _words(reading), figures, findings=tuple(findings))


def _words(reading: decoding.Reading) -> str:
    return f"{reading.words}; class 1 above {_threshold(reading):g}"


def _threshold(reading: decoding.Reading) -> float:
    return 0.5 if reading.kind == decoding.PROBABILITIES else 0.0


def _scores(array: Array, reading: decoding.Reading) -> Array:
    """One number per row: of two classes, how far the second is ahead, as a probability where they are such."""
    parts = []
    for _, block in decoding.rows(array, reading.width):
        scores = np.asarray(block, np.float64)
        if reading.width == 1 or reading.kind == decoding.PROBABILITIES:
            parts.append(scores[:, -1])
        else:
            parts.append(scores[:, 1] - scores[:, 0])
    found: Array = np.concatenate(parts)
    return found


def _figures(mine: Array, its: Array | None, labels: Array, threshold: float) -> tuple[TaskFigure, ...]:
    from profiles import paired

    areas = [None if scores is None else partial(area, *ordered(scores, labels)) for scores in (mine, its)]
    assert areas[0] is not None  # noqa: S101 - it is the file's
    if labels.min() == labels.max():
        reason = f"all labels are {int(labels[0])}, and the curve needs both classes"
        auc = findings_of.with_words([TaskFigure("auc", "ratio", True, None, unavailable=reason)])[0]
    else:
        auc = paired.resampled("auc", "ratio", True, len(labels), areas[0], areas[1])
    right = (mine > threshold) == labels
    before = None if its is None else (its > threshold) == labels
    return auc, paired.share("accuracy", right, before)


def ordered(scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Rows in order of their score, where each run of equal scores begins, and labels in that order."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts, labels[order].astype(np.float64)


def area(order: Array, starts: Array, labels: Array, drawn: Array) -> Array:
    """AUC of each resample, as :data:`profiles.paired.Statistic` has it; NaN where one of the classes is missing."""
    weights = drawn[:, order]
    ones = np.add.reduceat(weights * labels, starts, axis=1)
    zeros = np.add.reduceat(weights * (1 - labels), starts, axis=1)
    below = np.cumsum(zeros, axis=1) - zeros / 2
    pairs = ones.sum(axis=1) * zeros.sum(axis=1)
    found: Array = np.divide((ones * below).sum(axis=1), pairs, out=np.full(len(drawn), np.nan), where=pairs > 0)
    return found


def _nothing(words: str, reason: str) -> TaskResult:
    figures = [TaskFigure(name, "ratio", True, None, unavailable=reason) for name in ("auc", "accuracy")]
    return TaskResult("binary_scores", words, findings_of.with_words(figures), findings=(reason,))


TASK = Task(
    name="binary_scores",
    title="scores of two classes",
    fits=fits,
    measure=measure,
    rank=40,
    settings=SETTINGS,
)
