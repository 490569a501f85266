"""``--labels``: labels that are not in the data."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.dataset import LABEL_NAMES
from edgekit.errors import DataError
from edgekit.feeds import Array, Feeds

INPUT = "input"
"""What to type where a model is to reproduce its input; labels are this word then."""

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".txt", ".json")

_DELIMITERS = (",", "\t", ";")
_INDEX = "index"
_SHOWN = 8

Labels = Array | Sequence[Any]


def read(typed: str, samples: Feeds, names: Sequence[str] = (), files: Sequence[str] = ()) -> Labels:
    """Labels of all samples, in their order.

    Args:
        typed: After ``--labels``: ``FILE.npy``; ``FILE.npz`` or ``FILE.npz:ARRAY`` (the array ``labels`` or ``y``);
            ``FILE.csv``, ``FILE.tsv`` or ``FILE.txt``, a label per line, or ``FILE.csv:COLUMN``; ``FILE.json``, of COCO
            or a list of ``{"boxes": …, "labels": …}``, one per sample (``FILE.json:index`` numbers the categories of
            COCO from 0 in order of their ids); or ``input``.
        samples: That the labels are of.
        names: Names of the classes, by label; words that are none of them are numbered in alphabetical order.
        files: Names of the samples' files, where they have such; boxes of COCO go by them, else by the order of its
            ``images``.

    Returns:
        Numbers as ``(samples, batch, …)``; a list with one entry per row for boxes (``boxes`` ``(n, 4)`` floats as x1,
        y1, x2, y2, ``labels`` ``(n,)`` integers, and ``iscrowd``) and for texts: words that are all different, one per
        sample; and the word ``input``.

    Raises:
        DataError: A file that is missing or of another kind, another number of labels, or labels that are no numbers.
    """
    if typed == INPUT:
        return INPUT
    path, member = _place(typed)
    where = f"--labels {typed}"
    if path.suffix == ".json":
        return _counted(_boxes(path, member, where, files), samples, path)
    if path.suffix in (".npy", ".npz"):
        found: Array | list[str] = _array(path, member, where)
    else:
        found = _numbers_or_words(_column(path, member, where), where)
    if isinstance(found, list):
        known = class_names(typed, names)
        if not known:
            return _counted(found, samples, path)
        numbers = {name: number for number, name in enumerate(known)}
        found = np.array([numbers[word] for word in found], np.int64)
    return _fitted(_whole(found, where), samples, path)


def class_names(typed: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the classes, by label, where labels are words: known ones, or such as come more than once; else empty.

    Args:
        typed: As :func:`read` takes it.
        names: As :func:`read` takes them; they keep their order where they hold all words.

    Raises:
        DataError: As :func:`read`.
    """
    if typed == INPUT:
        return ()
    path, member = _place(typed)
    if path.suffix == ".json":
        return ()
    where = f"--labels {typed}"
    if path.suffix in (".npy", ".npz"):
        found: Array | list[str] = _array(path, member, where)
    else:
        found = _numbers_or_words(_column(path, member, where), where)
    if not isinstance(found, list):
        return ()
    if set(found) <= set(names):
        return tuple(names)
    kinds = sorted(set(found))
    return tuple(kinds) if len(kinds) < len(found) else ()


def _place(typed: str) -> tuple[Path, str]:
    """The file, and what was typed after the colon."""
    path, member = Path(typed), ""
    if not path.is_file() and ":" in typed:
        start, _, member = typed.rpartition(":")
        path = Path(start)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"--labels {typed}: labels are read from {', '.join(SUFFIXES)}.",
            hint=f"--labels labels.npy   (np.save), --labels labels.csv, or --labels {INPUT}",
        )
    if not path.is_file():
        raise DataError(f"--labels {typed}: there is no file {path}.", hint="Check the path.")
    return path, member


def _array(path: Path, member: str, where: str) -> Array | list[str]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found as archive:
                found = archive[_member(list(archive.files), member, where)]
        elif member:
            raise DataError(f"{where}: a .npy file holds one array, and has no name.", hint=f"--labels {path}")
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{where}: it is no array of numbers that can be read without running code ({error}).",
            hint="np.save('labels.npy', np.asarray(labels))",
        ) from error
    if found.dtype.kind == "U":
        return [str(word) for word in found.reshape(-1)]
    if found.dtype.kind not in "fiub":
        raise DataError(f"{where}: labels are numbers, found {found.dtype}.")
    return np.asarray(found) if found.dtype.kind != "b" else np.asarray(found).astype(np.int64)


