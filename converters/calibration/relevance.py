"""What of a tensor its readers can tell apart: the rest needs no room in its range."""

from __future__ import annotations

import numpy as np

from converters.calibration.statistics import Array

SOFTMAX_REACH = 12.0
"""Logits this far below the largest of their row count as e**-12 of it, 6e-6: under half a step of 16 bits."""


def before_softmax(values: Array, axis: int) -> Array:
    """Logits that softmax alone reads, those out of its reach lifted to where it ends.

    A few very negative logits would else stretch the range over values that all become 0, and leave the likely classes
    to share a step.

    Args:
        values: Of one sample.
        axis: That softmax goes along.
    """
    if not values.ndim or not values.size:
        return values
    with np.errstate(invalid="ignore"):
        lowest = values.max(axis=axis, keepdims=True) - np.asarray(SOFTMAX_REACH, values.dtype)
    lifted: Array = np.where(np.isfinite(lowest), np.maximum(values, lowest), values)
    return lifted
