"""Detection: mean average precision of boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.drift_types import TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles.tasks._choosing import Choice, choose
from profiles.tasks._coco import Boxes, Matches, match
from profiles.tasks._readings import LEAST_SCORE, Reading
from profiles.tasks._scale import Scale, scale_of
from profiles.tasks._shared import nonsense, with_words

if TYPE_CHECKING:
    from edgekit.feeds import Array

SETTINGS = {
    "boxes": "output that holds the boxes",
    "scores": "output that holds the scores",
    "format": "xyxy, yxyx, xywh or cxcywh",
    "coordinates": "pixels (of the model's input) or unit (from 0 to 1)",
    "objectness": "yes or no: whether column 4 of a joined output multiplies the scores",
    "activation": "none, sigmoid or softmax, to make scores of the numbers",
    "background": "column of scores that means nothing is there, last, or no",
    "first_label": "label of the first class that is not background",
    "nms": "most overlap of two boxes of a class, from 0 to 1, or no",
    "frame": "WIDTHxHEIGHT of the model's input, where it is no picture",
    "label_size": "WIDTHxHEIGHT of the pictures that labels count pixels of, where it is not that of the input",
}

_RESAMPLES = 400
_BEYOND = 1.05


def fits(data: TaskInput) -> str:
    """Labels are boxes."""
    if data.labels is None or hasattr(data.labels, "shape") or not len(data.labels):
        return ""
    first = data.labels[0]
    return "labels are boxes" if isinstance(first, Mapping) and {"boxes", "labels"} <= first.keys() else ""


def measure(data: TaskInput) -> TaskResult:
    """``map`` (COCO: overlaps from 0.5 to 0.95, all sizes, 100 boxes of a class and image) and ``map50``.

    Source: Lin et al., Microsoft COCO, 2014, and ``pycocotools``, which decides which box finds which label.

    Args:
        data: With labels of each picture: ``boxes`` ``(n, 4)`` as x1, y1, x2, y2 and ``labels`` ``(n,)``.

    Raises:
        UsageError: A setting has a value that means nothing.
    """
    if not fits(data):
        return _nothing("labels are no boxes: one mapping with boxes and labels for each sample is needed")
    labels = [_label(entry) for entry in data.labels or ()]
    problem = _unusable(labels, data)
    if problem:
        return _nothing(problem)
    greatest = max(float(one.boxes.max(initial=0)) for one in labels)
    scale = scale_of(data.inputs.arrays, greatest, data.settings)
    known = data.reference if data.reference is not None else data.outputs
    chosen = choose(known.arrays, labels, scale, data.settings, len(data.classes))
    if chosen.reading is None:
        return _nothing(chosen.problem)
    file, boxes = _matches(chosen.reading, data.outputs.arrays, labels, scale)
    reference = None
    if data.reference is not None:
        reference, _ = _matches(chosen.reading, data.reference.arrays, labels, scale)
    findings = [chosen.problem] if chosen.problem else []
    if not boxes:
        findings.append(f"no box of any sample has a score of {LEAST_SCORE:g} or more")
    if scale.pictures and greatest > _BEYOND * max(scale.pictures):
        width, height = (f"{side:.0f}" for side in scale.pictures)
        findings.append(
            f"labels reach {greatest:.0f}, pictures are {width}x{height}: "
            "where labels count pixels of larger pictures, --decode label_size=WIDTHxHEIGHT"
        )
    return TaskResult("detection", _decoding(chosen, data), _figures(file, reference), findings=tuple(findings))


def _figures(file: Matches, reference: Matches | None) -> tuple[TaskFigure, ...]:
    from profiles import paired

    pairs = (("map", Matches.overall), ("map50", Matches.at_half))
    return tuple(
        paired.resampled(
            name,
            "ratio",
            True,
            file.images,
            partial(statistic, file),
            None if reference is None else partial(statistic, reference),
            _RESAMPLES,
        )
        for name, statistic in pairs
    )


def _label(entry: Mapping[str, Any]) -> Boxes:
    boxes = np.asarray(entry["boxes"], np.float64).reshape(-1, 4)
    crowd = entry.get("iscrowd")
    numbers = np.asarray(entry["labels"], np.int64).reshape(-1)
    return Boxes(boxes, numbers, np.ones(len(boxes)), None if crowd is None else np.asarray(crowd, bool).reshape(-1))


def _unusable(labels: Sequence[Boxes], data: TaskInput) -> str:
    """Why nothing can be measured; empty when it can."""
    if all(len(labels) != math.prod(array.shape[:2]) and len(labels) != len(array) for array in _outputs(data)):
        return f"there are labels of {len(labels)} pictures, the outputs have {data.outputs.count} samples"
    for image, label in enumerate(labels):
        if len(label.boxes) != len(label.classes):
            return f"sample {image} has {len(label.boxes)} boxes and {len(label.classes)} labels"
        if not np.isfinite(label.boxes).all():
            return f"a labelled box of sample {image} is not finite"
        if (label.boxes[:, 2:] < label.boxes[:, :2]).any():
            return f"a labelled box of sample {image} ends before it begins; boxes are x1, y1, x2, y2"
    return nonsense(data)


def _outputs(data: TaskInput) -> list[Array]:
    return list(data.outputs.arrays.values())


def _matches(
    reading: Reading, arrays: Mapping[str, Array], labels: Sequence[Boxes], scale: Scale
) -> tuple[Matches, int]:
    """What finds what, and how many boxes there are."""
    count = 0

    def found() -> Iterator[Boxes]:
        nonlocal count
        for image in range(len(labels)):
            one = reading.of_image(arrays, image)
            count += len(one.boxes)
            yield replace(one, boxes=scale.found(one.boxes, reading.pixels))

    wanted = (replace(label, boxes=scale.labels(label.boxes)) for label in labels)
    return match(wanted, found(), len(labels)), count


def _decoding(chosen: Choice, data: TaskInput) -> str:
    assert chosen.reading is not None  # noqa: S101 - the caller has looked
    typed = " ".join(f"{key}={value}" for key, value in data.settings.items())
    whose = "the reference's outputs" if data.reference is not None else "the outputs"
    how = f"set by {typed}, the rest told by {whose} and the labels" if typed else f"told by {whose} and the labels"
    return f"{chosen.reading.words} ({how}; --decode KEY=VALUE sets {', '.join(SETTINGS)})"


def _nothing(reason: str) -> TaskResult:
    figures = tuple(TaskFigure(name, "ratio", True, None, unavailable=reason) for name in ("map", "map50"))
    return TaskResult("detection", "", tuple(with_words(one) for one in figures), findings=(reason,))


TASK = Task(
    name="detection",
    title="object detection",
    fits=fits,
    measure=measure,
    rank=10,
    settings=SETTINGS,
    packages=("pycocotools",),
    extra="metrics",
)
