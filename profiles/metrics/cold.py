"""What each step from a fresh process to a warm model takes, and a run after a time without any.

Import is apart from load: it is the runtime's and Python's, and no device pays it in that form.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement

_STEPS = ("import", "load", "first_run", "steady", "after_idle")
_RAW = {"import": "import_ns", "load": "load_ns", "first_run": "first_ns"}
_WHAT = "smallest and largest of {count} processes; process-cold, files in the page cache"


def measure(data: MetricInput) -> Sequence[Measurement]:
    """The median over processes of each step; of steps with several runs, the median of each process first."""
    raw = data.raw.get("cold")
    reason = "not asked for (--cold)" if raw is None else raw["unavailable"]
    if raw is None or reason or not raw["processes"]:
        reason = reason or "no process was started"
        return [Measurement(f"cold_{step}_ns", None, "ns", False, unavailable=reason) for step in _STEPS]
    found = []
    for step in _STEPS:
        values = [_value(one[_RAW.get(step, f"{step}_ns")]) for one in raw["processes"]]
        spread = _WHAT.format(count=len(values))
        if step == "after_idle":
            spread += f"; after {raw['idle_s'] * 1000:g} ms without a run"
        middle = statistics.median(values)
        found.append(Measurement(f"cold_{step}_ns", middle, "ns", False, min(values), max(values), spread, len(values)))
    return found


def _value(raw: int | Sequence[int]) -> float:
    return float(raw) if isinstance(raw, int) else float(statistics.median(raw))


METRIC = Metric("cold", "Cold start", measure)
