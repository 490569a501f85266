"""Samples on disk, the way children and devices read and write them.

A feeds folder holds ``manifest.json`` and one ``.npy`` per tensor, of shape ``(samples, *shape of the tensor)``; the
model's own batch dimension, where it has one, is part of the tensor's shape. Outputs are written the same way, so
drift and accuracy are arithmetic on two folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
        labels: ``(samples, batch)`` integers, or ``None``.
        origin: Where the samples came from, in words.
    """

    arrays: Mapping[str, Array]
    labels: Array | None = None
    origin: str = ""

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    def samples(self) -> Iterator[dict[str, Array]]:
        """One dictionary of C-contiguous arrays per sample."""
        for index in range(self.count):
            yield {name: np.ascontiguousarray(array[index]) for name, array in self.arrays.items()}

    def take(self, indices: npt.NDArray[np.intp]) -> Feeds:
        """The samples at ``indices``, in that order."""
        arrays = {name: array[indices] for name, array in self.arrays.items()}
        return Feeds(arrays, None if self.labels is None else self.labels[indices], self.origin)


def write(folder: Path, feeds: Feeds) -> Path:
    """Write a feeds folder.

    Returns:
        ``folder``, which is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    # Numbered files: a tensor's name may hold characters that a file name may not.
    for index, (name, array) in enumerate(feeds.arrays.items()):
        np.save(folder / f"{index}.npy", array, allow_pickle=False)
        entries.append({"name": name, "file": f"{index}.npy"})
    if feeds.labels is not None:
        np.save(folder / "labels.npy", feeds.labels, allow_pickle=False)
    manifest = {"tensors": entries, "labels": feeds.labels is not None, "origin": feeds.origin}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def read(folder: Path) -> Feeds:
    """Open a feeds folder; arrays stay on disk until they are used."""
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = {entry["name"]: _open(folder / entry["file"]) for entry in manifest["tensors"]}
    labels = _open(folder / "labels.npy") if manifest["labels"] else None
    return Feeds(arrays, labels, manifest["origin"])


def _open(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
