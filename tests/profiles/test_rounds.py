from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from edgekit.device_plugins import Session
from edgekit.errors import MeasurementError
from profiles import rounds


class Clock:
    """Time that passes when a fake session says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns


class Fake:
    """Answers with runs of a fixed length, and writes down who was asked."""

    def __init__(self, name: str, run_ns: int, clock: Clock, calls: list[tuple[str, int, int]]) -> None:
        self.name, self.run_ns, self.clock, self.calls = name, run_ns, clock, calls
        self.dies_at: int | None = None

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        self.calls.append((self.name, discard, count))
        if self.dies_at is not None and len(self.calls) >= self.dies_at:
            raise MeasurementError(f"{self.name} died")
        self.clock.now_ns += (discard + count) * self.run_ns
        return {"ns": [self.run_ns] * count, "switches": [0] * count, "run_delay_ns": None}

    def sentinel(self) -> Mapping[str, Any]:
        return {"sentinel_ns": [90_000, 80_000, 85_000]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rounds, "time", clock)
    return clock


def measure(fakes: list[Fake], budget_s: float = 10.0, seed: int = 0) -> list[rounds.Timing]:
    sessions = [cast(Session, fake) for fake in fakes]
    return rounds.measure(sessions, budget_s=budget_s, seed=seed, on_progress=lambda done: None)


def test_every_round_has_every_file_once_in_changing_order(clock: Clock) -> None:
    calls: list[tuple[str, int, int]] = []
    timings = measure([Fake(name, 1_000_000, clock, calls) for name in "abc"])
    turns = len(timings[0].turns)
    assert [len(timing.turns) for timing in timings] == [turns] * 3
    assert all(timing.settled for timing in timings)
    names = [name for name, _, _ in calls][-3 * turns :]
    in_rounds = [tuple(names[index : index + 3]) for index in range(0, len(names), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in in_rounds)
    assert len(set(in_rounds)) == 6
    assert [turn["round"] for turn in timings[0].turns] == list(range(turns))
    assert {turn["sentinel_ns"] for turn in timings[0].turns} == {85_000}


class Away(Fake):
    """Its connection is lost once, for longer than the whole budget."""

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        found = super().time(discard, count)
        if len(self.calls) != 12:
            return found
        self.clock.now_ns += 60_000_000_000
        return {**found, "away_ns": 60_000_000_000}


def test_a_lost_connection_costs_no_rounds(clock: Clock) -> None:
    (plain,) = measure([Fake("a", 50_000_000, clock, [])])
    (lost,) = measure([Away("a", 50_000_000, clock, [])])
    assert len(plain.turns) > 12
    assert lost.turns == plain.turns


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_places_and_predecessors_are_balanced(count: int) -> None:
    rows = list(itertools.islice(rounds.orders(count, 0), count * (2 if count % 2 else 1)))
    assert all(sorted(row) == list(range(count)) for row in rows)
    for place in range(count):
        assert len(set(Counter(row[place] for row in rows).values())) == 1
    pairs = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert len(pairs) == count * (count - 1)
    assert len(set(pairs.values())) <= 1


def test_a_comparison_stops_when_it_is_told_to_or_has_spent_its_time(clock: Clock) -> None:
    seen: list[int] = []

    def enough(timings: Sequence[rounds.Timing]) -> bool:
        seen.append(len(timings[0].turns))
        return len(seen) == 3

    sessions = [cast(Session, Fake(name, 1_000_000, clock, [])) for name in "ab"]
    done: list[float] = []
    timings = rounds.measure(sessions, budget_s=100.0, seed=0, on_progress=done.append, enough=enough)
    assert seen == [30, 40, 50]
    assert [len(timing.turns) for timing in timings] == [50, 50]
    assert done == sorted(done)
    timings = rounds.measure(sessions, budget_s=5.0, seed=0, on_progress=done.append, enough=lambda _: False)
    assert len(timings[0].turns) > 100


def test_the_order_repeats_with_its_seed(clock: Clock) -> None:
    orders = []
    for seed in (1, 1, 2):
        calls: list[tuple[str, int, int]] = []
        measure([Fake(name, 5_000_000, clock, calls) for name in "abcd"], seed=seed)
        orders.append([name for name, _, _ in calls])
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("run_ns", [3_000, 100_000, 1_000_000, 15_000_000, 100_000_000])
def test_turns_are_long_and_there_are_enough(run_ns: int, clock: Clock) -> None:
    calls: list[tuple[str, int, int]] = []
    (timing,) = measure([Fake("a", run_ns, clock, calls)], budget_s=10.0)
    _, discard, count = calls[-1]
    assert (discard + count) * run_ns >= rounds.TURN_NS
    assert len(timing.turns) >= rounds.MIN_ROUNDS
    assert sum(len(turn["ns"]) for turn in timing.turns) >= (300 if run_ns < 20_000_000 else 30)
    assert clock.now_ns <= 10.5e9


def test_a_slow_file_gets_a_turn_whatever_the_budget(clock: Clock) -> None:
    calls: list[tuple[str, int, int]] = []
    (timing,) = measure([Fake("a", 60_000_000_000, clock, calls)], budget_s=1.0)
    assert [len(turn["ns"]) for turn in timing.turns] == [1]


def test_one_that_dies_leaves_the_others_going(clock: Clock) -> None:
    calls: list[tuple[str, int, int]] = []
    fakes = [Fake(name, 1_000_000, clock, calls) for name in "abc"]
    fakes[1].dies_at = 100
    timings = measure(fakes)
    assert str(timings[1].error) == "b died"
    assert timings[0].error is timings[2].error is None
    assert len(timings[0].turns) == len(timings[2].turns) >= rounds.MIN_ROUNDS


def test_one_that_dies_warming_up(clock: Clock) -> None:
    calls: list[tuple[str, int, int]] = []
    fakes = [Fake(name, 1_000_000, clock, calls) for name in "ab"]
    fakes[0].dies_at = 2
    timings = measure(fakes)
    assert timings[0].error is not None
    assert timings[1].turns
    assert not timings[0].turns  # those of the warm-up are of no round
