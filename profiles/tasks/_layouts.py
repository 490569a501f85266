"""Where in a detector's outputs boxes, scores and classes are, told by shapes and, where those leave it open, values.

A layout gives for one image the numbers of all its boxes; how those are meant is :mod:`profiles.tasks._readings`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.feeds import Array

KNOWN = (
    "boxes (N, 4) with scores (N, classes); boxes (N, 4), classes (N), scores (N) and perhaps their number; one output "
    "(4 + classes, N), (N, 5 + classes), or (N, 6) with score and class"
)
"""Layouts that are known, in words."""

_FEW = 64


@dataclass(frozen=True)
class Layout:
    """One way of finding boxes in outputs; names are of outputs, empty where there is no such output.

    Attributes:
        boxes: ``(images, N, 4)``, or everything in one output.
        scores: ``(images, N)`` with ``classes``, else ``(images, N, classes)``; empty with everything in one.
        classes: ``(images, N)``, the class of each box.
        count: ``(images,)``, how many boxes of each image are meant.
        turned: The one output is ``(images, columns, N)``.
        objectness: Its column 4 says whether there is anything, and multiplies the scores.
        listed: The one output has score and class in columns 4 and 5.
    """

    boxes: str
    scores: str = ""
    classes: str = ""
    count: str = ""
    turned: bool = False
    objectness: bool = False
    listed: bool = False

    @property
    def final(self) -> bool:
        """Whether each box has one class: the model has chosen already."""
        return bool(self.classes) or self.listed

    @property
    def words(self) -> str:
        """For a reader."""
        if self.listed:
            return f"boxes, scores and classes in {self.boxes!r}"
        if self.classes:
            return f"boxes in {self.boxes!r}, scores in {self.scores!r}, classes in {self.classes!r}"
        if self.scores:
            return f"boxes in {self.boxes!r}, scores of each class in {self.scores!r}"
        return f"boxes and scores of each class in {self.boxes!r}, with{'' if self.objectness else 'out'} objectness"

    def of_image(self, arrays: Mapping[str, Array], image: int) -> tuple[Array, Array, Array | None]:
        """Boxes ``(n, 4)``, scores ``(n, classes)`` or ``(n,)``, and classes ``(n,)`` or ``None``, of one image."""
        if self.scores:
            boxes, scores = _at(arrays[self.boxes], image, 2), arrays[self.scores]
            if not self.classes:
                flat = scores.ndim < arrays[self.boxes].ndim
                return boxes, _at(scores, image, 1)[:, None] if flat else _at(scores, image, 2), None
            meant = len(boxes) if not self.count else int(np.ravel(_at(arrays[self.count], image, 0))[0])
            return boxes[:meant], _at(scores, image, 1)[:meant], _at(arrays[self.classes], image, 1)[:meant]
        table = _at(arrays[self.boxes], image, 2)
        table = table.T if self.turned else table
        if self.listed:
            return table[:, :4], table[:, 4], table[:, 5]
        if self.objectness:
            return table[:, :4], table[:, 4:5] * table[:, 5:], None
        return table[:, :4], table[:, 4:], None


def layouts(arrays: Mapping[str, Array], images: int) -> tuple[Layout, ...]:
    """Layouts that outputs of so many images can have."""
    fitting = {name: array for name, array in arrays.items() if array.ndim and array.size and len(array) <= images}
    apart = tuple(_apart(fitting, images))
    return apart or tuple(found for name in fitting for found in _in_one(name, fitting[name], images))


def _apart(arrays: Mapping[str, Array], images: int) -> Iterator[Layout]:
    """Boxes and scores in outputs of their own."""
    for name, boxes in arrays.items():
        if boxes.ndim < 3 or boxes.shape[-1] != 4 or math.prod(boxes.shape[:-2]) != images:
            continue
        others = {other: array for other, array in arrays.items() if other != name}
        flat = [other for other, array in others.items() if array.shape == boxes.shape[:-1]]
        whole = [other for other in flat if _whole(others[other])]
        counts = [other for other, array in others.items() if array.size == images and other not in flat]
        for classes in whole:
            for scores in (other for other in flat if other != classes):
                yield Layout(name, scores, classes, counts[0] if counts else "")
        if len(flat) == 1 and not whole:
            yield Layout(name, flat[0])
        for other, array in others.items():
            if array.shape[:-1] == boxes.shape[:-1]:
                yield Layout(name, other)


def _in_one(name: str, array: Array, images: int) -> Iterator[Layout]:
    """Boxes and scores side by side in one output; there are more boxes than columns."""
    if array.ndim < 3 or math.prod(array.shape[:-2]) != images:
        return
    turned = array.shape[-2] < array.shape[-1]
    columns = min(array.shape[-2:])
    if columns < 5:
        return
    if columns == 6:
        classes = np.stack([_column(array, image, 5, turned) for image in range(min(images, _FEW))])
        if _whole(classes):
            yield Layout(name, turned=turned, listed=True)
            return
    yield Layout(name, turned=turned)
    if columns > 5:
        yield Layout(name, turned=turned, objectness=True)


def _column(array: Array, image: int, column: int, turned: bool) -> Array:
    table = _at(array, image, 2)
    return table[column] if turned else table[:, column]


def _whole(array: Array) -> bool:
    """Whether the first images hold whole numbers from 0 and not all the same as scores of empty lists are."""
    few = np.asarray(array[:_FEW])
    if few.dtype.kind in "iu":
        return True
    return bool(np.all(np.isfinite(few)) and np.all(few == np.rint(few)) and few.min() >= 0)


def _at(array: Array, image: int, dimensions: int) -> Array:
    """The last dimensions of one image, where those before count samples and the batch."""
    leading = array.shape[: array.ndim - dimensions] if dimensions else array.shape
    return np.asarray(array[np.unravel_index(image, leading)])
