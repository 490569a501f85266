"""Timing several files against one another fairly: warm-up, then rounds in which each file has one turn.

Files that are timed one after the other meet a different machine each: on a busy one, two copies of the same
model came out up to 27 % apart that way, and at most 3 % when they took turns. So every round runs each file
once, and never two at the same time; over the rounds each file has each place, and each predecessor, equally often.
Only :class:`edgekit.plugins.Session` is known here.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edgekit.device_plugins import Session
from edgekit.errors import EdgekitError

TURN_NS = 20_000_000
"""A turn lasts at least this long, so that its runs are those of a warm processor."""

MIN_SAMPLES = 300
MIN_ROUNDS = 30
_DISCARD = 2
_MIN_TIMED, _MAX_TIMED = 5, 100
_MAX_TIMED_OF_PAIRS = 25
"""A ratio gains by more rounds, not by more runs in each."""
_WARM_UP_NS = 500_000_000
_WARM_UP_SHARE = 0.2
_SETTLED_TURNS, _SETTLED_RATIO = 5, 1.05
_ROUNDS_BETWEEN_CHECKS = 10


@dataclass
class Timing:
    """What one file's turns gave.

    Attributes:
        turns: The agent's answers, in order, each with its ``round`` and that round's ``sentinel_ns``.
        settled: Whether the last turns of the warm-up agreed.
        error: Why it stopped; earlier turns are void then.
    """

    turns: list[Mapping[str, Any]] = field(default_factory=list)
    settled: bool = False
    error: EdgekitError | None = None


class _Lane:
    """One file's share of the machine."""

    def __init__(self, session: Session, budget_s: float, *, endless: bool) -> None:
        self.session = session
        self.timing = Timing()
        self.left_ns = budget_s * 1e9
        self.budget_ns = self.left_ns
        self.discard, self.count = 0, 1
        self.samples = 0
        self.endless = endless
        self.most = _MAX_TIMED_OF_PAIRS if endless else _MAX_TIMED

    @property
    def open(self) -> bool:
        """Whether it wants another turn."""
        if self.timing.error is not None:
            return False
        enough = not self.endless and self.samples >= MIN_SAMPLES and len(self.timing.turns) >= MIN_ROUNDS
        return not self.timing.turns or (not enough and self.left_ns > 0)

    @property
    def done(self) -> float:
        """Share of its work that is finished, 0 to 1."""
        if not self.open:
            return 1.0
        spent = 1 - max(self.left_ns, 0) / self.budget_ns
        turns = min(self.samples / MIN_SAMPLES, len(self.timing.turns) / MIN_ROUNDS)
        return spent if self.endless else max(turns, spent)

    def turn(self, facts: Mapping[str, Any] = MappingProxyType({})) -> list[int]:
        """Time one turn and pay for it; empty when the agent failed.

        Args:
            facts: What to keep with the agent's answer.
        """
        before = time.perf_counter_ns()
        try:
            answer = dict(self.session.time(self.discard, self.count))
        except EdgekitError as error:
            self.timing.error = error
            return []
        away_ns = answer.pop("away_ns", 0)  # a connection that was lost costs a file none of its runs
        self.left_ns -= time.perf_counter_ns() - before - away_ns
        self.timing.turns.append({**answer, **facts})
        self.samples += self.count
        return list(answer["ns"])

    def warm_up(self) -> None:
        """Run until turns agree, or a share of the budget is gone; nothing of it is kept."""
        recent: list[float] = []
        walls: list[float] = []
        spent_ns = 0.0
        while True:
            left_ns = self.left_ns
            run_ns = self.turn()
            if not run_ns:
                self.timing.turns.clear()  # they are of no round
                return
            wall_ns = left_ns - self.left_ns
            spent_ns += wall_ns
            recent = [*recent[1 - _SETTLED_TURNS :], statistics.median(run_ns)]
            walls = [*walls[1 - _SETTLED_TURNS :], wall_ns / (self.discard + self.count)]
            self._size_turns(recent[-1], statistics.median(walls))
            self.timing.settled = len(recent) == _SETTLED_TURNS and max(recent) <= min(recent) * _SETTLED_RATIO
            if spent_ns >= self.budget_ns * _WARM_UP_SHARE or (self.timing.settled and spent_ns >= _WARM_UP_NS):
                self.timing.turns.clear()
                self.samples = 0
                return

    def _size_turns(self, run_ns: float, wall_ns: float) -> None:
        """Turns of ``TURN_NS`` or more, but so that ``MIN_ROUNDS`` of them fit into the budget if they can.

        A fast model has more untimed runs rather than thousands of samples that say nothing new.

        Args:
            run_ns: Of a median run.
            wall_ns: Of a run, with all that it has to wait for.
        """
        fitting = int(self.budget_ns * (1 - _WARM_UP_SHARE) / MIN_ROUNDS / max(wall_ns, run_ns, 1))
        filling = math.ceil(TURN_NS / max(run_ns, 1))
        warming = min(_DISCARD, filling)  # one run can be as long as a turn
        runs = max(warming + 1, min(max(filling, _MIN_TIMED + warming), fitting))
        self.count = min(runs - warming, self.most)
        self.discard = runs - self.count


