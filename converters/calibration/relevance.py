"""What of a tensor its readers can tell apart: the rest needs no room in its range."""

from __future__ import annotations

import math

import numpy as np

from converters.calibration.statistics import Array


def softmax_reach(classes: int, bits: int = 8) -> float:
    """How far below the largest of their row logits count for softmax.

    All of ``classes`` logits that lie this far down add up to half a step of a result in ``bits`` bits:
    ``classes * exp(-reach) = 2 ** -(bits + 1)``.
    """
    return math.log(2 ** (bits + 1) * max(1, classes))


def before_softmax(values: Array, axis: int, bits: int = 8) -> Array:
    """Logits that softmax alone reads, those out of its reach lifted to where it ends.

    A few very negative logits would else stretch the range over values that all become 0, and leave the likely classes
    to share a step.

    Args:
        values: Of one sample, or of several along another axis.
        axis: That softmax goes along.
        bits: Of what comes out of softmax.
    """
    if not values.ndim or not values.size:
        return values
    reach = softmax_reach(values.shape[axis], bits)
    with np.errstate(invalid="ignore"):
        lowest = values.max(axis=axis, keepdims=True) - np.asarray(reach, values.dtype)
    lifted: Array = np.where(np.isfinite(lowest), np.maximum(values, lowest), values)
    return lifted
