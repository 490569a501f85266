"""Bringing boxes of labels and of outputs to one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from profiles.tasks._settings import size

if TYPE_CHECKING:
    from edgekit.feeds import Array

UNIT = 2.0
"""Coordinates that nowhere pass this go from 0 to 1, with boxes that stick out; else they count pixels."""


@dataclass(frozen=True)
class Scale:
    """Sizes of pictures, as ``(width, height)``.

    Attributes:
        frame: Of the model's input, which its pixels count in; ``None`` where that is not known.
        pictures: Of the pictures that labels count pixels of; ``None`` where labels go from 0 to 1.
        known: Whether ``pictures`` is; labels may be in pixels and nobody knows of how many.
    """

    frame: tuple[float, float] | None
    pictures: tuple[float, float] | None
    label_pixels: bool

    def fits(self, pixels: bool) -> bool:
        """Whether boxes of outputs, in pixels or not, can be compared with the labels."""
        if self.frame is None and pixels != self.label_pixels:
            return self.pictures is not None and not pixels
        return True

    def labels(self, boxes: Array) -> Array:
        """Corners of labels, on the common scale."""
        return boxes / np.asarray(self.pictures * 2) if self.label_pixels and self.pictures else boxes

    def found(self, boxes: Array, pixels: bool) -> Array:
        """Corners of outputs, on the common scale."""
        if not pixels or (self.frame is None and self.pictures is None):
            return boxes
        found: Array = boxes / np.asarray((self.frame or self.pictures or (1.0, 1.0)) * 2)
        return found


def scale_of(inputs: Mapping[str, Array], greatest: float, settings: Mapping[str, str]) -> Scale:
    """The scale of labels whose greatest coordinate is known.

    Args:
        inputs: Of the model, by name; the first that is a picture gives the frame.
        greatest: Coordinate of any label.
        settings: ``frame`` and ``label_size``, where the user said so.
    """
    frame = size(settings, "frame") or next((found for one in inputs.values() if (found := _frame(one))), None)
    pixels = greatest > UNIT
    return Scale(frame, (size(settings, "label_size") or frame) if pixels else None, pixels)


def _frame(array: Array) -> tuple[float, float] | None:
    """Width and height of ``(samples, batch, H, W, channels)`` or ``(samples, batch, channels, H, W)``."""
    if array.ndim != 5:
        return None
    first, *middle, last = array.shape[2:]
    if last in (1, 3, 4):
        return float(middle[0]), float(first)
    if first in (1, 3, 4):
        return float(last), float(middle[0])
    return None
