"""The way from nothing to a warm model: fresh processes, each timed once along it.

The processes are cold, the files are not: they come from the page cache, as on every start but the first after the
machine's own. Processes run one after the other, and nothing is timed beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.device_plugins import Session
from edgekit.errors import EdgekitError

PROCESSES = 5
IDLE_S = 0.1
"""Of a camera at ten pictures a second; long enough for a CPU to go to sleep and for a governor to slow it down."""

_IDLE_RUNS = 5
_STEADY_NS = 1_000_000_000
"""Steady runs of one process take about this long together, if they are not too few or too many then."""

_MIN_STEADY, _MAX_STEADY, _DISCARD = 3, 20, 3


def cold(
    open_session: Callable[[], Session],
    feeds: Path,
    processes: int = PROCESSES,
    idle_s: float = IDLE_S,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Start processes for one file and write down what each step took.

    Args:
        open_session: Starts one more agent for the file.
        feeds: Samples to run.
        processes: How many.
        idle_s: Seconds without a run before each run that is timed as one after a gap.
        on_progress: Told how many processes are done.

    Returns:
        ``idle_s``; ``processes``, for each ``import_ns``, ``load_ns``, ``first_ns`` and lists ``steady_ns`` and
        ``after_idle_ns``; ``unavailable``: why one of them failed, or empty. The others are void then.
    """
    found: list[dict[str, Any]] = []
    raw = {"idle_s": idle_s, "processes": found, "unavailable": ""}
    for number in range(processes):
        try:
            with open_session() as session:
                found.append(_walk(session, feeds, idle_s))
        except EdgekitError as error:
            return {**raw, "unavailable": f"process {number + 1} of {processes}: {error.message}"}
        on_progress(number + 1)
    return raw


def _walk(session: Session, feeds: Path, idle_s: float) -> dict[str, Any]:
    """One process's way."""
    import_ns, load_ns = session.ready()["import_ns"], session.load()["load_ns"]
    first_ns = session.first(feeds)["first_ns"]
    count = max(_MIN_STEADY, min(_STEADY_NS // first_ns, _MAX_STEADY))
    return {
        "import_ns": import_ns,
        "load_ns": load_ns,
        "first_ns": first_ns,
        "steady_ns": session.time(_DISCARD, count)["ns"],
        "after_idle_ns": session.idle(idle_s, _IDLE_RUNS)["ns"],
    }
