"""The last half minute of a sustained run against its first."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement, Moment, Sustained

_NAMES = ("sustained_first_p50_ns", "sustained_last_p50_ns")
_RATIO = "sustained_ratio"
_SPREAD = "95% CI of the median, over turns"
_WIDEST = "the widest that the two intervals allow"
_LEAST_BUSY = 0.9


def measure(given: MetricInput) -> list[Measurement]:
    """Figures where files ran on; nothing where that was not asked for.

    The median run of the first and of the last window, in nanoseconds, and how many times the first the last is: above
    1 the device has become slower.
    """
    raw = given.raw.get("sustained")
    if raw is None:
        return []
    if "unavailable" in raw:
        return _missing(raw["unavailable"])
    ends = _ends(raw)
    if not all(ends):
        return _missing(f"no run lies within {raw['window_s']:g} s of the start and of the end: let it run for longer")
    from profiles import pairs, stats

    medians: list[pairs.Median] = []
    found = []
    for name, turns in zip(_NAMES, ends, strict=True):
        value = float(statistics.median([one for turn in turns for one in turn["ns"]]))
        interval = stats.median_interval([turn["ns"] for turn in turns])
        low, high = interval or (None, None)
        medians.append((value, low, high, len(turns)))
        runs = sum(turn["runs"] for turn in turns)
        found.append(Measurement(name, value, "ns", False, low, high, _SPREAD if interval else "", runs))
    ratio = pairs.of_intervals(medians[1], medians[0])
    if ratio is None:
        return [*found, _without(_RATIO, "ratio", "runs take less than the clock can tell")]
    spread = "" if ratio.low is None else _WIDEST
    return [*found, Measurement(_RATIO, ratio.value, "ratio", False, ratio.low, ratio.high, spread, ratio.rounds)]


def notes(raw: Mapping[str, Any]) -> list[str]:
    """What a reader should know of such a run, a sentence each."""
    busy = raw.get("busy_ratio", 1.0)
    if busy >= _LEAST_BUSY:
        return []
    return [f"the sustained run was no run without pause: in {1 - busy:.0%} of the time the device waited to be asked"]


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


def _ends(raw: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Turns whose middle is in the first window, and in the last one."""
    turns, window = raw["turns"], raw["window_s"]
    last = raw["duration_s"] - window
    return [turn for turn in turns if turn["time_s"] <= window], [turn for turn in turns if turn["time_s"] >= last]


def _missing(why: str) -> list[Measurement]:
    return [*(_without(name, "ns", why) for name in _NAMES), _without(_RATIO, "ratio", why)]


def _without(name: str, unit: str, why: str) -> Measurement:
    return Measurement(name, None, unit, False, unavailable=why)


METRIC = Metric(name="sustained", title="sustained runs", measure=measure)
