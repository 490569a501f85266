"""``edgekit inspect --data``: what a model will see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from edgekit import data as data_files
from edgekit import inputs, pictures
from edgekit.contact_sheet import Sheet
from edgekit.data_options import DataOptions
from edgekit.dataset import LABEL_NAMES, Dataset
from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.inspect import inspect
from edgekit.jobs import Workers
from edgekit.options import SourceOptions
from edgekit.progress import Progress, Silent
from edgekit.scratch import scratch_folder
from edgekit.types import SCHEMA_VERSION, Signature, from_json

_PART_ELEMENTS = 1 << 20
_LABEL = "look at the data"
_RAW = "raw"
_ITEMS = "The first axis counts what came one by one; a model tells whether that is samples or batches."


def inspect_data(
    data: str,
    data_options: DataOptions | None = None,
    *,
    model: str | Path | None = None,
    options: SourceOptions | None = None,
    contact_sheet: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Read all of the data and say what is in it.

    Args:
        data: As typed after ``--data``.
        data_options: How to read it.
        model: A model file; then the data is fitted to its inputs first, and this is what it will see.
        options: How to read that.
        contact_sheet: A picture to draw of what it will see.
        progress: Told what goes on.

    Returns:
        ``schema_version``, ``data`` (as typed), ``format``, ``samples``, ``model``, ``arrays`` (a dictionary each:
        ``name``, ``dtype``, ``shape``, ``minimum``, ``maximum``, ``mean``, ``std``, ``not_finite`` and, for pictures,
        ``channels`` with the same figures), ``pictures`` (``sizes``, ``modes`` and ``preprocess``, or ``None``),
        ``classes`` (``label``, ``name``, ``samples``), ``notes``, ``contact_sheet``.

    Raises:
        DataError: The data cannot be read, or does not fit the model.
        UsageError: The model does not say its inputs.
    """
    chosen, progress = data_options or DataOptions(), progress or Silent()
    form = data_files.identify(data)
    with scratch_folder() as scratch, Workers(scratch, parallel=1, progress=progress) as workers:
        dataset = data_files.read(data, chosen, scratch, workers)
        if model is None:
            seen, labels, bound = _unbound(dataset), _labels(dataset), None
        else:
            if dataset.pictures is not None:
                dataset.pictures.settings()
            folder = dataset.save(scratch / "dataset")
            signature = _signature(model, options or SourceOptions(), folder, progress)
            bound = data_files.bind(dataset, signature)
            seen, labels = dict(bound.arrays), _numbers_of_classes(bound.labels)
        sheet = None if contact_sheet is None else Sheet(contact_sheet, dataset, _pictured(data, seen), labels)
        progress.start(_LABEL)
        try:
            arrays = _arrays(dataset, seen, bound, lambda done, total: _advance(progress, done, total))
            if sheet is not None:
                sheet.draw()
        finally:
            progress.end(_LABEL)
        notes = [*dataset.notes, *([_ITEMS] if bound is None and dataset.items else [])]
        notes += [] if bound is None else [f"Inputs: {bound.origin}."]
        return {
            "schema_version": SCHEMA_VERSION,
            "data": data,
            "format": form.title,
            "samples": _count(dataset, seen) if bound is None else bound.count,
            "model": None if model is None else str(model),
            "arrays": arrays,
            "pictures": _picture_facts(dataset),
            "classes": _classes(labels, dataset.classes),
            "notes": notes,
            "contact_sheet": "" if contact_sheet is None else str(contact_sheet),
        }


def of_samples(
    samples: Feeds, labels: Array | None = None, names: Sequence[str] = (), progress: Progress | None = None
) -> dict[str, Any]:
    """What files were run on, to stand beside what they made of it.

    Args:
        samples: As they were run.
        labels: Of them, where they are not in the samples; classes where they are whole numbers.
        names: Of the classes, by label.
        progress: Told what goes on.

    Returns:
        ``samples``, ``origin``, and ``arrays`` and ``classes`` as :func:`inspect_data` has them.
    """
    progress = progress or Silent()
    known = samples.labels if labels is None else labels
    progress.start(_LABEL)
    try:
        arrays = _figures_of(samples.arrays, lambda done, total: _advance(progress, done, total))
    finally:
        progress.end(_LABEL)
    return {
        "samples": samples.count,
        "origin": samples.origin,
        "arrays": arrays,
        "classes": _classes(_numbers_of_classes(known), names),
    }


