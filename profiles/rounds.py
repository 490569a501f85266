"""Timing several files against one another fairly: warm-up, then rounds in which each file has one turn.

Files that are timed one after the other meet a different machine each: on a busy one, two copies of the same
model came out up to 27 % apart that way, and at most 3 % when they took turns. So every round runs each file
once, in random order, and never two at the same time. Only :class:`edgekit.plugins.Session` is known here.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.plugins import Session

TURN_NS = 20_000_000
"""A turn lasts at least this long, so that its runs are those of a warm processor."""

MIN_SAMPLES = 300
MIN_ROUNDS = 30
_DISCARD = 2
_MIN_TIMED, _MAX_TIMED = 5, 100
_WARM_UP_NS = 500_000_000
_WARM_UP_SHARE = 0.2
_SETTLED_TURNS, _SETTLED_RATIO = 5, 1.05


@dataclass
class Timing:
    """What one file's turns gave.

    Attributes:
        turns: The agent's answers, in order.
        settled: Whether the last turns of the warm-up agreed.
        error: Why it stopped; earlier turns are void then.
    """

    turns: list[Mapping[str, Any]] = field(default_factory=list)
    settled: bool = False
    error: EdgekitError | None = None


class _Lane:
    """One file's share of the machine."""

    def __init__(self, session: Session, budget_s: float) -> None:
        self.session = session
        self.timing = Timing()
        self.left_ns = budget_s * 1e9
        self.budget_ns = self.left_ns
        self.discard, self.count = 0, 1
        self.samples = 0

    @property
    def open(self) -> bool:
        """Whether it wants another turn."""
        if self.timing.error is not None:
            return False
        enough = self.samples >= MIN_SAMPLES and len(self.timing.turns) >= MIN_ROUNDS
        return not self.timing.turns or (not enough and self.left_ns > 0)

    @property
    def done(self) -> float:
        """Share of its work that is finished, 0 to 1."""
        if not self.open:
            return 1.0
        turns = min(self.samples / MIN_SAMPLES, len(self.timing.turns) / MIN_ROUNDS)
        return max(turns, 1 - max(self.left_ns, 0) / self.budget_ns)

    def turn(self) -> list[int]:
        """Time one turn and pay for it; empty when the agent failed."""
        before = time.perf_counter_ns()
        try:
            answer = self.session.time(self.discard, self.count)
        except EdgekitError as error:
            self.timing.error = error
            return []
        self.left_ns -= time.perf_counter_ns() - before
        self.timing.turns.append(answer)
        self.samples += self.count
        return list(answer["ns"])

    def warm_up(self) -> None:
        """Run until turns agree, or a share of the budget is gone; nothing of it is kept."""
        recent: list[float] = []
        spent_ns = 0.0
        while True:
            left_ns = self.left_ns
            run_ns = self.turn()
            if not run_ns:
                return
            spent_ns += left_ns - self.left_ns
            recent = [*recent[1 - _SETTLED_TURNS :], statistics.median(run_ns)]
            self._size_turns(recent[-1])
            self.timing.settled = len(recent) == _SETTLED_TURNS and max(recent) <= min(recent) * _SETTLED_RATIO
            if spent_ns >= self.budget_ns * _WARM_UP_SHARE or (self.timing.settled and spent_ns >= _WARM_UP_NS):
                self.timing.turns.clear()
                self.samples = 0
                return

    def _size_turns(self, run_ns: float) -> None:
        """Turns of ``TURN_NS`` or more, but so that ``MIN_ROUNDS`` of them fit into the budget if they can.

        A fast model has more untimed runs rather than thousands of samples that say nothing new.
        """
        fitting = self.budget_ns * (1 - _WARM_UP_SHARE) / MIN_ROUNDS / max(run_ns, 1)
        wanted = max(_MIN_TIMED, math.ceil(TURN_NS / max(run_ns, 1)))
        warming = min(_DISCARD, math.ceil(TURN_NS / max(run_ns, 1)))  # one run can be as long as a turn
        self.count = max(1, min(wanted, _MAX_TIMED, int(fitting) - warming))
        self.discard = max(warming, wanted - self.count if self.count == _MAX_TIMED else 0)


def measure(
    sessions: Sequence[Session], *, budget_s: float, seed: int, on_progress: Callable[[float], None]
) -> list[Timing]:
    """Time all files.

    Args:
        sessions: Loaded, and through their first run.
        budget_s: Seconds per file, warm-up included. At least one run of each is timed whatever it takes.
        seed: Of the order within rounds.
        on_progress: Told the share that is done, 0 to 1.

    Returns:
        One timing per session, in their order. A file that fails leaves the others to go on.
    """
    lanes = [_Lane(session, budget_s) for session in sessions]
    order = random.Random(seed)  # noqa: S311 - no secret
    for lane in lanes:
        lane.warm_up()
    while True:
        on_progress(sum(lane.done for lane in lanes) / max(len(lanes), 1))
        running = [lane for lane in lanes if lane.open]
        if not running:
            return [lane.timing for lane in lanes]
        order.shuffle(running)
        for lane in running:
            lane.turn()
