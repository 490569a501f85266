from __future__ import annotations

import numpy as np
import pytest

from profiles import stats


def test_samples_needed_for_an_upper_bound() -> None:
    assert [stats.samples_needed(share) for share in (0.90, 0.95, 0.99)] == [29, 59, 299]


@pytest.mark.parametrize("share", [0.90, 0.95, 0.99])
def test_the_upper_bound_appears_with_that_many_samples(share: float) -> None:
    needed = stats.samples_needed(share)
    samples = [float(value) for value in range(needed)]
    assert stats.upper_bound(samples, share) == needed - 1  # the largest
    assert stats.upper_bound(samples[1:], share) is None


def test_percentile() -> None:
    assert stats.percentile(range(101), 0.5) == 50
    assert stats.percentile(range(101), 0.99) == 99


def test_the_interval_of_a_share_is_wilsons() -> None:
    # 15 of 20: centre (0.75 + z²/40) / (1 + z²/20), z = 1.959964
    low, high = stats.share_interval(15, 20)
    assert low == pytest.approx(0.531299, abs=1e-5)
    assert high == pytest.approx(0.888138, abs=1e-5)
    assert stats.share_interval(20, 20)[1] == pytest.approx(1.0)


def test_no_interval_from_few_rounds() -> None:
    assert stats.median_interval([[1.0, 2.0]] * (stats.MIN_ROUNDS - 1)) is None


def test_rounds_that_agree_have_an_interval_of_nothing() -> None:
    assert stats.median_interval([[5.0, 5.0]] * 10) == (5.0, 5.0)


def test_the_interval_holds_the_median_and_repeats_itself() -> None:
    rounds = np.random.default_rng(1).normal(100, 5, (30, 10))
    low, high = stats.median_interval(rounds.tolist()) or (0, 0)
    assert low < np.median(rounds) < high
    assert high - low < 4
    assert stats.median_interval(rounds.tolist()) == (low, high)


def test_rounds_of_different_sizes() -> None:
    rounds = [[10.0 + index] * (1 + index % 3) for index in range(12)]
    low, high = stats.median_interval(rounds) or (0, 0)
    assert 10 <= low <= 16 <= high <= 21


@pytest.mark.parametrize(("autocorrelation", "least"), [(0.0, 0.90), (0.5, 0.88)])
def test_coverage_with_noise_that_lasts(autocorrelation: float, least: float) -> None:
    """Round effects as on a busy machine; a bootstrap that takes rounds as independent holds 81 % at 0.5."""
    random = np.random.default_rng(0)
    trials, rounds, held = 120, 30, 0
    for _ in range(trials):
        effect = np.zeros(rounds)
        state = random.normal()
        for index in range(rounds):
            fresh = np.sqrt(1 - autocorrelation**2) * random.normal()
            state = autocorrelation * state + fresh
            effect[index] = state
        samples = 100 + 2 * effect[:, None] + random.normal(0, 1, (rounds, 10))
        low, high = stats.median_interval(samples.tolist()) or (0, 0)
        held += low <= 100 <= high
    assert held / trials >= least
