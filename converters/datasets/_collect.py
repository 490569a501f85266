"""Samples that come one after another: put on disk as they come, so memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from converters.datasets._tensors import to_numpy
from edgekit.dataset import LABEL_NAMES, Dataset
from edgekit.errors import DataError
from edgekit.feeds import Array

LIMIT = 5000
"""Samples that are taken at most; nobody knows where a generator ends."""


class _Column:
    """One array on its way to disk, joined along its first axis."""

    def __init__(self, name: str, first: Array, file: Path) -> None:
        self.name = name
        self.dtype = first.dtype
        self.ndim = first.ndim
        self.inner = first.shape[1:]
        self.lengths: list[int] = []
        self.place = file
        self.file: BinaryIO = file.open("wb")

    def add(self, value: Array, index: int, where: str) -> None:
        fits = value.ndim == self.ndim and value.shape[1:] == self.inner
        if not fits or (value.dtype != self.dtype and not np.can_cast(value.dtype, self.dtype, "same_kind")):
            raise DataError(
                f"{where}: array {self.name!r} is {value.dtype}{list(value.shape)} in item {index}, and was "
                f"{self.dtype}[N{''.join(f', {size}' for size in self.inner)}] before.",
                hint="All items must have one shape and dtype; batches may differ in length.",
            )
        self.lengths.append(len(value) if value.ndim else 1)
        self.file.write(np.ascontiguousarray(value, self.dtype).tobytes())

    def array(self) -> Array:
        self.file.close()
        shape = (sum(self.lengths), *self.inner)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        return np.memmap(self.place, self.dtype, mode="r", shape=shape)

    @property
    def restackable(self) -> bool:
        return len(set(self.lengths)) == 1


def collect(
    items: Iterable[Any],
    named: Callable[[Any], Mapping[str, Any]],
    where: str,
    into: Path,
    advance: Callable[[int, int], None],
    total: int | None = None,
) -> Dataset:
    """Put items together.

    Args:
        items: Samples or batches; which of the two, the model will tell.
        named: Names the arrays of an item.
        where: Begins messages: ``--data FILE``.
        into: Folder for the arrays.
        advance: Told how many items are done.
        total: How many there are, where that is known.

    Raises:
        DataError: There are none, or they differ.
    """
    columns: dict[str, _Column] = {}
    notes: list[str] = []
    count = samples = 0
    for item in items:
        if samples >= LIMIT:
            notes.append(f"The first {samples} samples were taken; there are more.")
            break
        advance(count, min(total or LIMIT, LIMIT))
        arrays = {name: as_array(value, name, where) for name, value in named(item).items()}
        if not columns:
            columns = {
                name: _Column(name, array, into / f"{place}.raw") for place, (name, array) in enumerate(arrays.items())
            }
        if set(arrays) != set(columns):
            raise DataError(
                f"{where}: item {count} holds {', '.join(arrays)}, and those before it {', '.join(columns)}."
            )
        for name, array in arrays.items():
            columns[name].add(array, count, where)
        count += 1
        labels = next((array for name, array in arrays.items() if name in LABEL_NAMES), None)
        samples += len(labels) if labels is not None and labels.ndim else 1
    if not count:
        raise DataError(f"{where}: it gave no samples.")
    restackable = all(column.restackable for column in columns.values())
    return Dataset(
        where.removeprefix("--data "),
        {name: column.array() for name, column in columns.items()},
        items=count if restackable else 0,
        notes=tuple(notes),
    )


def as_array(value: Any, name: str, where: str) -> Array:
    """Numbers of any framework as an array.

    Raises:
        DataError: They are none.
    """
    if hasattr(value, "detach"):
        value = to_numpy(value)
    elif hasattr(value, "numpy"):
        value = value.numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{where}: {name!r} is no array of numbers: {error}.") from error
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{where}: {name!r} is {type(value).__name__} of {array.dtype}, and edgekit reads numbers.",
            hint="Give arrays: np.asarray(image, 'float32') / 255, for example.",
        )
    return array


def named_arrays(item: Any) -> dict[str, Any]:
    """Names for the arrays of one item.

    A tuple of two is inputs and labels, as in Keras and PyTorch; a list is the inputs in the model's order, as in a
    ``representative_dataset`` of TensorFlow Lite.
    """
    if isinstance(item, Mapping):
        return {str(name): value for name, value in item.items()}
    if isinstance(item, tuple) and len(item) == 2:
        inputs, labels = item
        nested = isinstance(inputs, (tuple, list))
        found = named_arrays(list(inputs)) if nested else named_arrays(inputs)
        return found if any(name in found for name in LABEL_NAMES) else {**found, "labels": labels}
    if isinstance(item, (tuple, list)) and not _numbers(item):
        return {"x": item[0]} if len(item) == 1 else {f"arr_{index}": value for index, value in enumerate(item)}
    return {"x": item}


def _numbers(item: Any) -> bool:
    return all(isinstance(value, (int, float)) for value in item)
