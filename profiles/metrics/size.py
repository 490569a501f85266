"""Bytes of the file, and of the weights in it by dtype."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement


def measure(data: MetricInput) -> Sequence[Measurement]:
    """The file always; weights where ``inspect`` has read the file."""
    found = [Measurement("size_bytes", data.path.stat().st_size, "bytes", False, samples=1)]
    weights = data.facts.get("weights_bytes_by_dtype")
    if weights is None:
        reason = data.facts.get("unavailable", "the file's content was not read")
        return [*found, Measurement("weights_bytes", None, "bytes", False, unavailable=reason)]
    found.append(Measurement("weights_bytes", sum(weights.values()), "bytes", False, samples=1))
    found += [Measurement(f"weights_{dtype}_bytes", size, "bytes", None, samples=1) for dtype, size in weights.items()]
    return found


METRIC = Metric("size", "Size", measure)
