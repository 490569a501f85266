"""Mean average precision of boxes, as COCO defines it; pycocotools decides which box finds which label.

What that decides is kept in a few numbers per box, block by block, so that memory holds neither pictures nor
dictionaries, and average precision can be had for any choice of images, which the bootstrap needs hundreds of times.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgekit.feeds import Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Least overlaps (intersection over union) that count as found; ``map`` is the mean over them."""

MOST_BOXES = 100
"""Of an image, the best; COCO's ``maxDets``."""

_RECALLS = np.linspace(0, 1, 101)
_BLOCK = 64

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Of one image: ``boxes`` ``(n, 4)`` as x1, y1, x2, y2, ``classes`` ``(n,)``, ``scores`` ``(n,)``, 1 for labels.

    ``crowd`` marks labels that stand for many things at once; boxes on them count neither way.
    """

    boxes: Array
    classes: Array
    scores: Array
    crowd: Array | None = None


@dataclass(frozen=True)
class _Class:
    """Boxes of one class in all images, the best score first.

    Attributes:
        images: Place of the image of each box.
        right: At each threshold, the places of boxes that find a label: only there precision can peak.
        counted: At each threshold, which boxes count; ``None`` where all do.
        labels: How many there are in each image.
    """

    images: Array
    right: tuple[Array, ...]
    counted: Array | None
    labels: Array


@dataclass(frozen=True)
class Matches:
    """What pycocotools decided, by class that has labels."""

    classes: dict[int, _Class]
    images: int

    def precision(self, weights: Array, thresholds: int = len(THRESHOLDS)) -> Array:
        """Mean average precision at the first so many overlaps of :data:`THRESHOLDS`.

        As ``COCOeval.accumulate`` and ``summarize`` have it: precision at 101 recalls, each the best from there on,
        averaged over those and over the classes that have labels.

        Args:
            weights: ``(images,)``, how often each image counts.
            thresholds: How many.

        Returns:
            NaN throughout, where the images that count have no label.
        """
        each = [found for one in self.classes.values() if (found := _precisions(one, weights, thresholds)) is not None]
        return np.mean(each, axis=0) if each else np.full(thresholds, np.nan)

    def overall(self, weights: Array) -> Array:
        """Mean of those, of each row of weights ``(n, images)``: ``map``."""
        return np.array([self.precision(row).mean() for row in weights])

    def at_half(self, weights: Array) -> Array:
        """The one at an overlap of 0.5, of each row: ``map50``."""
        return np.array([self.precision(row, 1)[0] for row in weights])


def match(labels: Iterable[Boxes], found: Iterable[Boxes], images: int) -> Matches:
    """Decide which boxes find which labels.

    Args:
        labels: Of each image.
        found: Of each image; the first :data:`MOST_BOXES` of each class, by score, count.
        images: Number of images.
    """
    pairs = zip(labels, found, strict=True)
    kept: dict[int, list[tuple[Array, Array, Array, Array]]] = {}
    counts: dict[int, Array] = {}
    start = 0
    while block := list(islice(pairs, _BLOCK)):
        for number, image, one in _evaluated(block):
            scores = np.asarray(one["dtScores"], np.float64)
            hit, ignored = one["dtMatches"] > 0, one["dtIgnore"].astype(bool)
            place = np.full(len(scores), start + image, np.int64)
            kept.setdefault(number, []).append((scores, place, (hit & ~ignored).T, ~ignored.T))
            count = int(np.count_nonzero(one["gtIgnore"] == 0))
            counts.setdefault(number, np.zeros(images, np.int64))[start + image] = count
        start += len(block)
    return Matches({number: _sorted(kept[number], counts[number]) for number in sorted(kept)}, images)


def _sorted(parts: Sequence[tuple[Array, Array, Array, Array]], labels: Array) -> _Class:
    scores, places, found, counted = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools: boxes of one score stay in their order
    found, counted = found[order], counted[order]
    right = tuple(np.flatnonzero(column) for column in found.T)
    return _Class(places[order], right, None if counted.all() else counted.T, labels)


def _evaluated(block: Sequence[tuple[Boxes, Boxes]]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Class, image in the block, and what ``COCOeval`` says about the two."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, boxes, classes = COCO(), COCO(), set[int]()
    wanted = [note for image, (label, _) in enumerate(block) for note in _annotations(image, label)]
    given = [note for image, (_, found) in enumerate(block) for note in _annotations(image, found)]
    classes.update(int(note["category_id"]) for note in [*wanted, *given])
    for coco, notes in ((truth, wanted), (boxes, given)):
        coco.dataset = {
            "images": [{"id": image} for image in range(len(block))],
            "categories": [{"id": number} for number in classes],
            "annotations": [{**note, "id": place + 1} for place, note in enumerate(notes)],
        }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        truth.createIndex()
        boxes.createIndex()
        run = COCOeval(truth, boxes, "bbox")
        run.params.iouThrs = THRESHOLDS
        run.params.areaRng, run.params.areaRngLbl = [[0, float("inf")]], ["all"]
        run.params.maxDets = [MOST_BOXES]
        run.evaluate()
    for one in run.evalImgs:
        if one is not None:
            yield int(one["category_id"]), int(one["image_id"]), one


def _annotations(image: int, boxes: Boxes) -> Iterator[dict[str, Any]]:
    crowd = np.zeros(len(boxes.boxes), bool) if boxes.crowd is None else boxes.crowd
    corners = np.asarray(boxes.boxes, np.float64).reshape(-1, 4)
    for (left, top, right, bottom), number, score, many in zip(
        corners.tolist(), boxes.classes.tolist(), boxes.scores.tolist(), crowd.tolist(), strict=True
    ):
        width, height = right - left, bottom - top
        yield {
            "image_id": image,
            "category_id": number,
            "bbox": [left, top, width, height],
            "area": width * height,
            "score": score,
            "iscrowd": int(many),
        }


def _precisions(one: _Class, weights: Weights, thresholds: int) -> Weights | None:
    """Average precision at the first thresholds, each image counted as often as its weight says."""
    total = float(one.labels @ weights)
    if total == 0:
        return None
    each = weights[one.images]
    before = np.cumsum(each)
    averages = np.zeros(thresholds)
    for threshold, places in enumerate(one.right[:thresholds]):
        if not len(places):
            continue
        right = np.cumsum(each[places])
        all_of_them = before if one.counted is None else np.cumsum(each * one.counted[threshold])
        precision = right / (all_of_them[places] + np.spacing(1))
        best_from_there = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(right / total, _RECALLS, side="left")
        averages[threshold] = best_from_there[reached[reached < len(places)]].sum() / len(_RECALLS)
    return averages
