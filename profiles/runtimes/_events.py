"""From the events of several profiled runs to one row per operator; the same for all runtimes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple


class ProfilerUnavailableError(RuntimeError):
    """The runtime, in this version, cannot say how long its operators take."""


class Event(NamedTuple):
    """One operator in one run.

    Attributes:
        key: What tells it from the other operators of the file. An operator that a loop runs several times has one.
        operator: Its type, as the runtime calls it.
        name: Of this one; empty where the runtime does not say.
        node: As ``node`` in the rows of ``edgekit inspect``, to find it there; empty where that is not known.
        delegate: What ran it: a delegate or an execution provider; empty for the runtime's own slow path.
        ns: How long it took, without operators that ran within it.
    """

    key: Hashable
    operator: str
    name: str
    node: str
    delegate: str
    ns: int


def rows(runs: Sequence[Sequence[Event]]) -> list[dict[str, Any]]:
    """One row per operator, in the order in which they first ran.

    Returns:
        ``index``, ``operator``, ``name``, ``node``, ``delegate``, ``calls`` (in the first run) and ``ns``: a time per
        run, summed over its calls; 0 in a run that did not come by.
    """
    found: dict[Hashable, dict[str, Any]] = {}
    for number, run in enumerate(runs):
        for event in run:
            row = found.get(event.key)
            if row is None:
                row = found[event.key] = {
                    "index": len(found),
                    "operator": event.operator,
                    "name": event.name,
                    "node": event.node,
                    "delegate": event.delegate,
                    "calls": 0,
                    "ns": [0] * len(runs),
                }
            row["ns"][number] += event.ns
            if number == 0:
                row["calls"] += 1
    return list(found.values())
