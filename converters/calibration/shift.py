"""A linear layer before a softmax, changed so that its logits need less room: the same for softmax, in smaller steps.

Softmax sees differences between the classes alone. Subtracting one linear function of the layer's input from every
class, ``W' = W - 1 v^T`` and ``b' = b - c``, leaves its result as it is. With ``v`` and ``c`` such that the largest
logit of each row comes out near zero, the range need not hold how sure the network is of itself, but only what softmax
tells apart (:mod:`converters.calibration.relevance`). In 8 bits the step before that is often so large that the two
best classes fall on one level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.calibration.relevance import before_softmax
from edgekit.errors import ConversionError

Matrix = npt.NDArray[np.float64]

ROWS = 8192
"""Of a layer's input that are kept. Where there are more, as where every word has its softmax, logits stay as they are:
the new range must hold for all rows."""
VALUES = 1 << 24
"""Of a layer's input that are kept: 64 MiB."""
LEAST_GAIN_DB = 1.0
"""By which the error must fall on samples that the fit has not seen."""

_LEAST_ROWS = 32
_FIT_ROWS = 1024
_RIDGES = (0.01, 0.1, 1.0)
"""Relative to the mean square of an input."""
_LEVELS, _MOST = 255, 127


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer that softmax alone reads, along its classes.

    Attributes:
        logits: Name of the tensor that it makes.
        source: Name of the tensor that it reads; the last of its sizes, or several that follow each other, are the
            inputs.
        weights: ``(classes, inputs)``, float.
        bias: ``(classes,)``, float.
    """

    logits: str
    source: str
    weights: npt.NDArray[Any]
    bias: npt.NDArray[Any]


@dataclass(frozen=True)
class Shift:
    """What to subtract from every class.

    Attributes:
        direction: Of the weights: ``v``, one number per input.
        offset: Of the bias: ``c``.
        gain_db: By how much the squared error behind softmax fell, on samples that the fit had not seen.
    """

    direction: Sequence[float]
    offset: float
    gain_db: float

    def weights(self, before: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The new weights, ``(classes, inputs)`` as the old ones.

        Raises:
            ConversionError: The layer has another number of inputs.
        """
        if before.shape[1] != len(self.direction):
            raise ConversionError(
                f"The calibration ranges shift the logits of a layer of {len(self.direction)} inputs, and it has "
                f"{before.shape[1]}: they belong to another model.",
                hint="Calibrate again, with --data FILE.",
            )
        return np.asarray(before - np.asarray(self.direction), before.dtype)

    def bias(self, before: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The new bias, of the shape of the old one."""
        return np.asarray(before - self.offset, before.dtype)


class Rows:
    """The inputs of linear layers, row by row, as long as they are few enough to keep."""

    def __init__(self, inputs: int) -> None:
        self._most = min(ROWS, VALUES // max(1, inputs))
        self._inputs = inputs
        self._kept: list[npt.NDArray[np.float32]] | None = []
        self._count = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Those of one sample."""
        self._count += values.size // self._inputs
        if values.size % self._inputs or self._count > self._most:
            self._kept = None
        if self._kept is not None:
            with np.errstate(over="ignore"):  # what float32 cannot hold is found to be infinite later
                self._kept.append(np.array(values, np.float32).reshape(-1, self._inputs))

    @property
    def kept(self) -> npt.NDArray[np.float32] | None:
        """``(rows, inputs)``; ``None`` where there were too many."""
        return np.concatenate(self._kept) if self._kept else None


def fit(layer: LinearLayer, rows: npt.NDArray[np.float32] | None) -> tuple[Shift, Matrix] | None:
    """Find a shift, if one pays.

    The largest logit of a row is fitted by ridge regression on the layer's input. How strong the ridge is, and whether
    the shift is worth it, is measured with two halves of the rows: fitted on one, with 8-bit weights and logits, the
    result of softmax is compared with that in float on the other.

    Args:
        layer: The layer.
        rows: Its input; ``(rows, inputs)``.

    Returns:
        The shift, and logits that the range is to be taken from, ``(2 * rows, classes)``: as shifted, and as the fit of
        the other half would have shifted them, which is how far off it may be on new samples.
    """
    if rows is None or len(rows) < _LEAST_ROWS or len(layer.weights) < 2 or not np.isfinite(rows).all():
        return None
    data = _Data(rows.astype(np.float64), layer.weights.astype(np.float64), layer.bias.astype(np.float64))
    if not np.isfinite(data.logits).all():
        return None
    halves = [data.part(slice(start, None, 2)) for start in (0, 1)]
    fits = [half.shifts() for half in halves]
    pairs = list(zip(fits, halves, reversed(halves), strict=True))
    plain = sum(own.error((np.zeros(rows.shape[1]), 0.0), other) for _, own, other in pairs)
    errors = [sum(own.error(found[place], other) for found, own, other in pairs) for place in range(len(_RIDGES))]
    place = int(np.argmin(errors))
    gain_db = 10 * math.log10(max(plain, 1e-30) / max(errors[place], 1e-30))
    if gain_db < LEAST_GAIN_DB:
        return None
    direction, offset = data.shifts()[place]
    shifted = [data.shifted(direction, offset), *(other.shifted(*found[place]) for found, _, other in pairs)]
    return Shift([float(item) for item in direction], float(offset), gain_db), np.concatenate(shifted)


class _Data:
    """Rows of a layer's input and the logits they make."""

    def __init__(self, rows: Matrix, weights: Matrix, bias: Matrix) -> None:
        self.rows, self.weights, self.bias = rows, weights, bias
        self.logits = rows @ weights.T + bias

    def part(self, which: slice) -> _Data:
        """Some of the rows."""
        return _Data(self.rows[which], self.weights, self.bias)

    def shifts(self) -> list[tuple[Matrix, float]]:
        """Direction and offset for each ridge, all from one singular value decomposition (Hoerl and Kennard 1970)."""
        chosen = np.linspace(0, len(self.rows) - 1, min(len(self.rows), _FIT_ROWS)).astype(int)
        rows, largest = self.rows[chosen], self.logits[chosen].max(1)
        middle, mean = rows.mean(0), float(largest.mean())
        left, values, right = np.linalg.svd(rows - middle, full_matrices=False)
        projected = left.T @ (largest - mean)
        power = float(np.square(rows).sum()) / rows.shape[1]
        found = []
        for ridge in _RIDGES:
            damped = values / np.maximum(values**2 + ridge * power, 1e-30)
            direction: Matrix = right.T @ (damped * projected)
            found.append((direction, mean - float(middle @ direction)))
        return found

    def shifted(self, direction: Matrix, offset: float) -> Matrix:
        """The logits as a shift leaves them."""
        return self.logits - (self.rows @ direction)[:, None] - offset

    def error(self, shift: tuple[Matrix, float], other: _Data) -> float:
        """Squared error behind softmax on other rows, in 8 bits with the range that these rows call for."""
        direction, offset = shift
        own = before_softmax(self.shifted(direction, offset), 1)
        low, high = min(0.0, float(own.min())), max(0.0, float(own.max()))
        weights = self.weights - direction
        steps = np.maximum(np.abs(weights).max(1, keepdims=True), 1e-30) / _MOST
        logits = other.rows @ (np.rint(weights / steps) * steps).T + self.bias - offset
        step = max(high - low, 1e-30) / _LEVELS
        zero = round(-low / step)
        logits = (np.clip(np.rint(logits / step) + zero, 0, _LEVELS) - zero) * step
        return float(np.square(_softmax(logits) - _softmax(other.logits)).sum())


def _softmax(logits: Matrix) -> Matrix:
    powers: Matrix = np.exp(logits - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers


def step(given: tuple[float, float]) -> float:
    """Of 8 bits over a range."""
    return (given[1] - given[0]) / _LEVELS


def note(name: str, before: tuple[float, float], after: tuple[float, float]) -> str:
    """What the result says of a shift; the ranges are those of the logits."""
    return f"Logits {name} shifted, which softmax does not see: step {step(before):.3g} -> {step(after):.3g}."
