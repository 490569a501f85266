"""Time to load, to run first, and to run once warm. Of all samples: slow ones are not dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement


def measure(data: MetricInput) -> Sequence[Measurement]:
    """Load and first run of one fresh process; percentiles of the turns."""
    found = [
        _once("load_ns", data.raw["load"]["load_ns"]),
        _once("first_run_ns", data.raw["first"]["first_ns"]),
    ]
    turns: Sequence[Mapping[str, Any]] = data.raw["turns"]
    return [*found, _median(turns), *(_tail(turns, share) for share in (0.90, 0.95, 0.99)), _preempted(turns)]


def _median(turns: Sequence[Mapping[str, Any]]) -> Measurement:
    from profiles import stats

    rounds = [turn["ns"] for turn in turns]
    samples = [value for one in rounds for value in one]
    interval = stats.median_interval(rounds)
    if interval is None:
        low, high, spread = None, None, ""
    else:
        (low, high), spread = interval, f"95% CI of the median, from {len(rounds)} rounds"
    value = stats.percentile(samples, 0.5)
    return Measurement("latency_p50_ns", value, "ns", False, low, high, spread, len(samples))


def _tail(turns: Sequence[Mapping[str, Any]], share: float) -> Measurement:
    from profiles import stats

    name = f"latency_p{share * 100:.0f}_ns"
    if any(turn.get("typical") for turn in turns):
        return Measurement(name, None, "ns", False, unavailable="the program that ran the file prints no single runs")
    samples = [value for turn in turns for value in turn["ns"]]
    needed = stats.samples_needed(share)
    if len(samples) < needed:
        reason = f"needs {needed} samples, has {len(samples)}"
        return Measurement(name, None, "ns", False, samples=len(samples), unavailable=reason)
    high = stats.upper_bound(samples, share)
    value = stats.percentile(samples, share)
    return Measurement(name, value, "ns", False, None, high, "95% upper bound", len(samples))


def _preempted(turns: Sequence[Mapping[str, Any]]) -> Measurement:
    """The share of runs during which something else had the CPU: how far the machine was the model's own."""
    from profiles.turns import preempted

    name = "preempted_ratio"
    flags = [preempted(turn) for turn in turns]
    evidence = [flag for one in flags if one is not None for flag in one]
    if None in flags or not evidence:
        return Measurement(name, None, "ratio", None, unavailable="this kernel does not record it")
    return Measurement(name, sum(evidence) / len(evidence), "ratio", None, samples=len(evidence))


def _once(name: str, value: int | None) -> Measurement:
    if value is None:
        return Measurement(name, None, "ns", False, unavailable="the program that ran the file does not say")
    return Measurement(name, value, "ns", False, samples=1)


METRIC = Metric("latency", "Latency", measure)
