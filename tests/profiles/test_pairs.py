from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import pairs
from profiles.turns import DELAYED_NS, centre, preempted


def turn(number: int, *ns: int, switches: list[int] | None = None, delays: list[int] | None = None) -> dict[str, Any]:
    return {"round": number, "ns": list(ns), "switches": switches or [0] * len(ns), "run_delay_ns": delays}


def noisy(
    count: int, factor: float, spread: float, seed: int, weather: np.ndarray[Any, Any] | None = None
) -> list[Any]:
    random = np.random.default_rng(seed)
    common = np.ones(count) if weather is None else weather
    made = 1e6 * factor * common[:, None] * np.exp(spread * random.standard_normal((count, 5)))
    return [turn(number, *map(int, row)) for number, row in enumerate(made)]


def test_runs_that_were_interrupted_do_not_count_where_others_are_left() -> None:
    delays = [0, DELAYED_NS + 1, 0, 0]
    assert preempted(turn(0, 1, 1, 1, 1)) is None
    assert preempted(turn(0, 1, 1, 1, 1, switches=[0, 0, 1, 0], delays=delays)) == [False, True, True, False]
    assert centre(turn(0, 10, 90, 12, 14, delays=delays)) == 12
    assert centre(turn(0, 10, 90, 12, 14)) == 13
    assert centre(turn(0, 10, 90, 92, switches=[0, 1, 1], delays=[0, 0, 0])) == 90  # most were: all are taken


def test_what_the_machine_does_to_a_round_it_does_to_both() -> None:
    weather = np.exp(np.random.default_rng(0).normal(0, 0.5, 60))
    base, other = noisy(60, 1.0, 0.01, 1, weather), noisy(60, 0.5, 0.01, 2, weather)
    found = pairs.ratio(other, base)
    assert found is not None
    assert found.rounds == 60
    assert found.value == pytest.approx(0.5, rel=0.01)
    assert found.half_width < 0.01
    assert pairs.verdict(found, 0.01) == (pairs.FASTER, "")
    back = pairs.ratio(base, other)
    assert back is not None
    assert back.value == pytest.approx(1 / found.value, rel=0.005)
    assert pairs.verdict(back, 0.01) == (pairs.SLOWER, "")


def test_only_rounds_that_both_have() -> None:
    found = pairs.ratio([turn(1, 20), turn(2, 30)], [turn(0, 1), turn(2, 10)])
    assert found == pairs.Ratio(pytest.approx(3.0), None, None, 1)
    assert pairs.ratio([turn(1, 20)], [turn(0, 10)]) is None
    assert pairs.ratio([], []) is None


@given(st.floats(0.2, 5.0), st.floats(0.01, 0.2))
def test_verdicts_are_the_same_from_both_sides(factor: float, floor: float) -> None:
    def seen(value: float) -> str:
        return pairs.verdict(pairs.Ratio(value, value / 1.002, value * 1.002, 40), floor)[0]

    mirror = {pairs.FASTER: pairs.SLOWER, pairs.SLOWER: pairs.FASTER}
    assert seen(1 / factor) == mirror.get(seen(factor), seen(factor))


def test_nothing_is_claimed_within_the_noise_or_without_evidence() -> None:
    near = pairs.Ratio(0.98, 0.975, 0.985, 40)
    assert pairs.verdict(near, 0.01)[0] == pairs.FASTER
    assert pairs.verdict(near, 0.03)[0] == pairs.SAME
    assert pairs.verdict(near, None)[0] == pairs.INCONCLUSIVE
    assert pairs.verdict(None, 0.01) == (pairs.INCONCLUSIVE, "0 rounds in the time given, 30 needed")
    assert pairs.verdict(pairs.Ratio(0.5, 0.4, 0.6, 9), 0.01)[0] == pairs.INCONCLUSIVE
    assert pairs.verdict(pairs.Ratio(0.5, 0.4, 0.6, 10), 0.01)[0] == pairs.FASTER
    assert pairs.verdict(pairs.Ratio(2.0, 1.6, 2.4, 10), 0.01)[0] == pairs.SLOWER
    assert pairs.verdict(pairs.Ratio(0.9, 0.8, 0.96, 29), 0.01)[0] == pairs.INCONCLUSIVE  # within twice the interval
    assert pairs.verdict(pairs.Ratio(0.9, 0.8, 0.96, 30), 0.01)[0] == pairs.FASTER
    word, reason = pairs.verdict(pairs.Ratio(0.9, 0.7, 1.1, 40), 0.01)
    assert (word, reason) == (pairs.INCONCLUSIVE, "the interval is ±22% wide")


def test_the_floor_is_what_the_baseline_differs_from_itself() -> None:
    assert pairs.floor_of(pairs.Ratio(1.0, 0.999, 1.001, 40)) == pairs.LEAST_FLOOR
    assert pairs.floor_of(pairs.Ratio(1.03, 1.02, 1.04, 40)) == pytest.approx(0.04)
    assert pairs.floor_of(pairs.Ratio(0.9, 0.8, 1.0, 40)) == pytest.approx(0.25)
    assert pairs.floor_of(pairs.Ratio(1.0, None, None, 2)) is None
    assert pairs.floor_of(None) is None


def test_timing_stops_when_all_is_known() -> None:
    base, twin = noisy(40, 1.0, 0.01, 1), noisy(40, 1.0, 0.01, 2)
    assert pairs.precise([base, noisy(40, 0.5, 0.01, 3), twin], 0, 2)
    assert not pairs.precise([base, noisy(40, 0.5, 0.3, 3), twin], 0, 2)
    assert not pairs.precise([base[:20], noisy(40, 0.5, 0.01, 3), twin], 0, 2)
    assert not pairs.precise([base, []], 0, 1)
    assert pairs.precise([base, [], twin], 0, 2)  # one that failed holds nobody up


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        random = np.random.default_rng(1000 + seed)
        weather = np.exp(random.normal(0, 0.3, 40))
        drift = np.cumsum(random.normal(0, 0.002, 40))  # the two do not share everything
        base, other = noisy(40, 1.0, 0.02, 2 * seed, weather), noisy(40, 1.0, 0.02, 2 * seed + 1, weather)
        drift -= np.median(drift)
        for one, change in zip(other, drift, strict=True):
            one["ns"] = [int(value * math.exp(change)) for value in one["ns"]]
        found = pairs.ratio(other, base)
        assert found is not None and found.low is not None and found.high is not None
        held += found.low <= 1 <= found.high
    assert held >= 88
