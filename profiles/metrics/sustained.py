"""The last half minute of a sustained run against its first."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement, Moment, Sustained

_NAMES = ("sustained_first_p50_ns", "sustained_last_p50_ns")
_SPREAD = "95% CI of the median, over turns"


def measure(given: MetricInput) -> list[Measurement]:
    """Figures where files ran on; nothing where that was not asked for."""
    raw = given.raw.get("sustained")
    if raw is None:
        return []
    if "unavailable" in raw:
        return [
            Measurement(name, None, unit, False, unavailable=raw["unavailable"])
            for name, unit in (*((name, "ns") for name in _NAMES), ("sustained_ratio", "ratio"))
        ]
    from profiles import pairs, stats

    first, last = _ends(raw)
    medians: list[pairs.Median] = []
    found = []
    for name, turns in zip(_NAMES, (first, last), strict=True):
        value = float(statistics.median([one for turn in turns for one in turn]))
        interval = stats.median_interval(turns)
        low, high = interval or (None, None)
        medians.append((value, low, high, len(turns)))
        found.append(
            Measurement(name, value, "ns", False, low, high, _SPREAD if interval else "", sum(map(len, turns)))
        )
    ratio = pairs.of_intervals(medians[1], medians[0])
    assert ratio is not None  # noqa: S101 - no run takes no time
    words = "the widest that the two intervals allow" if ratio.low is not None else ""
    found.append(
        Measurement("sustained_ratio", ratio.value, "ratio", False, ratio.low, ratio.high, words, ratio.rounds)
    )
    return found


def record(raw: Mapping[str, Any]) -> Sustained | None:
    """The run for a report; ``None`` where it failed."""
    if "unavailable" in raw:
        return None
    moments = (
        Moment(
            time_s=turn["time_s"],
            p50_ns=float(statistics.median(turn["ns"])),
            runs=turn["runs"],
            temperature_celsius=turn["temperature_celsius"],
            frequency_khz=turn["frequency_khz"],
        )
        for turn in raw["turns"]
    )
    return Sustained(raw["duration_s"], raw["window_s"], tuple(moments))


def _ends(raw: Mapping[str, Any]) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
    """Runs of the turns in the first and in the last window; of the nearest turn where none lies within."""
    turns, window = raw["turns"], raw["window_s"]
    first = [turn["ns"] for turn in turns if turn["time_s"] <= window]
    last = [turn["ns"] for turn in turns if turn["time_s"] >= raw["duration_s"] - window]
    return first or [turns[0]["ns"]], last or [turns[-1]["ns"]]


METRIC = Metric(name="sustained", title="sustained runs", measure=measure)
