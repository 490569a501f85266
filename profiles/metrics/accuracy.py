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
    if labels.dtype.kind not in "iu":
        return [Measurement(NAME, None, "ratio", True, unavailable="labels are numbers to predict, and no classes")]
    found = []
    for name, folder in ((NAME, data.outputs), (f"reference_{NAME}", data.reference)):
        if folder is not None:
            found.append(_accuracy(name, folder, labels.reshape(-1)))
    return found


def _accuracy(name: str, folder: Path, labels: Array) -> Measurement:
    from edgekit import feeds
    from profiles import decoding
    from profiles.tasks import classification

    outputs = feeds.read(folder)
    reading = decoding.class_scores(outputs, labels.size, {})
    if reading is None:
        reason = "no output looks like class scores, one row per label"
        return Measurement(name, None, "ratio", True, unavailable=reason)
    problem = classification.problem(outputs.arrays[reading.output], reading, labels)
    if problem:
        return Measurement(name, None, "ratio", True, unavailable=problem)
    figure = classification.top1(outputs.arrays[reading.output], reading, labels)
    return Measurement(
        name, figure.value, "ratio", True, figure.low, figure.high, "95% Wilson interval", figure.samples
    )


METRIC = Metric("accuracy", "Accuracy", measure)
