"""How a detector's numbers are meant: the order of a box, what scores are, which class has which label.

Which of them is right is found out in :mod:`profiles.tasks._choosing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from profiles.tasks._boxes import FORMATS, corners, without_doubles
from profiles.tasks._coco import MOST_BOXES, Boxes
from profiles.tasks._layouts import Layout

if TYPE_CHECKING:
    from edgekit.feeds import Array

LEAST_SCORE = 0.001
"""Boxes with less are left out before anything else: they come last in any list, and are nearly all boxes."""

MOST_OVERLAP = 0.5
"""Of two boxes of a class, where doubles are left out and nobody said how."""

_CANDIDATES = 1000
"""Boxes of an image that are looked at for doubles, the best."""


@dataclass(frozen=True)
class Reading:
    """One way to understand outputs.

    Attributes:
        layout: Where the numbers are.
        format: Order of a box, of :data:`profiles.tasks._boxes.FORMATS`.
        pixels: Whether coordinates count pixels of the input; else they go from 0 to 1.
        activation: What makes scores of them: nothing, ``sigmoid`` or ``softmax``.
        background: Column of scores that means nothing is there; ``None`` without one.
        first_label: Label of the first class.
        nms: Most overlap of two boxes of a class; ``None`` where the model has left out doubles itself.
    """

    layout: Layout
    format: str
    pixels: bool
    activation: str = ""
    background: int | None = None
    first_label: int = 0
    nms: float | None = MOST_OVERLAP

    @property
    def words(self) -> str:
        """For a reader."""
        parts = [
            self.layout.words,
            f"{self.format} ({FORMATS[self.format]}) {'in pixels' if self.pixels else 'from 0 to 1'}",
            f"scores through {self.activation}" if self.activation else "scores as they are",
        ]
        if not self.layout.final:
            column = "no column is background" if self.background is None else f"column {self.background} is background"
            parts.append(column)
        parts.append(f"first class is label {self.first_label}")
        parts.append(
            "doubles left out by the model" if self.nms is None else f"doubles above {self.nms:g} left out here"
        )
        return ", ".join(parts)

    def of_image(self, arrays: Mapping[str, Array], image: int) -> Boxes:
        """Boxes of one image as corners, the best first, at most :data:`profiles.tasks._coco.MOST_BOXES`.

        Raises:
            ValueError: Boxes or scores are not finite.
        """
        boxes, scores, classes = self.layout.of_image(arrays, image)
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            raise ValueError(f"boxes or scores of image {image} are not finite")
        scores = self._scores(np.asarray(scores, np.float64))
        if classes is None:
            rows, columns = np.nonzero(scores >= LEAST_SCORE)
            boxes, scores, classes = boxes[rows], scores[rows, columns], columns
        else:
            meant = scores >= LEAST_SCORE
            boxes, scores, classes = boxes[meant], scores[meant], classes[meant]
        best = np.argsort(-scores, kind="stable")[:_CANDIDATES]
        boxes, scores, classes = corners(boxes[best], self.format), scores[best], classes[best]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        if self.nms is None:
            kept = np.arange(min(len(boxes), MOST_BOXES))
        else:
            kept = without_doubles(boxes, scores, classes, self.nms, MOST_BOXES)
        return Boxes(boxes[kept], classes[kept].astype(np.int64) + self.first_label, scores[kept])

    def _scores(self, scores: Array) -> Array:
        from scipy import special

        if self.activation == "sigmoid":
            scores = special.expit(scores)
        elif self.activation == "softmax":
            scores = special.softmax(scores, axis=-1)
        return scores if self.background is None else np.delete(scores, self.background, axis=-1)
