"""Times the operators of a file in an agent of its own, whose latency nobody reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.device_plugins import Session
from edgekit.errors import MeasurementError

_BUDGET_NS = 2e9
_LEAST_RUNS, _MOST_RUNS = 10, 100


def runs_for(latency_ns: float) -> int:
    """How many runs to profile of a file that takes this long: two seconds of them, from 10 to 100."""
    return int(min(_MOST_RUNS, max(_LEAST_RUNS, _BUDGET_NS // max(1.0, latency_ns))))


def collect(open_session: Callable[[], Session], feeds: Path, runs: int) -> dict[str, Any]:
    """Raw figures for :mod:`profiles.metrics.operators`.

    The profilers of runtimes may crash; what is delegated is asked for first, and kept when they do.

    Args:
        open_session: Starts an agent for the file, which is closed here.
        feeds: Samples to run on, a feeds folder.
        runs: How often to run it.

    Returns:
        The agent's answers to ``undelegated`` and ``operators`` (see :mod:`profiles.agent`), with the reason in
        ``unavailable`` where it failed, and in ``log`` the path of its log, else empty.
    """
    found: dict[str, Any] = {"nodes": None, "undelegated": None, "log": ""}
    with open_session() as session:
        try:
            found.update(session.coverage())
            found.update(session.operators(feeds, runs))
        except MeasurementError as error:
            found.update(operators=[], run_ns=[], unavailable=error.message, log=error.log)
    return found