def _member(names: Sequence[str], typed: str, where: str) -> str:
    """The array, or column, of labels."""
    if typed:
        if typed in names:
            return typed
        raise DataError(f"{where}: it has no {typed!r}; it has {_listed(names)}.", hint="Name one of these.")
    if len(names) == 1:
        return names[0]
    found = next((name for name in names if name.lower() in LABEL_NAMES), None)
    if found is None:
        raise DataError(f"{where}: which of {_listed(names)} are the labels?", hint=f"{where}:{names[-1]}")
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _column(path: Path, member: str, where: str) -> list[tuple[int, str]]:
    """Labels as text, each with the number of its line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: it is no text ({error}).") from error
    if path.suffix == ".txt" and not member:
        lines = list(enumerate(text.splitlines(), 1))
    else:
        lines = _of_table(text, member, where)
    while lines and not lines[-1][1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{where}: there is no label in it.")
    empty = next((number for number, label in lines if not label.strip()), None)
    if empty is not None:
        raise DataError(f"{where}, line {empty}: a label is missing.")
    return [(number, label.strip()) for number, label in lines]


def _of_table(text: str, member: str, where: str) -> list[tuple[int, str]]:
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(lines, delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    if not rows:
        return []
    names = [name.strip() for name in rows[0][1]]
    header = _is_header(names, [row for _, row in rows[1:]], member)
    if not header:
        names = [str(column) for column in range(len(names))]
    column = names.index(_member(names, member, where))
    for number, row in rows:
        if len(row) != len(names):
            raise DataError(f"{where}, line {number}: {len(row)} fields, and the first line has {len(names)}.")
    return [(number, row[column]) for number, row in rows[header:]]


def _is_header(names: Sequence[str], rows: Sequence[Sequence[str]], member: str) -> bool:
    """Whether the first row names the columns: one is asked for, or is a usual name, or stands over numbers."""
    if (member in names and not _is_number(member)) or any(name.lower() in LABEL_NAMES for name in names):
        return True
    over = [
        column
        for column, name in enumerate(names)
        if not _is_number(name) and rows and all(len(row) > column and _is_number(row[column]) for row in rows)
    ]
    return bool(over)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers_or_words(lines: Sequence[tuple[int, str]], where: str) -> Array | list[str]:
    numbers = [_is_number(text) for _, text in lines]
    if all(numbers):
        return np.array([float(text) for _, text in lines])
    if any(numbers):
        wanted = sum(numbers) * 2 >= len(numbers)
        line, text = next(one for one, number in zip(lines, numbers, strict=True) if number != wanted)
        kind = "which is no number, as others are" if wanted else "which is a number, and others are words"
        raise DataError(f"{where}, line {line}: it holds {text!r}, {kind}.")
    return [text for _, text in lines]


def _whole(labels: Array, where: str) -> Array:
    """Whole numbers as such, and nothing that is not finite."""
    if labels.dtype.kind != "f":
        return labels
    bad = int((~np.isfinite(labels)).sum())
    if bad:
        raise DataError(f"{where}: {bad} labels are not finite (NaN or infinite).")
    return labels.astype(np.int64) if np.array_equal(labels, np.rint(labels)) else labels


def _fitted(labels: Array, samples: Feeds, path: Path) -> Array:
    """Labels as ``(samples, batch, …)``."""
    flat = labels.reshape(-1) if labels.ndim == 0 or labels.shape[1:] == (1,) else labels
    if _is_one_hot(flat):
        raise DataError(
            f"--labels {path}: labels are one-hot, of shape {list(flat.shape)}, and one number per sample is needed.",
            hint="labels.argmax(1)",
        )
    batch = _batch(samples)
    if samples.places is None and len(flat) == samples.count:
        return flat.reshape(samples.count, 1, *flat.shape[1:])
    if samples.places is not None and len(flat) > int(samples.places.max()):
        # The samples were drawn from data that these labels are all of.
        rows = batch if len(flat) >= (int(samples.places.max()) + 1) * batch else 1
        whole = len(flat) // rows
        chosen: Array = flat[: whole * rows].reshape(whole, rows, *flat.shape[1:])[np.asarray(samples.places)]
        return chosen
    # Those left over fill no batch, as in the data.
    if samples.places is None and 0 <= len(flat) - samples.count * batch < batch:
        return flat[: samples.count * batch].reshape(samples.count, batch, *flat.shape[1:])
    raise _other_length(len(flat), samples, path)


def _is_one_hot(labels: Array) -> bool:
    return (
        labels.ndim == 2
        and labels.shape[1] > 1
        and labels.dtype.kind in "iu"
        and bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
    )


def _batch(samples: Feeds) -> int:
    first = next(iter(samples.arrays.values()))
    return int(first.shape[1]) if first.ndim > 1 else 1


def _other_length(count: int, samples: Feeds, path: Path) -> DataError:
    batch = _batch(samples)
    several = f" in batches of {batch}" if batch > 1 else ""
    return DataError(
        f"{path.name} has {count} labels, the data {samples.count} samples{several}.",
        hint="One label for each sample, in the order of the data.",
    )


def _counted(labels: list[Any], samples: Feeds, path: Path) -> list[Any]:
    """One entry per row."""
    if samples.places is not None and len(labels) > int(samples.places.max()):
        return [labels[int(place)] for place in samples.places]
    if len(labels) not in (samples.count, samples.count * _batch(samples)):
        raise _other_length(len(labels), samples, path)
    return labels


def _boxes(path: Path, member: str, where: str, files: Sequence[str]) -> list[dict[str, Array]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{where}: it is no JSON ({error}).") from error
    if member not in ("", _INDEX):
        raise DataError(f"{where}: {member!r} means nothing here.", hint=f"--labels {path}:{_INDEX}")
    try:
        if isinstance(found, list):
            return [_entry(one["boxes"], one["labels"], one.get("iscrowd")) for one in found]
        if isinstance(found, Mapping) and {"images", "annotations"} <= found.keys():
            return _coco(found, member == _INDEX, where, files)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: {type(error).__name__} {error}: it is not as COCO has it.") from error
    raise DataError(
        f"{where}: neither COCO (images, annotations) nor a list.",
        hint='[{"boxes": [[x1, y1, x2, y2]], "labels": [0]}]',
    )


def _entry(boxes: Any, labels: Any, crowd: Any) -> dict[str, Array]:
    entry = {
        "boxes": np.asarray(boxes, np.float64).reshape(-1, 4),
        "labels": np.asarray(labels, np.int64).reshape(-1),
    }
    if len(entry["boxes"]) != len(entry["labels"]):
        raise ValueError(f"{len(entry['boxes'])} boxes with {len(entry['labels'])} labels")
    return entry if crowd is None else {**entry, "iscrowd": np.asarray(crowd, np.int64).reshape(-1)}


def _coco(found: Mapping[str, Any], index: bool, where: str, files: Sequence[str]) -> list[dict[str, Array]]:
    """Boxes of each image; COCO has them as x, y, width, height."""
    numbers = {one["id"]: one["id"] for one in found.get("categories", ())}
    if index:
        numbers = {number: place for place, number in enumerate(sorted(numbers))}
    by_image: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in found["images"]}
    for one in found["annotations"]:
        by_image[one["image_id"]].append(one)
    ids = [image["id"] for image in found["images"]]
    if files:
        named = {Path(image["file_name"]).name: image["id"] for image in found["images"]}
        missing = [file for file in files if Path(file).name not in named]
        if missing:
            raise DataError(f"{where}: it says nothing of {len(missing)} pictures, such as {Path(missing[0]).name}.")
        ids = [named[Path(file).name] for file in files]
    entries = []
    for one_id in ids:
        ones = by_image[one_id]
        boxes = np.array([one["bbox"] for one in ones], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [numbers.get(one["category_id"], one["category_id"]) for one in ones]
        entries.append(_entry(boxes, labels, [int(one.get("iscrowd", 0)) for one in ones]))
    return entries
