"""What was read from ``--data``, before it meets a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit import feeds
from edgekit.feeds import Array, Feeds
from edgekit.pictures import Pictures, frame_for
from edgekit.types import TensorSpec

LABEL_NAMES = ("labels", "label", "y", "targets")

_REST = "dataset.json"


@dataclass(frozen=True)
class Dataset:
    """Named arrays, samples along the first axis, or pictures that become such where they are used.

    Attributes:
        origin: The path, as typed.
        arrays: Name to array.
        one_file_each: They are the ``.npy`` files of a folder, so each may be one sample.
        pictures: Files that are samples of one input; ``arrays`` holds their labels, where there are any.
        columns: Names of the features in array ``x``, which came from a table.
        items: How many items ``x`` and others were joined from along the first axis, where each of them may be one
            sample or a batch, and only the model can tell; 0 where that is known.
        classes: Names of the classes, by label.
        notes: What a user should know about how it was read, a sentence each.
    """

    origin: str
    arrays: Mapping[str, Array]
    one_file_each: bool = False
    pictures: Pictures | None = None
    columns: tuple[str, ...] = ()
    items: int = 0
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def save(self, folder: Path) -> Path:
        """Write it where a child can open it with :meth:`open`; pictures stay where they are."""
        feeds.write(folder, Feeds(self.arrays, origin=self.origin))
        rest = {
            "one_file_each": self.one_file_each,
            "pictures": None if self.pictures is None else asdict(self.pictures),
            "columns": self.columns,
            "items": self.items,
            "classes": self.classes,
            "notes": self.notes,
        }
        (folder / _REST).write_text(json.dumps(rest))
        return folder

    @staticmethod
    def open(folder: Path) -> Dataset:
        """The data set that :meth:`save` wrote."""
        saved, rest = feeds.read(folder), json.loads((folder / _REST).read_text())
        pictures = rest["pictures"]
        return Dataset(
            saved.origin,
            saved.arrays,
            rest["one_file_each"],
            # Not by cattrs: this runs beside user code, where edgekit's modules, with the types in them, are hidden.
            None if pictures is None else Pictures(**pictures | {"files": tuple(pictures["files"])}),
            tuple(rest["columns"]),
            rest["items"],
            tuple(rest["classes"]),
            tuple(rest["notes"]),
        )

    def shape_for(self, spec: TensorSpec, layout: str = "") -> tuple[int, ...] | None:
        """Shape of the data for an input that leaves sizes open: ``(samples or batch, *shape[1:])``.

        Args:
            spec: Of the input, with ``None`` for open sizes.
            layout: Of pictures for an input that is open in every way: ``nchw`` or ``nhwc``.

        Returns:
            ``None`` where there is nothing for this input.

        Raises:
            UsageError: Pictures, and nobody said of which size.
        """
        if self.pictures is not None:
            return frame_for(self.pictures, spec, f"--data {self.origin}", layout).shape
        array = self.arrays.get(spec.name, self.arrays.get("x"))
        if array is None:
            return None
        if self.items and array.ndim == len(spec.shape) - 1:
            return (self.items, *self._item(array))
        return array.shape

    def inner_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one sample of an array, without a batch dimension, as far as the data alone can tell."""
        array = self.arrays[name]
        shape = self._item(array) if self.items else array.shape
        may_be_one = self.one_file_each or bool(self.items)
        return shape if may_be_one and shape[:1] != (1,) else shape[1:]

    def _item(self, array: Array) -> tuple[int, ...]:
        return (len(array) // self.items, *array.shape[1:])
