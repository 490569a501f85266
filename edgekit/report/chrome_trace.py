"""The operators of measured files in Chrome's trace event format, for chrome://tracing and Perfetto.

The format is Google's "Trace Event Format" document: complete events (``"ph": "X"``) with start and duration in
microseconds, and metadata events (``"ph": "M"``) that name processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.types import Profile, Report

_NS_PER_US = 1000.0
_WHAT = "Operators of one run, end to end in execution order, each with its usual time under the runtime's profiler."


def trace(report: Report) -> dict[str, Any]:
    """One process per file that has times of its operators; see :class:`edgekit.types.OperatorTime`."""
    events = [event for number, item in enumerate(report.profiles) for event in _events(number, item)]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"what": _WHAT}}


def _events(process: int, item: Profile) -> Iterator[dict[str, Any]]:
    if not item.operators:
        return
    title = f"{Path(item.path).name}, {item.runtime}, threads: {item.threads}"
    yield {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": title}}
    start_us = 0.0
    for one in item.operators:
        duration_us = one.time_ns / _NS_PER_US
        yield {
            "ph": "X",
            "name": one.operator,
            "cat": one.delegate or "no delegate",
            "pid": process,
            "tid": 0,
            "ts": start_us,
            "dur": duration_us,
            "args": {"name": one.name, "node": one.node, "calls": one.count, "share": one.share},
        }
        start_us += duration_us