def measure(
    sessions: Sequence[Session],
    *,
    budget_s: float,
    seed: int,
    on_progress: Callable[[float], None],
    enough: Callable[[Sequence[Timing]], bool] | None = None,
) -> list[Timing]:
    """Time all files.

    Args:
        sessions: Loaded, and through their first run.
        budget_s: Seconds per file, warm-up included. At least one run of each is timed whatever it takes.
        seed: Of the order within rounds.
        on_progress: Told the share that is done, 0 to 1.
        enough: Asked now and then, from ``MIN_ROUNDS`` rounds on, whether all can stop; without it each file stops
            when it has samples for its percentiles.

    Returns:
        One timing per session, in their order. A file that fails leaves the others to go on.
    """
    lanes = [_Lane(session, budget_s, endless=enough is not None) for session in sessions]
    for lane in lanes:
        lane.warm_up()
    for number, order in enumerate(orders(len(lanes), seed)):
        on_progress(sum(lane.done for lane in lanes) / max(len(lanes), 1))
        running = [lanes[place] for place in order if lanes[place].open]
        stop = enough is not None and number >= MIN_ROUNDS and number % _ROUNDS_BETWEEN_CHECKS == 0
        if not running or (stop and enough is not None and enough([lane.timing for lane in lanes])):
            break
        facts = {"round": number, "sentinel_ns": _sentinel(running[0])}
        for lane in running:
            if lane.timing.error is None:
                lane.turn(facts)
    return [lane.timing for lane in lanes]


def _sentinel(lane: _Lane) -> float | None:
    """Nanoseconds that a fixed computation takes now: how fast the processor is; ``None`` where there is none."""
    try:
        found = lane.session.sentinel()["sentinel_ns"]
    except EdgekitError as error:
        lane.timing.error = error
        return None
    return float(statistics.median(found)) if found else None


def orders(count: int, seed: int) -> Iterator[list[int]]:
    """Orders of ``count`` files, without end: random Williams designs, one after the other.

    In a design (E. J. Williams, 1949) every file has every place equally often, and every other file before it
    equally often, so that neither the place nor the predecessor's traces in the caches favour one.
    """
    random_ = random.Random(seed)  # noqa: S311 - no secret
    zigzag = [place // 2 if place % 2 == 0 else count - 1 - place // 2 for place in range(count)]
    rows = [[(item + shift) % max(count, 1) for item in zigzag] for shift in range(count)]
    rows += [row[::-1] for row in rows] if count % 2 else []  # an odd number needs the mirror image too
    while True:
        names = random_.sample(range(count), count)
        for row in random_.sample(rows, len(rows)) or [[]]:
            yield [names[item] for item in row]
