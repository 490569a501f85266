"""A file that runs without pause, alone: what is left of its speed when the device has become hot.

A ranking of devices in their first minute need not be that of their thirtieth.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.device_plugins import Session

WINDOW_S = 30.0
"""What "first" and "last" mean, where the whole is four times as long."""

_TURN_NS = 500_000_000
_TURNS_IN_A_WINDOW = 10
_LEAST_TURNS_IN_A_WINDOW = 8
"""Where turns are made longer because asking for one takes long; fewer would leave no interval."""

_MOST_RUNS = 20_000
_MOST_OVERHEAD = 0.05

_CONDITIONS_EVERY_S = 5.0
_KEPT_RUNS = 64
"""Of each turn, evenly: half an hour of a fast model would have millions."""


def run(session: Session, duration_s: float, on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Run a file for a time.

    Args:
        session: Loaded, and through its first run.
        duration_s: In seconds.
        on_progress: Told the seconds that are done.

    Returns:
        ``duration_s``, ``window_s``, ``busy_ratio`` (share of the time in which runs were made and timed) and
        ``turns``: for each ``time_s`` (its middle), ``ns`` (some of its runs, evenly), ``runs`` (how many there were),
        ``temperature_celsius`` (the hottest sensor) and ``frequency_khz`` (the highest of the CPUs that it may use),
        which are those of the latest reading, or ``None``.

    Raises:
        MeasurementError: The runtime failed meanwhile.
    """
    window_s = min(WINDOW_S, duration_s / 4)
    turn_ns = min(_TURN_NS, window_s * 1e9 / _TURNS_IN_A_WINDOW)
    longest_ns = window_s * 1e9 / _LEAST_TURNS_IN_A_WINDOW
    turns: list[dict[str, Any]] = []
    state: Mapping[str, Any] = {}
    count, read_at, after, within_ns, request_ns = 1, -math.inf, 0.0, 0.0, math.inf
    begun = time.monotonic()
    while (before := time.monotonic() - begun) < duration_s:
        if before - read_at >= _CONDITIONS_EVERY_S:
            state, read_at = _state(session.conditions()), before
        asked = time.monotonic() - begun
        ns = session.time(0, count)["ns"]
        after = time.monotonic() - begun
        runs_ns = statistics.fmean(ns) * count  # native programs give one figure for all runs
        kept = ns[:: max(1, len(ns) // _KEPT_RUNS)]
        turns.append({"time_s": (asked + after) / 2, "ns": kept, "runs": count, **state})
        on_progress(min(after, duration_s))
        wall_ns = (after - asked) * 1e9
        within_ns += wall_ns
        request_ns = max(0.0, min(request_ns, wall_ns - runs_ns))
        one_ns = max(wall_ns - request_ns, runs_ns, 1.0) / count  # timing a run takes as long as a very short run does
        aim_ns = min(max(turn_ns, request_ns / _MOST_OVERHEAD), longest_ns)
        count = max(1, min(_MOST_RUNS, int(aim_ns / one_ns)))
    busy = (within_ns - request_ns * len(turns)) / (after * 1e9)
    return {"duration_s": duration_s, "window_s": window_s, "busy_ratio": busy, "turns": turns}


def _state(found: Mapping[str, Any]) -> dict[str, Any]:
    degrees = (found.get("temperature_celsius") or {}).values()
    used = found.get("affinity")
    khz = [value for cpu, value in (found.get("frequency_khz") or {}).items() if used is None or int(cpu) in used]
    return {"temperature_celsius": max(degrees, default=None), "frequency_khz": max(khz, default=None)}
