"""Top-1 accuracy, where the data has labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement

if TYPE_CHECKING:
    from edgekit.feeds import Array

NAME = "accuracy"


def measure(data: MetricInput) -> Sequence[Measurement]:
    """Of the file, and of the reference on the same samples."""
    from edgekit import feeds

    labels = feeds.read(data.feeds).labels if data.feeds is not None else None
    if labels is None:
        return [Measurement(NAME, None, "ratio", True, unavailable="the data has no labels")]
    found = []
    for name, folder in ((NAME, data.outputs), (f"reference_{NAME}", data.reference)):
        if folder is not None:
            found.append(_accuracy(name, folder, labels))
    return found


def _accuracy(name: str, folder: Path, labels: Array) -> Measurement:
    from edgekit import feeds
    from profiles import stats
    from profiles.metrics.drift import looks_like_scores

    outputs = feeds.read(folder).arrays
    fitting = [array for array in outputs.values() if looks_like_scores(array) and array.shape[:2] == labels.shape]
    if not fitting:
        reason = "no output looks like class scores, one row per label"
        return Measurement(name, None, "ratio", True, unavailable=reason)
    scores = fitting[0]
    if labels.min() < 0 or labels.max() >= scores.shape[2]:
        reason = f"labels go from {labels.min()} to {labels.max()}, the output has {scores.shape[2]} classes"
        return Measurement(name, None, "ratio", True, unavailable=reason)
    hits = int((scores.argmax(axis=2) == labels).sum())
    low, high = stats.share_interval(hits, labels.size)
    return Measurement(name, hits / labels.size, "ratio", True, low, high, "95% Wilson interval", labels.size)


METRIC = Metric("accuracy", "Accuracy", measure)
