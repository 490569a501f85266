"""Operators that choose by content, so that only constants have a shape for their result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from converters.onnx_import.operators import RefusalError, operator


def _refuse_data(operands: Sequence[Any], what: str) -> None:
    if any(isinstance(item, torch.Tensor) for item in operands):
        raise RefusalError(f"{what} depends on data, so its result has no shape; end the model before it")


@operator("NonZero", known=(0,))
def non_zero(node: Any, x: Any) -> Any:
    _refuse_data([x], "how many elements are not zero")
    # A scalar is taken as one element, and NumPy no longer does.
    return torch.from_numpy(np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64))


@operator("Unique", known=(0,))
def unique(node: Any, x: Any) -> Any:
    """Values, where each is first, where each input went, and how often; sorted, or by first appearance."""
    _refuse_data([x], "how many different values there are")
    axis = node.get("axis")
    # Flat first, for the shape of NumPy's inverse has changed between versions.
    data = x.reshape(-1) if axis is None else x
    values, first, inverse, counts = np.unique(
        data, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not node.get("sorted", 1):
        order = np.argsort(first)
        values = np.take(values, order, axis or 0)
        first, counts = first[order], counts[order]
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        inverse = places[inverse]
    found = values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)
    return tuple(torch.from_numpy(np.ascontiguousarray(item)) for item in found)


@operator("NonMaxSuppression", known=(0, 1, 2, 3, 4))
def non_max_suppression(node: Any, boxes: Any, scores: Any, most: Any = None, overlap: Any = None,
                        least: Any = None) -> Any:  # fmt: skip
    """Rows of batch, class and box: the best of each class that do not overlap a better one too much."""
    _refuse_data([boxes, scores, most, overlap, least], "how many boxes are left")
    limit = 0 if most is None else int(most.reshape(-1)[0])
    bound = 0.0 if overlap is None else float(overlap.reshape(-1)[0])
    floor = None if least is None else float(least.reshape(-1)[0])
    rows = [
        [batch, kind, box]
        for batch in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for box in _best(_corners(boxes[batch], node.get("center_point_box", 0)), scores[batch, kind], limit, bound,
                         floor)
    ]  # fmt: skip
    return torch.from_numpy(np.asarray(rows, np.int64).reshape(-1, 3))


def _corners(boxes: Any, centred: int) -> Any:
    """``(boxes, 4)`` as lesser and greater corner, whichever of the corners a file gives first."""
    if centred:
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        return np.concatenate([middle - half, middle + half], 1)
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)


def _best(corners: Any, scores: Any, limit: int, bound: float, floor: float | None) -> list[int]:
    areas = np.prod(corners[:, 2:] - corners[:, :2], 1)
    kept: list[int] = []
    for box in np.argsort(-scores, kind="stable"):
        if len(kept) >= limit:
            break
        if floor is not None and scores[box] <= floor:
            continue
        if all(_overlap(corners, areas, box, other) <= bound for other in kept):
            kept.append(int(box))
    return kept


def _overlap(corners: Any, areas: Any, a: int, b: int) -> float:
    """Intersection over union."""
    low, high = np.maximum(corners[a, :2], corners[b, :2]), np.minimum(corners[a, 2:], corners[b, 2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    union = float(areas[a] + areas[b]) - common
    return common / union if union > 0 else 0.0
