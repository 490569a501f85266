"""Reconstruction: how far a model's output is from its own input, as anomaly detectors use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import TaskFigure, TaskResult
from edgekit.errors import UsageError
from edgekit.labels import INPUT
from edgekit.plugins import Task, TaskInput
from profiles import decoding
from profiles.tasks import _findings as findings_of

if TYPE_CHECKING:
    from edgekit.feeds import Array

SETTINGS = {**decoding.OUTPUT_SETTING, "input": "name of the input that is reproduced"}

_NAME = "mean_squared_error"


def fits(data: TaskInput) -> str:
    """The user said that the input is the label."""
    found = _pair(data) if is_input(data.labels) else None
    return f"labels are the input itself and output {found[0].output!r} has its size" if found else ""


def is_input(labels: object) -> bool:
    """Whether labels are the word for the model's own input."""
    return isinstance(labels, str) and labels == INPUT


def measure(data: TaskInput) -> TaskResult:
    """``mean_squared_error``: of each sample the mean of ``(input - output)²``, averaged over samples.

    That is the score of an audio clip in MLPerf Tiny's anomaly detection, where samples are the windows of the clip.

    Args:
        data: With ``input`` for labels.

    Raises:
        UsageError: A setting names what is not there.
    """
    if not is_input(data.labels):
        return _nothing("", "labels are not the input itself: --labels input")
    pair = _pair(data)
    if pair is None:
        return _nothing("", "no output has the size of an input")
    reading, given = pair
    array = data.outputs.arrays[reading.output]
    problem = findings_of.not_finite(array, reading)
    if problem:
        return _nothing(reading.words, problem)
    before, missing = findings_of.reference(reading, data.outputs, data.reference)
    findings = [*findings_of.constant(array, reading), *missing]

    from profiles import paired

    its = None if before is None else _squares(before, given, reading.width)
    figure = paired.mean(_NAME, "", False, _squares(array, given, reading.width), its)
    return TaskResult("reconstruction", reading.words, (figure,), findings=tuple(findings))


def _pair(data: TaskInput) -> tuple[decoding.Reading, Array] | None:
    """The input, and the output that is like it."""
    arrays, typed = data.inputs.arrays, data.settings.get("input")
    if typed is not None and typed not in arrays:
        raise UsageError(
            f"--decode input={typed}: there is no such input; there are {', '.join(arrays)}.",
            hint=f"--decode input={next(iter(arrays))}",
        )
    for name, array in arrays.items() if typed is None else [(typed, arrays[typed])]:
        shape = array.shape if array.ndim > 1 else (*array.shape, 1)
        reading = decoding.values(data.outputs, shape, data.settings, f"row of input {name!r}")
        if reading is not None and array.dtype.kind in "fiu":
            return reading, array
    return None


def _squares(array: Array, given: Array, across: int) -> Array:
    """Mean squared error of each row; both arrays may be larger than memory."""
    parts, inner = [], max(1, array[:1].size)
    for start, block in decoding.rows(array, across):
        samples = slice(start * across // inner, start * across // inner + max(1, block.size // inner))
        expected = np.asarray(given[samples], np.float64).reshape(-1, across)
        parts.append(((np.asarray(block, np.float64) - expected) ** 2).mean(axis=1))
    found: Array = np.concatenate(parts)
    return found


def _nothing(words: str, reason: str) -> TaskResult:
    figures = [TaskFigure(_NAME, "", False, None, unavailable=reason)]
    return TaskResult("reconstruction", words, findings_of.with_words(figures), findings=(reason,))


TASK = Task(
    name="reconstruction",
    title="reconstruction of the input",
    fits=fits,
    measure=measure,
    rank=5,
    settings=SETTINGS,
)
