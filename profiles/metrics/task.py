"""What the model is for, measured with labels: the figures of :mod:`profiles.tasks`, beside the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.drift_types import TaskFigure
from edgekit.errors import MissingDependencyError
from edgekit.plugins import Metric, MetricInput, Task, TaskInput
from edgekit.types import Measurement

if TYPE_CHECKING:
    from edgekit.feeds import Feeds

_NONE = "task"


def measure(data: MetricInput) -> Sequence[Measurement]:
    """Each figure as ``task_<figure>``, and its difference from the reference's as ``task_<figure>_change``.

    The task is the first that fits labels and outputs; ``edgekit drift`` can be told another.
    """
    from edgekit import feeds, registry

    labels = None if data.feeds is None else feeds.read(data.feeds).labels
    if labels is None or data.outputs is None or data.feeds is None:
        return [Measurement(_NONE, None, "", None, unavailable="the data has no labels")]
    outputs = feeds.read(data.outputs)
    reference = None if data.reference is None else feeds.read(data.reference)
    if reference is not None:
        named = _named_alike(outputs, reference)
        if named is None:
            return [Measurement(_NONE, None, "", None, unavailable="the outputs are not those of the reference")]
        outputs = named
    given = TaskInput(outputs, reference, feeds.read(data.feeds), labels, {})
    task = next((one for one in registry.tasks().values() if one.fits(given)), None)
    if task is None:
        return [Measurement(_NONE, None, "", None, unavailable="no task fits these labels and outputs")]
    return _measured(task, given)


def _measured(task: Task, given: TaskInput) -> Sequence[Measurement]:
    from edgekit import registry

    try:
        registry.require(task.packages, task.extra, f"Measuring {task.title}")
    except MissingDependencyError as error:
        return [Measurement(_NONE, None, "", None, unavailable=f"{error.message} {error.hint}")]
    return [found for figure in task.measure(given).figures for found in _measurements(figure)]


def _measurements(figure: TaskFigure) -> Iterator[Measurement]:
    name, better = f"task_{figure.metric}", figure.higher_is_better
    spread = "" if figure.low is None else "95% interval"
    yield Measurement(
        name, figure.value, figure.unit, better, figure.low, figure.high, spread, figure.samples, figure.unavailable
    )
    if figure.difference is not None:
        low, high = figure.difference_low, figure.difference_high
        spread = "" if low is None else f"95% interval, {figure.method}"
        yield Measurement(f"{name}_change", figure.difference, figure.unit, better, low, high, spread, figure.samples)


def _named_alike(outputs: Feeds, reference: Feeds) -> Feeds | None:
    """The outputs under the reference's names; ``None`` where they cannot be paired."""
    from profiles.agent.binding import match

    try:
        pairs = match(list(reference.arrays), list(outputs.arrays))
    except ValueError:  # another metric, drift, says what is wrong with them
        return None
    return replace(outputs, arrays={name: outputs.arrays[given] for name, given in pairs.items()})


METRIC = Metric("task", "Task", measure)
