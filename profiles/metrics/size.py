"""Bytes of the file, as it is and as an app store ships it, and of the weights in it by dtype."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.compression import LIMIT_BYTES, compressed_bytes
from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement


def measure(data: MetricInput) -> Sequence[Measurement]:
    """The file always, with the files beside it that belong to it; weights where ``inspect`` has read the file."""
    files = [data.path, *(data.path.parent / name for name in data.facts.get("beside", ()))]
    found = [
        Measurement("size_bytes", sum(file.stat().st_size for file in files), "bytes", False, samples=1),
        _compressed(files),
    ]
    weights = data.facts.get("weights_bytes_by_dtype")
    if weights is None:
        reason = data.facts.get("unavailable", "the file's content was not read")
        return [*found, Measurement("weights_bytes", None, "bytes", False, unavailable=reason)]
    found.append(Measurement("weights_bytes", sum(weights.values()), "bytes", False, samples=1))
    found += [Measurement(f"weights_{dtype}_bytes", size, "bytes", None, samples=1) for dtype, size in weights.items()]
    return found


def _compressed(files: Sequence[Path]) -> Measurement:
    name, value = "compressed_bytes", compressed_bytes(files)
    if value is None:
        reason = f"files over {LIMIT_BYTES / 1e6:.0f} MB are not compressed, it would take minutes"
        return Measurement(name, None, "bytes", False, unavailable=reason)
    return Measurement(name, value, "bytes", False, spread="DEFLATE at level 9, as in a zip archive", samples=1)


METRIC = Metric("size", "Size", measure)
