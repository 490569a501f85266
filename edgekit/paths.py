"""Files that a user names."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from edgekit.errors import UsageError


def existing_file(path: str | Path) -> Path:
    """The path, once it is known to be a readable file with something in it.

    Args:
        path: As the user typed it.

    Raises:
        UsageError: It is missing, a folder, empty or unreadable.
    """
    place = existing(path)
    if place.is_dir():
        raise UsageError(f"{path}: this is a folder; a model file is expected.", hint=_files_in(place))
    return place


def existing(path: str | Path) -> Path:
    """The path, once it is known to be a readable file with something in it, or a folder.

    Args:
        path: As the user typed it.

    Raises:
        UsageError: It is missing, empty or unreadable.
    """
    place = Path(path)
    if not place.exists():
        raise UsageError(f"{path}: no such file.", hint=names_like(place))
    if place.is_dir():
        if not os.access(place, os.R_OK | os.X_OK):
            raise UsageError(f"{path}: you may not list this folder.", hint=f"chmod u+rx {path}   (or ask its owner)")
        return place
    if not place.is_file():
        raise UsageError(f"{path}: not a regular file.", hint="Copy its content to a file first.")
    if not os.access(place, os.R_OK):
        raise UsageError(f"{path}: you may not read this file.", hint=f"chmod u+r {path}   (or ask its owner)")
    if place.stat().st_size == 0:
        raise UsageError(f"{path}: the file is empty.", hint="Copy or download it again; 0 bytes arrived.")
    return place


def size_bytes(place: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = (item for item in place.rglob("*") if item.is_file()) if place.is_dir() else [place]
    return sum(item.stat().st_size for item in files)


def _files_in(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except PermissionError:
        return "Name a file in it."
    return f"Name a file in it: {', '.join(names[:6])}{'…' if len(names) > 6 else ''}" if names else "It has no files."


def names_like(missing: Path) -> str:
    """A question whether one of the similar names in the folder was meant; empty when there is none."""
    folder = missing.parent
    if not folder.is_dir():
        return f"There is no folder {folder} either."
    try:
        names = [entry.name for entry in folder.iterdir()]
    except PermissionError:
        return f"You may not list the folder {folder}."
    near = difflib.get_close_matches(missing.name, names, n=3)
    return f"Did you mean {', '.join(str(folder / name) for name in near)}?" if near else ""
