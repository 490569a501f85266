"""Boxes as models write them: four numbers in one of several orders; overlap, and leaving out doubles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.feeds import Array

FORMATS = {
    "xyxy": "left, top, right, bottom",
    "yxyx": "top, left, bottom, right",
    "xywh": "left, top, width, height",
    "cxcywh": "centre, width, height",
}
"""Orders of the four numbers, by the name that users type."""

_PLAUSIBLE = 0.99


def corners(boxes: Array, order: str) -> Array:
    """Boxes ``(..., 4)`` of an order as x1, y1, x2, y2, float64."""
    one, two, three, four = np.moveaxis(np.asarray(boxes, np.float64), -1, 0)
    if order == "yxyx":
        one, two, three, four = two, one, four, three
    elif order == "xywh":
        three, four = one + three, two + four
    elif order == "cxcywh":
        one, two, three, four = one - three / 2, two - four / 2, one + three / 2, two + four / 2
    return np.stack([one, two, three, four], axis=-1)


def possible_orders(boxes: Array) -> tuple[str, ...]:
    """Orders that boxes ``(n, 4)`` can be in: nearly all of them have a size that is not negative.

    The sides of corners must be sorted; widths and heights must not be below zero. Boxes that are zero everywhere are
    padding and say nothing.
    """
    said = boxes[np.any(boxes != 0, axis=-1)]
    if not len(said):
        return ()
    sorted_sides = np.mean((said[:, 2] >= said[:, 0]) & (said[:, 3] >= said[:, 1])) >= _PLAUSIBLE
    sizes = np.mean((said[:, 2] >= 0) & (said[:, 3] >= 0)) >= _PLAUSIBLE
    return (("xyxy", "yxyx") if sorted_sides else ()) + (("xywh", "cxcywh") if sizes else ())


def overlaps(one: Array, other: Array) -> Array:
    """Intersection over union of corners ``(n, 4)`` and ``(m, 4)``: ``(n, m)``; 0 for empty boxes."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = area(one)[:, None] + area(other)[None] - shared
    found: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def area(boxes: Array) -> Array:
    """Of corners ``(n, 4)``: ``(n,)``."""
    found: Array = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)
    return found


def without_doubles(boxes: Array, scores: Array, classes: Array, most_overlap: float, keep: int) -> Array:
    """Greedy non-maximum suppression, class by class.

    Args:
        boxes: Corners ``(n, 4)``.
        scores: ``(n,)``.
        classes: ``(n,)``; boxes of different classes do not suppress one another.
        most_overlap: A box that overlaps a better one of its class by more than this is left out.
        keep: Stop after this many.

    Returns:
        Places of the boxes that stay, the best first.
    """
    order = np.argsort(-scores, kind="stable")
    left, top, right, bottom = np.ascontiguousarray(boxes[order].T, np.float64)
    areas, classes = area(boxes[order]), classes[order]
    left_over = np.arange(len(order))
    kept: list[int] = []
    while len(left_over) and len(kept) < keep:
        best, rest = left_over[0], left_over[1:]
        kept.append(best)
        wide = np.minimum(right[rest], right[best]) - np.maximum(left[rest], left[best])
        high = np.minimum(bottom[rest], bottom[best]) - np.maximum(top[rest], top[best])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        double = shared > most_overlap * (areas[rest] + areas[best] - shared)
        left_over = rest[~(double & (classes[rest] == classes[best]))]
    found: Array = order[kept]
    return found
