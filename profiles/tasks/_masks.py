"""Where in a model's outputs the class of each pixel is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from edgekit.plugins import TaskInput
from profiles.tasks._settings import choice, number
from profiles.tasks._shared import blocks

if TYPE_CHECKING:
    from edgekit.feeds import Array


@dataclass(frozen=True)
class Masks:
    """How an output is read.

    Attributes:
        output: Its name.
        axis: Where the classes are: 2 or -1; ``None`` where it holds class numbers.
        threshold: Of class 1, where there is one channel; ``None`` where there are more.
        classes: How many there are.
    """

    output: str
    axis: int | None
    threshold: float | None
    classes: int

    @property
    def words(self) -> str:
        """For a reader."""
        if self.axis is None:
            return f"output {self.output!r} read as class numbers"
        where = "first" if self.axis == 2 else "last"
        if self.threshold is not None:
            return f"output {self.output!r} read as class 1 from {self.threshold:g} on, channel {where}"
        return f"output {self.output!r} read as scores of {self.classes} classes, channels {where}, the largest wins"

    def of(self, block: Array) -> Array:
        """Class of each pixel: ``(n, batch, H, W)``."""
        if self.axis is None:
            found: Array = np.rint(block).astype(np.int64)
        elif self.threshold is not None:
            found = (np.take(block, 0, axis=self.axis) >= self.threshold).astype(np.int64)
        else:
            found = np.argmax(block, axis=self.axis)
        return found


def are_masks(labels: object) -> TypeGuard[Array]:
    """Whether labels are whole numbers for each pixel: ``(samples, batch, H, W)``."""
    return isinstance(labels, np.ndarray) and labels.ndim == 4 and labels.dtype.kind in "iu"


def axes(array: Array, labels: Array) -> list[int | None]:
    """Where the classes of an output can be: its other dimensions are those of the labels."""
    if array.shape == labels.shape:
        return [None]
    if array.ndim != 5 or array.shape[:2] != labels.shape[:2]:
        return []
    return [axis for axis in (2, -1) if tuple(np.delete(array.shape, axis)) == labels.shape]


def looks_like_masks(array: Array, labels: Array) -> bool:
    """Whether an output has pixels, though not as many as the labels."""
    return array.ndim in (4, 5) and array.shape[:2] == labels.shape[:2] and min(array.shape[-2:]) > 1


def reading(data: TaskInput, labels: Array) -> Masks | str:
    """How to read which output, or why that cannot be said."""
    arrays = {name: array for name, array in data.outputs.arrays.items() if data.settings.get("output", name) == name}
    if not arrays:
        return f"there is no output {data.settings['output']!r}, there are {', '.join(map(repr, data.outputs.arrays))}"
    said = choice(data.settings, "channels", ("first", "last"))
    wanted = {None: (None, 2, -1), "first": (2,), "last": (-1,)}[said]
    found = [(name, axis) for name, array in arrays.items() for axis in axes(array, labels) if axis in wanted]
    if not found:
        return _no_output(arrays, labels)
    if len(found) > 1:
        names = "|".join(dict.fromkeys(name for name, _ in found))
        keys = f"--decode output={names}" if "|" in names else "--decode channels=first|last"
        return f"masks can be read in more than one way; {keys}"
    name, axis = found[0]
    array = arrays[name]
    if axis is None:
        return Masks(name, None, None, 0)
    if array.shape[axis] == 1:
        return Masks(name, axis, _threshold(data, name), 2)
    return Masks(name, axis, None, array.shape[axis])


def _no_output(arrays: Mapping[str, Array], labels: Array) -> str:
    high, wide = labels.shape[2:]
    for name, array in arrays.items():
        if looks_like_masks(array, labels):
            return (
                f"output {name!r} has shape {list(array.shape[2:])} for a sample, labels have {high}x{wide} pixels; "
                "give labels of the size that the model puts out"
            )
    shapes = ", ".join(f"{name!r} {list(array.shape[1:])}" for name, array in arrays.items())
    return f"no output has values for {high}x{wide} pixels: {shapes}"


def _threshold(data: TaskInput, name: str) -> float:
    """Typed, or the middle of what the reference's first samples show: shares, or numbers before a sigmoid."""
    typed = number(data.settings, "threshold")
    if typed is not None:
        return typed
    known = (data.outputs if data.reference is None else data.reference).arrays[name]
    _, part = next(blocks(known))
    return 0.5 if part.min() >= 0 and part.max() <= 1 else 0.0