def _advance(progress: Progress, done: int, total: int) -> None:
    progress.advance(_LABEL, done, total, "samples")


def _signature(model: str | Path, options: SourceOptions, data: Path, progress: Progress) -> Signature:
    """Of a model, with the sizes of ``--input``, or those that it takes from the data.

    Raises:
        UsageError: The file says nothing about its inputs.
    """
    facts = inspect(model, options=options, data=data, progress=progress)
    if "signature" not in facts:
        raise UsageError(
            f"{model}: this is no model, and --data is fitted to one.", hint="Leave it out, or name a model."
        )
    found = from_json(Signature, facts["signature"])
    given = [inputs.parse(option) for option in options.inputs]
    if not found.inputs and given:
        found = Signature(tuple(replace(spec, name=spec.name or "x") for spec in given), ())
    if not found.inputs:
        raise UsageError(
            f"{model}: the file does not say what its inputs are.",
            hint="--model FILE.py:NAME, or --input NAME=1,3,224,224   (with your sizes); without it: edgekit inspect "
            "--data DATA",
        )
    sizes = {spec.name: spec.shape for spec in given}
    return replace(
        found,
        inputs=tuple(replace(spec, shape=sizes.get(spec.name, sizes.get("", spec.shape))) for spec in found.inputs),
    )


def _unbound(dataset: Dataset) -> dict[str, Array]:
    """The arrays that are not labels; pictures, as far as they can be shown without a model, are one more."""
    found = {name: array for name, array in dataset.arrays.items() if name not in LABEL_NAMES}
    if dataset.items:
        found = {
            name: array if len(array) == dataset.items else array.reshape(dataset.items, -1, *array.shape[1:])
            for name, array in found.items()
        }
    if dataset.pictures is None:
        return found
    shown = _shown(dataset.pictures)
    frame = pictures.own_frame(shown)
    if frame is not None:
        found["pictures"] = cast(Array, pictures.PictureArray(shown, frame, f"--data {dataset.origin}"))
    return found


def _shown(found: pictures.Pictures) -> pictures.Pictures:
    return found if found.preprocess is not None else replace(found, preprocess=_RAW)


def _labels(dataset: Dataset) -> Array | None:
    array = next((dataset.arrays[name] for name in LABEL_NAMES if name in dataset.arrays), None)
    return _numbers_of_classes(array)


def _numbers_of_classes(labels: Array | None) -> Array | None:
    """Labels in a row; ``None`` where they are numbers to predict."""
    return None if labels is None or labels.dtype.kind not in "iu" else labels.reshape(-1)


def _count(dataset: Dataset, seen: Mapping[str, Array]) -> int:
    if dataset.pictures is not None:
        return len(dataset.pictures.files)
    labels = _labels(dataset)
    if dataset.items:
        return dataset.items if labels is None else len(labels)
    files = [name for name in dataset.arrays if name not in LABEL_NAMES]
    if dataset.one_file_each and len(files) > 1:
        return len(files)
    return next((len(array) if array.ndim else 1 for array in seen.values()), 0)


