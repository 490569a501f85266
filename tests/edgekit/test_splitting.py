from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import feeds
from edgekit.feeds import Feeds
from edgekit.splitting import LEAST_TO_SPLIT, split


@pytest.mark.parametrize("count", [LEAST_TO_SPLIT, 11, 100, 5000])
@pytest.mark.parametrize("calibrate", [1, 50, 10_000])
def test_what_checks_does_not_calibrate(count: int, calibrate: int) -> None:
    found = split(count, calibrate, 128)
    assert len(found.calibration) and len(found.check)
    assert not set(found.calibration) & set(found.check)
    assert len(found.calibration) <= calibrate and len(found.check) <= 128
    assert np.array_equal(found.calibration, np.unique(found.calibration))
    if calibrate >= count:
        assert len(found.calibration) + len(found.check) == count


def test_the_same_every_time_and_spread_over_the_data() -> None:
    first, again = split(1000, 100, 128), split(1000, 100, 128)
    assert np.array_equal(first.calibration, again.calibration) and np.array_equal(first.check, again.check)
    for quarter in range(4):
        assert np.sum(first.calibration // 250 == quarter) > 10


def test_with_few_samples_all_do_both() -> None:
    found = split(LEAST_TO_SPLIT - 1, 512, 128)
    assert list(found.calibration) == list(found.check) == list(range(LEAST_TO_SPLIT - 1))
    assert "too few" in found.words


def test_without_calibration_the_check_is_spread() -> None:
    assert list(split(1000, 0, 4).check) == [0, 333, 666, 999]
    assert list(split(5, 0, None).check) == [0, 1, 2, 3, 4]


def test_samples_are_written_with_their_labels_and_words(tmp_path: Path) -> None:
    everything = Feeds({"x": np.arange(40.0).reshape(20, 1, 2)}, np.arange(20).reshape(20, 1), "20 samples of d.npz")
    found = split(20, 8, 128)
    check = feeds.write_some(tmp_path / "check", everything, found.check, found.words)
    assert np.array_equal(check.arrays["x"], everything.arrays["x"][found.check])
    assert check.labels is not None and np.array_equal(check.labels[:, 0], found.check)
    assert check.origin == "4 held-out samples of 20 samples of d.npz"
    calibration = feeds.write_some(tmp_path / "calibration", everything, found.calibration)
    assert calibration.origin == "8 of 20 samples of d.npz"
