from __future__ import annotations

import numpy as np
import pytest

from profiles import limits


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [
        (1.0, 1.05, True),
        (1.06, 1.2, False),
        (1.05, 1.2, None),
        (1.0, 1.06, None),
        (None, 1.0, True),
        (None, 1.2, None),
        (1.2, None, False),
        (None, None, None),
    ],
)
def test_the_whole_interval_decides(low: float | None, high: float | None, kept: bool | None) -> None:
    assert limits.at_most(1.05, low, high) is kept


@pytest.mark.parametrize(
    ("value", "low", "high", "rounds", "floor", "kept", "reason"),
    [
        (1.00, 0.99, 1.01, 100, 0.01, True, ""),
        (1.10, 1.09, 1.11, 100, 0.01, False, ""),
        (1.10, 1.09, 1.11, 100, 0.06, None, "6.0% of the difference may be noise"),
        (1.05, 1.04, 1.06, 100, 0.01, None, "holds the limit"),
        (1.10, 1.07, 1.13, 15, 0.01, None, "holds the limit"),
        (1.20, 1.17, 1.23, 15, 0.01, False, ""),
        (1.20, 1.17, 1.23, 9, 0.01, None, "9 rounds"),
        (1.20, None, None, 100, 0.01, None, "rounds"),
        (1.20, 1.17, 1.23, 100, None, None, "compared with itself"),
    ],
)
def test_ratios_of_times(
    value: float,
    low: float | None,
    high: float | None,
    rounds: int,
    floor: float | None,
    kept: bool | None,
    reason: str,
) -> None:
    found, words = limits.ratio_at_most(1.05, value, low, high, rounds, floor)
    assert found is kept
    assert reason in words
    assert bool(words) is (kept is None)


def test_bounds_of_a_percentile_hold_it_in_95_of_100_experiments() -> None:
    random = np.random.default_rng(7)
    truth, below, above = 0.9, 0, 0
    for _ in range(400):
        low, high = limits.percentile_bounds(random.random(200).tolist(), 0.9)
        assert low is not None
        assert high is not None
        below += high < truth
        above += low > truth
    assert below <= 400 * 0.08
    assert above <= 400 * 0.08
    assert limits.percentile_bounds([1.0], 0.9) == (None, None)


def test_how_many_samples_would_tell() -> None:
    assert limits.samples_to_tell(0.95, 0.96, 0.94, 0.98, 100) == 400
    assert limits.samples_to_tell(0.95, 0.95, 0.94, 0.96, 100) is None
