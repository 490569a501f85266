"""A picture of samples as a model sees them, with the names of their classes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import pictures, registry
from edgekit.dataset import Dataset
from edgekit.errors import UsageError
from edgekit.feeds import Array
from edgekit.preprocessing import CHANNELS, Preprocess

_SHOWN = 48
_COLUMNS = 8
_SIDE = 112
_TEXT = 14
_GAP = 6
_LETTERS = 18


class Sheet:
    """A contact sheet, checked before the long work and drawn after it.

    Args:
        path: Of the picture to write.
        dataset: That the samples are of.
        samples: Samples along the first axis, with an axis of channels; ``None`` where pictures have no common size.
        labels: Of the samples.

    Raises:
        UsageError: It cannot be written there.
        MissingDependencyError: Pillow is not installed.
    """

    def __init__(self, path: Path, dataset: Dataset, samples: Array | None, labels: Array | None) -> None:
        registry.require(("PIL",), "images", "Drawing a contact sheet")
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise UsageError(f"--contact-sheet {path}: a picture file is expected.", hint=f"--contact-sheet {path}.png")
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UsageError(f"--contact-sheet {path}: there is no folder {path.parent}.", hint=f"mkdir {path.parent}")
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            raise UsageError(f"--contact-sheet {path}: you may not write there.")
        self.path = path
        self.dataset = dataset
        self.samples = samples
        self.labels = labels

    def draw(self) -> None:
        """Write it: samples spread over the data, since files are often sorted by class."""
        from PIL import Image, ImageDraw

        count = self._count()
        places = np.unique(np.linspace(0, count - 1, min(count, _SHOWN)).round().astype(int))
        columns = min(_COLUMNS, len(places))
        rows = math.ceil(len(places) / columns)
        cell_width, cell_height = _SIDE + _GAP, _SIDE + _TEXT + _GAP
        sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), "white")
        pen = ImageDraw.Draw(sheet)
        for number, place in enumerate(places):
            left, top = _GAP + number % columns * cell_width, _GAP + number // columns * cell_height
            sheet.paste(self._thumbnail(int(place)), (left, top))
            pen.text((left, top + _SIDE), self._caption(int(place)), fill="black")
        sheet.save(self.path)

    def _count(self) -> int:
        if self.samples is not None:
            return len(self.samples)
        return len(self.dataset.pictures.files) if self.dataset.pictures is not None else 0

    def _caption(self, place: int) -> str:
        """The class, else the name of the file, else the number."""
        rows = self._count()
        if self.labels is not None and len(self.labels):
            label = int(self.labels[place * len(self.labels) // rows])
            names = self.dataset.classes
            text = names[label] if 0 <= label < len(names) else str(label)
        elif self.dataset.pictures is not None:
            files = self.dataset.pictures.files
            text = Path(files[place * len(files) // rows]).name
        else:
            text = str(place)
        # The pen's own letters are Latin ones.
        return (
            (text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "~")
            .encode("latin-1", "replace")
            .decode("latin-1")
        )

    def _thumbnail(self, place: int) -> Any:
        from PIL import Image

        values = self._pixels(place)
        image: Any = Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
        factor = _SIDE / max(image.size)
        # Small pictures are enlarged as they are, so that pixels can be told.
        kind = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR
        return image.resize(tuple(max(1, round(side * factor)) for side in image.size), kind).convert("RGB")

    def _pixels(self, place: int) -> Array:
        """One sample as ``(height, width, channels)`` of whole numbers from 0 to 255."""
        found = self.dataset.pictures
        settings = None if found is None or found.preprocess is None else found.settings()
        if self.samples is None:
            assert found is not None  # noqa: S101 - without arrays there are pictures
            channels = 1 if set(found.modes) <= {"L", "1"} else 3
            plain = settings or Preprocess("raw")
            values = pictures.decoded(found.files[place], channels, None, plain, f"--data {self.dataset.origin}")
            return values[..., ::-1] if plain.bgr and channels == 3 else values
        sample = np.asarray(self.samples[place])
        while sample.ndim > 3:  # the first of a batch
            sample = sample[0]
        values = sample if sample.shape[-1] in CHANNELS else sample.transpose(1, 2, 0)
        if found is None:
            return spread(values)
        undone = values.astype(np.float64)
        if settings is not None:
            undone = (undone * np.array(settings.std) + np.array(settings.mean)) / settings.scale
            if settings.bgr and values.shape[-1] > 1:
                undone = undone[..., [2, 1, 0, *range(3, values.shape[-1])]]
        return np.rint(np.clip(undone, 0, 255)).astype(np.uint8)


def spread(values: Array) -> Array:
    """Values of an unknown scale as whole numbers, from black (0) for the least to white (255) for the greatest."""
    known = values.astype(np.float64)
    low, high = np.nanmin(known), np.nanmax(known)
    spread = np.nan_to_num((known - low) / (high - low if high > low else 1.0))
    return np.rint(spread * 255).astype(np.uint8)
