"""Memory that a file needs, over that of a process which has imported the runtime and nothing else.

Python and the runtime's own libraries are left out because they are not what a device would hold; the file's
pages count, also where they are mapped from disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement

NAME = "peak_memory_bytes"


def measure(data: MetricInput) -> Sequence[Measurement]:
    """Highest resident size while loading and in the first runs, less the resident size after the import."""
    base, last = data.raw["start"]["memory"], data.raw["first"]["memory"]
    if base["rss_bytes"] is None or last["peak_bytes"] is None:
        return [Measurement(NAME, None, "bytes", False, unavailable="this system does not report peak memory")]
    value = max(0, last["peak_bytes"] - base["rss_bytes"])
    if base["peak_reset"] or last["peak_bytes"] > base["peak_bytes"]:
        return [Measurement(NAME, value, "bytes", False, samples=1)]
    # The system did not let the peak of the import be forgotten, and the file did not rise above it.
    low = max(0, last["rss_bytes"] - base["rss_bytes"])
    spread = "resident size after the runs, and the peak of the import that could not be reset"
    return [Measurement(NAME, value, "bytes", False, low, value, spread, 1)]


METRIC = Metric("memory", "Memory", measure)