def _arrays(
    dataset: Dataset, seen: Mapping[str, Array], bound: Feeds | None, advance: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Figures of every array, pictures of all sizes among them."""
    found = _figures_of(seen, advance)
    if not seen and dataset.pictures is not None:
        found.append(_of_all_sizes(dataset, dataset.pictures, advance))
    return found


def _figures_of(seen: Mapping[str, Array], advance: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Figures of every array, read once, a part at a time."""
    total, done, found = sum(len(array) if array.ndim else 1 for array in seen.values()), 0, []
    for name, array in seen.items():
        channel = _channel(array)
        figures = _Figures(None if channel is None else array.shape[channel])
        for part in _parts(array):
            figures.add(part, channel)
            done += len(part) if part.ndim else 1
            advance(done, total)
        found.append({"name": name, "dtype": str(array.dtype), "shape": list(array.shape), **figures.to_json()})
    return found


def _of_all_sizes(dataset: Dataset, found: pictures.Pictures, advance: Callable[[int, int], None]) -> dict[str, Any]:
    """Figures of pictures that differ in size, which only a model would make equal."""
    shown = _shown(found)
    settings, where = shown.settings(), f"--data {dataset.origin}"
    channels = pictures.own_channels(shown)
    figures = _Figures(channels)
    table = pictures.value_table(settings, channels, np.dtype(np.float32), where)
    for done, file in enumerate(found.files):
        pixels = pictures.decoded(file, channels, None, settings, where)
        figures.add(np.stack([table[place][pixels[..., place]] for place in range(channels)], -1), 2)
        advance(done + 1, len(found.files))
    return {
        "name": "pictures",
        "dtype": "float32",
        "shape": [len(found.files), None, None, channels],
        **figures.to_json(),
    }


def _parts(array: Array) -> Iterator[Array]:
    if not array.ndim:
        yield array
        return
    rows = max(1, _PART_ELEMENTS // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _channel(array: Array) -> int | None:
    """The axis of channels of arrays that look like pictures, their samples along the first axis."""
    if array.ndim not in (4, 5):
        return None
    first, last = array.ndim - 3, array.ndim - 1
    sure = [axis for axis in (first, last) if array.shape[axis] in (1, 3, 4)]
    return sure[0] if len(sure) == 1 else None


class _Figures:
    """Range, mean and deviation of numbers that come in parts; per channel where there are channels."""

    def __init__(self, channels: int | None) -> None:
        self.channels = channels
        count = channels or 1
        self.least, self.most = np.full(count, np.inf), np.full(count, -np.inf)
        self.sums, self.squares = np.zeros(count), np.zeros(count)
        self.counts, self.bad = np.zeros(count, np.int64), 0
        self.center: float | None = None

    def add(self, part: Array, channel: int | None) -> None:
        moved = part[..., None] if channel is None else np.moveaxis(part, channel, -1)
        rows = moved.reshape(-1, moved.shape[-1]) if channel is not None else moved.reshape(-1, 1)
        values = rows.astype(np.float64) if rows.dtype.kind in "fiub" else np.empty((0, 1))
        finite = np.isfinite(values)
        self.bad += int((~finite).sum())
        if not finite.any():
            return
        if self.center is None:  # sums of squares of values far from 0 would lose their digits
            self.center = float(values[finite].mean())
        self.least = np.minimum(self.least, np.where(finite, values, np.inf).min(0))
        self.most = np.maximum(self.most, np.where(finite, values, -np.inf).max(0))
        centered = np.where(finite, values - self.center, 0.0)
        self.sums += centered.sum(0)
        self.squares += (centered**2).sum(0)
        self.counts += finite.sum(0)

    def to_json(self) -> dict[str, Any]:
        channels = [self._of(place, place + 1) for place in range(self.channels or 0)]
        return {**self._of(0, len(self.counts)), "not_finite": self.bad, "channels": channels}

    def _of(self, start: int, end: int) -> dict[str, float | None]:
        count = int(self.counts[start:end].sum())
        if not count or self.center is None:
            return {"minimum": None, "maximum": None, "mean": None, "std": None}
        shift = float(self.sums[start:end].sum()) / count
        variance = float(self.squares[start:end].sum()) / count - shift**2
        return {
            "minimum": float(self.least[start:end].min()),
            "maximum": float(self.most[start:end].max()),
            "mean": self.center + shift,
            "std": max(variance, 0.0) ** 0.5,
        }


def _picture_facts(dataset: Dataset) -> dict[str, Any] | None:
    found = dataset.pictures
    if found is None:
        return None
    return {"sizes": dict(found.sizes), "modes": dict(found.modes), "preprocess": found.preprocess}


def _classes(labels: Array | None, names: Sequence[str]) -> list[dict[str, Any]]:
    """How many samples each class has; classes that are known by name and have none are there, too."""
    if labels is None:
        return []
    values, counts = np.unique(np.asarray(labels), return_counts=True)
    by_label = dict(zip(map(int, values), map(int, counts), strict=True))
    known = sorted({*by_label, *range(len(names))})
    return [
        {
            "label": label,
            "name": names[label] if 0 <= label < len(names) else "",
            "samples": by_label.get(label, 0),
        }
        for label in known
    ]


def _pictured(data: str, seen: Mapping[str, Array]) -> Array | None:
    """The array that a contact sheet shows.

    Raises:
        UsageError: None of them looks like pictures.
    """
    if not seen:
        return None
    found = next((array for array in seen.values() if _channel(array) is not None), None)
    if found is None:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in seen.items())
        raise UsageError(
            f"--contact-sheet: nothing in {data} looks like pictures: {shapes}.",
            hint="Pictures have an axis of 1, 3 or 4 channels, behind the samples or last.",
        )
    return found
