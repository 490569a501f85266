"""Pictures: a folder with a subfolder per class, a folder without, or one file."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import pictures
from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError
from edgekit.plugins import DataFormat

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
_CLASS_FILES = ("labels.txt", "classes.txt")
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval"}
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_ORIENTATION = 0x0112
_SHOWN = 3


def identify(path: str) -> bool:
    """Whether it is a picture, or a folder with one."""
    place = Path(path)
    if not place.is_dir():
        return place.is_file() and _is_picture(place)
    for _, folders, files in os.walk(place):
        _prune(folders)
        if any(file.lower().endswith(_SUFFIXES) for file in files):
            return True
    return False


def _prune(folders: list[str]) -> None:
    """Hidden folders, and those that macOS adds to archives, are nobody's classes."""
    folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))


def _is_picture(file: Path) -> bool:
    with file.open("rb") as opened:
        start = opened.read(12)
    return (
        start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (start.startswith(b"BM") and file.stat().st_size == int.from_bytes(start[2:6], "little"))
        or (start.startswith(b"RIFF") and start[8:12] == b"WEBP")
    )


@dataclass
class _Found:
    """What lies in a folder."""

    files: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def sort_in(self, file: Path) -> None:
        if file.name.startswith("."):
            return
        # A damaged picture is to be told, so a suffix counts as well.
        if file.suffix.lower() in _SUFFIXES or _is_picture(file):
            self.files.append(file)
        else:
            self.others.append(file.name)


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """List the pictures and look at the head of each; they are decoded where they are used."""
    place = Path(path)
    notes: list[str] = []
    labels: list[int] | None = None
    classes: tuple[str, ...] = ()
    if place.is_dir():
        files, labels, classes = _of_folder(place, notes)
    else:
        files = [place]
    sizes, modes = _heads(path, files, advance)
    found = pictures.Pictures(tuple(map(str, files)), options.preprocess, sizes, modes)
    if options.preprocess is not None:
        found.settings()
    arrays = {} if labels is None else {"labels": np.asarray(labels, np.int64)}
    return Dataset(path, arrays, pictures=found, classes=classes, notes=tuple(notes))


def _of_folder(place: Path, notes: list[str]) -> tuple[list[Path], list[int] | None, tuple[str, ...]]:
    """Pictures, their labels and the names of the classes."""
    top, by_class = _Found(), {}
    for item in sorted(place.iterdir(), key=_natural):
        if item.is_file():
            top.sort_in(item)
    subfolders = [item.name for item in place.iterdir() if item.is_dir()]
    _prune(subfolders)
    for name in subfolders:
        by_class[name] = _walked(place / name)
    others = [name for name in top.others if name not in _CLASS_FILES]
    others += [name for found in by_class.values() for name in found.others]
    if others:
        shown = ", ".join(others[:_SHOWN]) + ("…" if len(others) > _SHOWN else "")
        notes.append(
            f"{len(others)} {'file is' if len(others) == 1 else 'files are'} no picture and left out: {shown}."
        )
    if not any(found.files for found in by_class.values()):
        if subfolders and not top.files:
            raise DataError(f"--data {place}: there is no picture in any of its folders.")
        return top.files, None, ()
    if set(map(str.lower, subfolders)) <= _PARTS:
        raise DataError(
            f"--data {place}: {', '.join(subfolders)} look like parts of a data set, not like classes.",
            hint=f"Name one of them: --data {place / subfolders[-1]}",
        )
    if top.files:
        notes.append(f"{len(top.files)} pictures beside the folders of the classes are left out.")
    labels, classes = _labels(place, subfolders)
    for name, found in by_class.items():
        if not found.files:
            notes.append(f"The folder of class {name!r} holds no picture.")
    files = [file for found in by_class.values() for file in found.files]
    return files, [labels[name] for name, found in by_class.items() for _ in found.files], classes


def _walked(folder: Path) -> _Found:
    found = _Found()
    for where, folders, names in os.walk(folder):
        _prune(folders)
        for file in sorted((Path(where) / name for name in names), key=_natural):
            found.sort_in(file)
    return found


def _natural(file: Path) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


def _labels(place: Path, names: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Label of each subfolder, and the names of the classes by label."""
    listed = next((place / name for name in _CLASS_FILES if (place / name).is_file()), None)
    numbers = {name: int(name) for name in names} if all(name.isdecimal() for name in names) else None
    if listed is None and numbers is None:
        return {name: index for index, name in enumerate(names)}, tuple(names)
    if listed is None:
        assert numbers is not None  # noqa: S101 - else the names are sorted
        return numbers, tuple(map(str, range(max(numbers.values()) + 1)))
    lines = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    places: dict[str, int] = {}
    for index, line in enumerate(lines):
        for key in (line, line.partition(" ")[0].rstrip(":,"), re.sub(r"^\d+[ :,]+", "", line)):
            places.setdefault(key, index)
    missing = [name for name in names if name not in places]
    if missing and numbers is not None and max(numbers.values()) < len(lines):
        return numbers, tuple(lines)
    if missing:
        raise DataError(
            f"--data {place}: {listed.name} lists {len(lines)} classes, and none of them is {missing[0]!r}, "
            "as a folder is called.",
            hint=f"One class per line, in the order of the model's outputs: {', '.join(lines[:_SHOWN])}…",
        )
    return {name: places[name] for name in names}, tuple(lines)


def _heads(
    path: str, files: Sequence[Path], advance: Callable[[int, int], None]
) -> tuple[dict[str, int], dict[str, int]]:
    """How many pictures there are of each size and kind.

    Raises:
        DataError: One cannot be read; the message names it.
    """
    from PIL import Image

    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    for done, file in enumerate(files):
        advance(done, len(files))
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file, formats=pictures.FORMATS) as image:
                image_any: Any = image
                width, height = image_any.size
                if image_any.getexif().get(_ORIENTATION) in _TURNED:
                    width, height = height, width
                modes[image_any.mode] += 1
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise pictures.unreadable(f"--data {path}", str(file), error) from error
        sizes[f"{height}x{width}"] += 1
    return dict(sizes), dict(modes)


DATA = DataFormat(
    name="images",
    title="pictures (a folder with a subfolder per class, or without, or one file)",
    identify=identify,
    read="converters.datasets.images:read",
    packages=("PIL",),
    extra="images",
    options=("preprocess",),
)
