"""Segmentation: mean intersection over union of masks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import ClassFigures, TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles.tasks._masks import Masks, are_masks, axes, looks_like_masks, reading
from profiles.tasks._settings import whole
from profiles.tasks._shared import blocks, nonsense, with_words

if TYPE_CHECKING:
    from edgekit.feeds import Array

SETTINGS = {
    "output": "output that holds the masks",
    "ignore": "label of pixels that do not count, 255 where nothing is said",
    "channels": "first or last: where the classes are in the output",
    "threshold": "where there is one channel only: its least value that is class 1",
}

IGNORE = 255
_FIGURES = ("miou", "pixel_accuracy")
_MOST_CLASSES = 4096


def fits(data: TaskInput) -> str:
    """Labels are whole numbers for each pixel, and an output has values for each pixel, or for larger ones."""
    labels = data.labels
    if not are_masks(labels):
        return ""
    if any(axes(array, labels) or looks_like_masks(array, labels) for array in data.outputs.arrays.values()):
        return f"labels are whole numbers for each of {labels.shape[2]}x{labels.shape[3]} pixels"
    return ""


def measure(data: TaskInput) -> TaskResult:
    """``miou`` (the mean over classes that occur of intersection over union, of all pixels) and ``pixel_accuracy``.

    Source: Everingham et al., The Pascal Visual Object Classes Challenge, 2015, section 4.3.

    Args:
        data: With labels ``(samples, batch, H, W)`` of whole numbers.

    Raises:
        UsageError: A setting has a value that means nothing.
    """
    labels = data.labels
    if not are_masks(labels):
        return _nothing("labels are no masks: whole numbers of shape (samples, batch, height, width) are needed")
    given = whole(data.settings, "ignore")
    ignore = IGNORE if given is None else given
    masks = reading(data, labels)
    if isinstance(masks, str):
        return _nothing(masks)
    wrong = nonsense(data, masks.output)
    if wrong:
        return _nothing(wrong)
    low, high = _span(labels, ignore)
    if high is None:
        return _nothing(f"all pixels are labelled {ignore}, which does not count")
    if masks.axis is None:
        masks = Masks(masks.output, None, None, max(high + 1, _most(data, masks.output) + 1, len(data.classes)))
    if low < 0 or high >= masks.classes:
        hint = f"; pixels that do not count are labelled {ignore} (--decode ignore=NUMBER)"
        return _nothing(f"labels go from {low} to {high}, output {masks.output!r} has {masks.classes} classes{hint}")
    if masks.classes > _MOST_CLASSES:
        return _nothing(f"{masks.classes} classes are more than the {_MOST_CLASSES} that masks may have")
    file = _counts(data.outputs.arrays[masks.output], labels, masks, ignore)
    reference = None
    if data.reference is not None:
        reference = _counts(data.reference.arrays[masks.output], labels, masks, ignore)
    decoding = f"{masks.words}; label {ignore} does not count (--decode KEY=VALUE sets {', '.join(SETTINGS)})"
    findings = _findings(file)
    return TaskResult(
        "segmentation", decoding, _figures(file, reference), _classes(file, reference, data), None, findings
    )


def _span(labels: Array, ignore: int) -> tuple[int, int | None]:
    """Least and greatest label that counts."""
    low, high = 0, None
    for _, block in blocks(labels):
        counted = block[block != ignore]
        if counted.size:
            low = min(low, int(counted.min()))
            high = max(int(counted.max()), -1 if high is None else high)
    return low, high


def _most(data: TaskInput, name: str) -> int:
    """Greatest class number that an output holds."""
    arrays = [found.arrays[name] for found in (data.outputs, data.reference) if found is not None]
    return max(int(np.rint(block).max()) for array in arrays for _, block in blocks(array) if np.isfinite(block).all())


def _counts(output: Array, labels: Array, masks: Masks, ignore: int) -> Array:
    """Pixels of each sample by class: right, labelled so, found so; ``(samples, 3, classes)``."""
    from sklearn.metrics import confusion_matrix

    numbers = np.arange(masks.classes)
    counts = np.zeros((len(labels), 3, masks.classes), np.float64)
    for sample in range(len(labels)):
        wanted = np.asarray(labels[sample]).ravel()
        found = masks.of(np.asarray(output[sample : sample + 1])).ravel()
        counted = wanted != ignore
        if counted.any():
            table = confusion_matrix(wanted[counted], found[counted], labels=numbers)
            counts[sample] = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    return counts


def _miou(counts: Array, weights: Array) -> Array:
    """Of samples that count as often as each row of weights ``(n, samples)`` says: ``(n,)``."""
    right, wanted, found = np.moveaxis(np.tensordot(weights, counts, axes=1), 1, 0)
    union = wanted + found - right
    with np.errstate(invalid="ignore"):
        each = np.where(union > 0, right / union, np.nan)
    occurring = (union > 0).sum(axis=1)
    return np.where(occurring > 0, np.nansum(each, axis=1) / np.maximum(occurring, 1), np.nan)


def _figures(file: Array, reference: Array | None) -> tuple[TaskFigure, ...]:
    from profiles import paired

    def share(counts: Array) -> Array:
        return np.stack([counts[:, 0].sum(axis=1), counts[:, 1].sum(axis=1)], axis=1)

    its = None if reference is None else partial(_miou, reference)
    return (
        paired.resampled("miou", "ratio", True, len(file), partial(_miou, file), its),
        paired.mean(
            "pixel_accuracy",
            "ratio",
            True,
            share(file),
            None if reference is None else share(reference),
            lambda means: means[..., 0] / means[..., 1],
        ),
    )


def _classes(file: Array, reference: Array | None, data: TaskInput) -> tuple[ClassFigures, ...]:
    """Of pixels, by class that labels have."""
    mine, its = file.sum(axis=0), None if reference is None else reference.sum(axis=0)
    return tuple(
        ClassFigures(
            label,
            data.classes[label] if label < len(data.classes) else "",
            int(pixels),
            float(mine[0, label] / pixels),
            None if its is None else float(its[0, label] / pixels),
        )
        for label, pixels in enumerate(mine[1])
        if pixels
    )


def _findings(file: Array) -> tuple[str, ...]:
    found = np.flatnonzero(file[:, 2].sum(axis=0))
    labelled = np.flatnonzero(file[:, 1].sum(axis=0))
    if len(found) == 1 and len(labelled) > 1:
        return (f"every pixel of every sample is put into class {found[0]}",)
    return ()


def _nothing(reason: str) -> TaskResult:
    figures = tuple(with_words(TaskFigure(name, "ratio", True, None, unavailable=reason)) for name in _FIGURES)
    return TaskResult("segmentation", "", figures, findings=(reason,))


TASK = Task(
    name="segmentation",
    title="segmentation",
    fits=fits,
    measure=measure,
    rank=20,
    settings=SETTINGS,
    packages=("sklearn",),
    extra="metrics",
)
