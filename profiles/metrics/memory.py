"""Memory that a file needs, over that of a process which has imported the runtime and nothing else.

Python and the runtime's own libraries are left out because they are not what a device would hold, and so are the
pages of those libraries that come into memory while the file is loaded and run. The file's own pages count, also
where they are mapped from disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement

_PEAK = "peak_memory_bytes"
_ARENA = "arena_bytes"
_NO_LINUX = "this system does not report it"
_WITH_LIBRARIES = "the runtime's own libraries included, which this system does not tell apart"


def measure(data: MetricInput) -> Sequence[Measurement]:
    """The peak up to the first runs, what stays after them, and what the runtime plans for activations."""
    base, last = data.raw["start"]["memory"], data.raw["first"]["memory"]
    loaded = data.raw.get("load", {}).get("memory", last)
    resident = [_resident(name, base.get(name), last.get(name)) for name in ("pss_bytes", "uss_bytes")]
    return [_peak(base, loaded, last), *resident, _arena(data)]


def _peak(base: Mapping[str, Any], loaded: Mapping[str, Any], last: Mapping[str, Any]) -> Measurement:
    """Highest resident size while loading and in the first runs, less that after the import; without libraries."""
    if base["rss_bytes"] is None or last["peak_bytes"] is None:
        return Measurement(_PEAK, None, "bytes", False, unavailable="this system does not report peak memory")
    known = all(one.get("code_bytes") is not None for one in (base, loaded, last))
    spread = "" if known else _WITH_LIBRARIES

    def own(reading: Mapping[str, Any], key: str) -> int:
        size: int = reading[key] - (reading["code_bytes"] if known else 0)
        return size

    # The peak is that of the whole process, libraries too, and they grow: each peak goes with its own reading.
    before = own(base, "rss_bytes")
    value = max(0, *(own(one, "peak_bytes") - before for one in (loaded, last)))
    if base["peak_reset"] or last["peak_bytes"] > base["peak_bytes"]:
        return Measurement(_PEAK, value, "bytes", False, spread=spread, samples=1)
    # The system did not let the peak of the import be forgotten, and the file did not rise above it.
    low = max(0, own(last, "rss_bytes") - before)
    spread = "resident size after the runs, and the peak of the import that could not be reset"
    return Measurement(_PEAK, value, "bytes", False, low, value, spread, 1)


def _resident(name: str, base: int | None, last: int | None) -> Measurement:
    """What there is more of after the first runs than after the import."""
    if base is None or last is None:
        return Measurement(name, None, "bytes", False, unavailable=_NO_LINUX)
    return Measurement(name, max(0, last - base), "bytes", False, samples=1)


def _arena(data: MetricInput) -> Measurement:
    """As the runtime says; else as the file does."""
    raw = data.raw.get("arena", {})
    value, held = raw.get("arena_bytes"), raw.get("held_bytes")
    if value is not None:
        spread = (
            "high: what the arena holds, in blocks, repacked weights included"
            if held is not None
            else raw.get("note", "")
        )
        return Measurement(_ARENA, value, "bytes", False, None, held, spread, 1)
    planned = data.facts.get("memory_planned_bytes")
    if planned is not None:
        return Measurement(
            _ARENA,
            planned,
            "bytes",
            False,
            spread="as planned in the file, without what delegates keep for themselves",
            samples=1,
        )
    reason = raw.get("unavailable") or "the runtime was not asked, and the file does not say"
    return Measurement(_ARENA, None, "bytes", False, unavailable=reason)


METRIC = Metric("memory", "Memory", measure)
