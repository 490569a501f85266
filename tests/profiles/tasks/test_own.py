"""A user's figure: what the function gave, with an interval where it can have one."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import own

OUTPUTS = Feeds({"y": np.zeros((200, 1))})


def task_input(answers: tuple[Array, Array | None] | None, **settings: str) -> TaskInput:
    return TaskInput(OUTPUTS, None, OUTPUTS, None, settings, metric="mine.py:distance", answers=answers)


def per_sample(mean: float) -> Array:
    return np.random.default_rng(0).normal(mean, 1, 200)


def test_one_number_for_each_sample_has_an_interval() -> None:
    found = own.measure(task_input((per_sample(3.0), per_sample(2.0)), better="lower")).figures[0]
    assert (found.metric, found.higher_is_better) == ("distance", False)
    assert found.value == pytest.approx(per_sample(3.0).mean())
    assert found.difference == pytest.approx(1.0)
    assert found.low is not None and found.high is not None and found.low < 3 < found.high
    assert found.differs is True
    assert "worse" in found.words


def test_one_number_for_all_has_none_and_that_is_said() -> None:
    result = own.measure(task_input((np.array(0.75), np.array(0.5))))
    found = result.figures[0]
    assert (found.value, found.reference, found.difference) == (0.75, 0.5, 0.25)
    assert (found.low, found.difference_low, found.differs) == (None, None, None)
    assert "no interval" in found.words
    assert "--decode better=lower" in result.decoding


def test_without_a_reference_there_is_no_difference() -> None:
    found = own.measure(task_input((per_sample(3.0), None))).figures[0]
    assert found.value is not None and found.low is not None
    assert (found.reference, found.difference) == (None, None)


def test_samples_that_give_no_number_are_said() -> None:
    answers = per_sample(3.0)
    answers[[3, 7]] = np.nan
    result = own.measure(task_input((answers, None)))
    assert result.figures[0].value is None
    assert "2 of 200 samples" in result.findings[0]


def test_it_is_asked_first_and_fits_where_a_function_is_named() -> None:
    assert next(iter(registry.tasks())) == "own"
    assert "mine.py:distance" in own.fits(task_input(None))
    silent = TaskInput(OUTPUTS, None, OUTPUTS, None, {})
    assert not own.fits(silent)
    assert "--metric FILE.py:NAME" in own.measure(silent).findings[0]


def test_settings_that_mean_nothing() -> None:
    with pytest.raises(UsageError, match="better=more"):
        own.measure(task_input((per_sample(3.0), None), better="more"))
