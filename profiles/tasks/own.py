"""A figure of the user's own: ``--metric FILE.py:NAME``."""

from __future__ import annotations

from dataclasses import replace

from edgekit.drift_types import TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles.tasks._settings import choice
from profiles.tasks._shared import with_words

SETTINGS = {"better": "higher or lower: which is better; higher where nothing is said"}


def fits(data: TaskInput) -> str:
    """The user has named a function."""
    return f"--metric {data.metric} was given" if data.metric else ""


def measure(data: TaskInput) -> TaskResult:
    """The user's figure, called as the function is.

    Numbers for each sample give their mean, with an interval; one number for all samples has none, since nobody but the
    function can take it again from other samples.

    Args:
        data: With ``answers``, what the function gave (:func:`edgekit.own_metric.call`).

    Raises:
        UsageError: A setting has a value that means nothing.
    """
    name = data.metric.rpartition(":")[2] or "own"
    better = choice(data.settings, "better", ("higher", "lower"))
    higher = better != "lower"
    if data.answers is None:
        reason = "no function was named; --metric FILE.py:NAME"
        return _result(TaskFigure(name, "", higher, None, unavailable=reason), data, better, (reason,))
    file, reference = data.answers
    if file.ndim and (reference is None or reference.ndim):
        from profiles import paired

        figure = paired.mean(name, "", higher, file, reference)
        return _result(figure, data, better, _findings(figure))
    here, there = float(file.mean()), None if reference is None else float(reference.mean())
    figure = with_words(
        TaskFigure(
            name,
            "",
            higher,
            here,
            reference=there,
            difference=None if there is None else here - there,
            samples=data.outputs.count,
        )
    )
    told = "it gives one number for all samples, so there is no interval; one for each sample would have one"
    return _result(replace(figure, words=f"{figure.words}; {told}"), data, better, ())


def _result(figure: TaskFigure, data: TaskInput, better: str | None, findings: tuple[str, ...]) -> TaskResult:
    direction = f"{better or 'higher'} is better"
    how = direction if better else f"{direction}, as nothing was said (--decode better=lower)"
    words = f"{data.metric or 'a function'} was called with all outputs and labels; {how}"
    return TaskResult("own", words, (figure if figure.words else with_words(figure),), findings=findings)


def _findings(figure: TaskFigure) -> tuple[str, ...]:
    return (f"{figure.metric}: {figure.unavailable}",) if figure.value is None else ()


TASK = Task(name="own", title="a function of yours", fits=fits, measure=measure, rank=0, settings=SETTINGS)
