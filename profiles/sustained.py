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
_MOST_RUNS = 2000
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
        ``duration_s``, ``window_s`` and ``turns``: for each ``time_s`` (its middle), ``ns`` (some of its runs, evenly),
        ``runs`` (how many there were), ``temperature_celsius`` (the hottest sensor) and ``frequency_khz``
        (the highest), which are those of the latest reading, or ``None``.
    """
    turns: list[dict[str, Any]] = []
    count, begun, read_at = 1, time.monotonic(), -math.inf
    state: Mapping[str, Any] = {}
    while (before := time.monotonic() - begun) < duration_s:
        if before - read_at >= _CONDITIONS_EVERY_S:
            state, read_at = session.conditions(), before
        ns = session.time(0, count)["ns"]
        after = time.monotonic() - begun
        turns.append(
            {
                "time_s": (before + after) / 2,
                "ns": ns[:: max(1, len(ns) // _KEPT_RUNS)],
                "runs": len(ns),
                "temperature_celsius": _most(state.get("temperature_celsius")),
                "frequency_khz": _most(state.get("frequency_khz")),
            }
        )
        on_progress(min(after, duration_s))
        count = max(1, min(_MOST_RUNS, int(_TURN_NS / max(statistics.median(ns), 1))))
    return {"duration_s": duration_s, "window_s": min(WINDOW_S, duration_s / 4), "turns": turns}


def _most(values: Mapping[str, Any] | None) -> Any:
    return max(values.values()) if values else None
