"""What several tasks need: arrays in parts, and what is no number."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.feeds import Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import _shared


def test_parts_of_an_array_are_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "_BLOCK_ELEMENTS", 25)
    array = np.arange(70.0).reshape(7, 10)
    parts = list(_shared.blocks(array))
    assert [start for start, _ in parts] == [0, 2, 4, 6]
    assert np.array_equal(np.concatenate([part for _, part in parts]), array)


def test_samples_that_are_not_finite_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "_BLOCK_ELEMENTS", 25)
    array = np.arange(70.0).reshape(7, 10)
    array[[1, 6], 3], array[6, 4] = np.nan, np.inf
    good = Feeds({"a": np.zeros((7, 1), np.int64), "b": np.zeros((7, 10))})
    data = TaskInput(good, Feeds({"a": good.arrays["a"], "b": array}), good, None, {})
    assert _shared.nonsense(data) == "output 'b' of the reference has NaN or infinity in 2 of 7 samples"
    assert _shared.nonsense(data, "a") == ""
