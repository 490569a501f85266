"""Regression: how far values are off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles import decoding
from profiles.tasks import _findings as findings_of

if TYPE_CHECKING:
    from edgekit.feeds import Array

SETTINGS = dict(decoding.OUTPUT_SETTING)

_NAMES = ("mean_abs_error", "rmse", "r2")


def fits(data: TaskInput) -> str:
    """Labels are numbers, and an output has as many."""
    labels = numbers(data.labels)
    if labels is None:
        return ""
    reading = decoding.values(data.outputs, labels.shape, data.settings)
    if reading is None:
        return ""
    kind = "numbers with fractions" if labels.dtype.kind == "f" else "whole numbers"
    many = f"{reading.width} values" if reading.width > 1 else "one value"
    return f"labels are {kind} and output {reading.output!r} has {many} per sample"


def numbers(labels: object) -> Array | None:
    """Labels as ``(samples, batch, …)``, where they are numbers."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "fiu" or not labels.size:
        return None
    return labels if labels.ndim > 1 else labels[:, None]


def measure(data: TaskInput) -> TaskResult:
    """``mean_abs_error``, ``rmse`` and ``r2`` of the values that an output has for each label.

    Mean absolute error and RMSE are over all values; R² is ``1 - Σ(y - ŷ)² / Σ(y - ȳ)²``, the mean of that over the
    values of a sample where it has several, as scikit-learn's ``r2_score`` has it.

    Args:
        data: With labels ``(samples, batch, …)``; an output has as many values, in the same order.

    Raises:
        UsageError: A setting has a value that means nothing.
    """
    labels = numbers(data.labels)
    if labels is None:
        return _nothing("", "labels are no numbers")
    reading = decoding.values(data.outputs, labels.shape, data.settings)
    if reading is None:
        wanted = f"{int(np.prod(labels.shape[2:]))} values for each of {labels.shape[0] * labels.shape[1]} labels"
        return _nothing("", f"no output has {wanted}")
    array = data.outputs.arrays[reading.output]
    problem = _bad_labels(labels, reading) or findings_of.not_finite(array, reading)
    if problem:
        return _nothing(reading.words, problem)
    before, missing = findings_of.reference(reading, data.outputs, data.reference)
    findings = [*findings_of.constant(array, reading), *missing]
    return TaskResult(
        "regression", reading.words, _figures(array, before, labels, reading.width), findings=tuple(findings)
    )


def _bad_labels(labels: Array, reading: decoding.Reading) -> str:
    bad = decoding.not_finite(labels, reading.width)
    return f"{bad} of {labels.size // reading.width} labels are not finite" if bad else ""


def _nothing(words: str, reason: str) -> TaskResult:
    figures = [TaskFigure(name, "", name == "r2", None, unavailable=reason) for name in _NAMES]
    return TaskResult("regression", words, findings_of.with_words(figures), findings=(reason,))


def _figures(array: Array, before: Array | None, labels: Array, across: int) -> tuple[TaskFigure, ...]:
    from profiles import paired

    mine = _errors(array, labels, across)
    its = None if before is None else _errors(before, labels, across)

    def both(terms: Callable[[Array], Array]) -> tuple[Array, Array | None]:
        return terms(mine), None if its is None else terms(its)

    truth = np.asarray(labels, np.float64).reshape(-1, across)
    truth = truth - truth.mean(axis=0)
    return (
        paired.mean("mean_abs_error", "", False, *both(lambda errors: np.abs(errors).mean(axis=1))),
        paired.mean("rmse", "", False, *both(lambda errors: (errors**2).mean(axis=1)), root),
        paired.mean("r2", "", True, *both(lambda errors: np.hstack([errors**2, truth, truth**2])), _explained),
    )


def _errors(array: Array, labels: Array, across: int) -> Array:
    """``(rows, across)`` in float64."""
    flat = labels.reshape(-1, across)
    parts = [
        block - np.asarray(flat[start : start + len(block)], np.float64)
        for start, block in decoding.rows(array, across)
    ]
    found: Array = np.concatenate(parts)
    return found


def root(means: Array) -> Array:
    """Of a mean square."""
    found: Array = np.sqrt(means[..., 0])
    return found


def _explained(means: Array) -> Array:
    """R² of the means of squared errors, values and squared values."""
    errors, values, squares = np.split(means, 3, axis=-1)
    found: Array = (1 - errors / (squares - values**2)).mean(axis=-1)
    return found


TASK = Task(
    name="regression",
    title="regression",
    fits=fits,
    measure=measure,
    rank=50,
    settings=SETTINGS,
)
