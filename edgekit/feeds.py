"""Samples on disk, the way children and devices read and write them.

A feeds folder holds ``manifest.json`` and one ``.npy`` per tensor, of shape ``(samples, *shape of the tensor)``; the
model's own batch dimension, where it has one, is part of the tensor's shape. Outputs are written the same way, so
drift and accuracy are arithmetic on two folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Feeds:
    """Named tensors of a number of samples; arrays are memory-mapped, so size does not matter.

    Attributes:
        arrays: Name to array of shape ``(samples, *shape)``, in the order of the signature.
        labels: ``(samples, batch)`` integers, numbers to predict as ``(samples, batch, …)`` floats, or ``None``.
        origin: Where the samples came from, in words.
        places: Place of each sample in the data it was drawn from; ``None`` where nothing was drawn.
    """

    arrays: Mapping[str, Array]
    labels: Array | None = None
    origin: str = ""
    places: Array | None = None

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    def samples(self) -> Iterator[dict[str, Array]]:
        """One dictionary per sample of C-contiguous arrays in memory; they may be written to."""
        for index in range(self.count):
            yield {name: np.array(array[index], order="C") for name, array in self.arrays.items()}

    def take(self, indices: npt.NDArray[np.intp]) -> Feeds:
        """The samples at ``indices``, in that order."""
        arrays = {name: array[indices] for name, array in self.arrays.items()}
        origin = self.origin if len(indices) == self.count else f"{len(indices)} of {self.origin}"
        return Feeds(arrays, None if self.labels is None else self.labels[indices], origin)


def write(folder: Path, feeds: Feeds) -> Path:
    """Write a feeds folder.

    Returns:
        ``folder``, which is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, array in enumerate(feeds.arrays.values()):
        np.save(folder / f"{index}.npy", array, allow_pickle=False)
    if feeds.labels is not None:
        np.save(folder / "labels.npy", feeds.labels, allow_pickle=False)
    _write_manifest(folder, feeds.arrays, feeds.labels is not None, feeds.origin)
    return folder


def write_some(
    folder: Path,
    feeds: Feeds,
    indices: npt.NDArray[np.intp],
    origin: str = "",
    advance: Callable[[int, int], None] | None = None,
) -> Feeds:
    """Write the samples at ``indices``, one at a time: memory does not grow with their number.

    Args:
        folder: Is created.
        feeds: To choose from.
        indices: In the order to write.
        origin: In words, with ``{count}`` for their number and ``{origin}`` for that of ``feeds``; chosen here when
            empty.
        advance: Told how many arrays' samples are written, and how many there will be.

    Returns:
        What was written, on disk.
    """
    shapes = {name: (array.shape[1:], array.dtype) for name, array in feeds.arrays.items()}
    for number, (name, array) in enumerate(create(folder, shapes, len(indices)).items()):
        for place, index in enumerate(indices):
            array[place] = feeds.arrays[name][index]
            if advance is not None:
                advance(number * len(indices) + place + 1, len(shapes) * len(indices))
        array.flush()  # type: ignore[attr-defined]
    if feeds.labels is not None:
        np.save(folder / "labels.npy", feeds.labels[indices], allow_pickle=False)
    default = "{origin}" if len(indices) == feeds.count else "{count} of {origin}"
    words = (origin or default).format(count=len(indices), origin=feeds.origin)
    np.save(folder / "places.npy", indices, allow_pickle=False)
    _write_manifest(folder, feeds.arrays, feeds.labels is not None, words)
    return read(folder)


def create(
    folder: Path,
    tensors: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    count: int,
    *,
    labels: Array | None = None,
    origin: str = "",
) -> dict[str, Array]:
    """Begin a feeds folder whose arrays the caller fills; they lie on disk, so size does not matter.

    Args:
        folder: Is created.
        tensors: Shape of one sample, and dtype, by name.
        count: Number of samples.
        labels: Written beside them.
        origin: Where the samples came from, in words.

    Returns:
        Writable arrays of shape ``(count, *shape)``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Array] = {}
    for index, (name, (shape, dtype)) in enumerate(tensors.items()):
        arrays[name] = np.lib.format.open_memmap(folder / f"{index}.npy", mode="w+", dtype=dtype, shape=(count, *shape))
    if labels is not None:
        np.save(folder / "labels.npy", labels, allow_pickle=False)
    _write_manifest(folder, arrays, labels is not None, origin)
    return arrays


def _write_manifest(folder: Path, names: Iterable[str], labels: bool, origin: str) -> None:
    # Numbered files: a tensor's name may hold characters that a file name may not.
    entries = [{"name": name, "file": f"{index}.npy"} for index, name in enumerate(names)]
    (folder / "manifest.json").write_text(json.dumps({"tensors": entries, "labels": labels, "origin": origin}))


def rename(folder: Path, names: Mapping[str, str]) -> None:
    """Give tensors of a feeds folder other names; those without a new one are left out of it.

    Args:
        folder: Of feeds or outputs.
        names: New name by old one, in the order that the tensors are to have.
    """
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    files = {entry["name"]: entry["file"] for entry in manifest["tensors"]}
    manifest["tensors"] = [{"name": new, "file": files[old]} for old, new in names.items()]
    place.write_text(json.dumps(manifest))


def read(folder: Path) -> Feeds:
    """Open a feeds folder; arrays stay on disk until they are used."""
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = {entry["name"]: _open(folder / entry["file"]) for entry in manifest["tensors"]}
    labels = _open(folder / "labels.npy") if manifest["labels"] else None
    places = folder / "places.npy"
    return Feeds(arrays, labels, manifest["origin"], _open(places) if places.exists() else None)


def _open(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
