"""Data files: what users calibrate, verify and measure with.

:func:`load` reads a file or folder into named arrays, or a list of pictures; :func:`bind` fits them to a model's
signature, and refuses with expected and found where they do not fit. No framework is imported here; formats
(:class:`edgekit.plugins.DataFormat`) that need one, or run a user's code, are read in a child.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import registry, reporting
from edgekit.data_binding import bind
from edgekit.data_options import OPTIONS, DataOptions
from edgekit.dataset import LABEL_NAMES, Dataset
from edgekit.errors import DataError, UsageError
from edgekit.plugins import DataFormat
from edgekit.random_data import RANDOM, RANDOM_SAMPLES, SEED, random_feeds
from edgekit.types import from_json, to_json

if TYPE_CHECKING:
    from edgekit.jobs import Workers

__all__ = [
    "LABEL_NAMES", "RANDOM", "RANDOM_SAMPLES", "SEED", "DataOptions", "Dataset", "bind", "load", "random_feeds", "read",
]  # fmt: skip


def load(path: str, options: DataOptions, scratch: Path, workers: Workers) -> Dataset:
    """Read a data file or folder that is to become a model's inputs.

    Args:
        path: As typed after ``--data``; what it is is told by its content.
        options: As typed beside it.
        scratch: Folder for what is extracted.
        workers: Runs the child, where one is needed, and knows whom to tell about progress.

    Raises:
        DataError: It is missing, empty, damaged or of another kind.
        UsageError: An option does not go with it; or it needs one, as pictures do.
    """
    found = read(path, options, scratch, workers)
    if found.pictures is not None:
        found.pictures.settings()  # refused here, before a framework is imported, and not when the model is read
    return found


def read(path: str, options: DataOptions, scratch: Path, workers: Workers) -> Dataset:
    """As :func:`load`, for a look at it: pictures need no preprocessing."""
    form = identify(path)
    for field, option in OPTIONS.items():
        if getattr(options, field) is not None and field not in form.options:
            heeding = [item.title for item in registry.data_formats().values() if field in item.options]
            raise UsageError(
                f"{option} does not go with {path}, {form.title}.", hint=f"It is for {', '.join(heeding)}."
            )
    registry.require(form.packages, form.extra, f"Reading {path} ({form.title})")
    into = Path(tempfile.mkdtemp(prefix="data-", dir=scratch))
    label = f"{Path(path).name or path}: read data"
    if form.child:
        found = _in_child(form, path, options, into, workers, label)
    else:
        workers.progress.start(label)
        try:
            found = _read(form, path, options, into, lambda done, total: workers.progress.advance(label, done, total))
        finally:
            workers.progress.end(label)
    if not found.arrays and found.pictures is None:
        raise DataError(f"--data {path}: there is no array in it.", hint="np.savez('data.npz', x=…, labels=…)")
    for name, array in found.arrays.items():
        if array.size == 0:
            raise DataError(f"--data {path}: array {name!r} is empty, shape {list(array.shape)}.")
    return replace(found, origin=path)


def identify(path: str) -> DataFormat:
    """The format of a data file or folder.

    Raises:
        DataError: There is no such file, or it is of no known format.
    """
    for form in registry.data_formats().values():
        if form.identify(path):
            return form
    place = Path(path)
    if not place.exists():
        near = difflib.get_close_matches(place.name, _names_beside(place), n=3)
        raise DataError(
            f"--data {path}: no such file or folder.",
            hint=f"Did you mean {', '.join(near)}?" if near else "Give an .npz file with one array per input.",
        )
    titles = ", ".join(form.title for form in registry.data_formats().values())
    if place.is_dir():
        names = sorted(item.name for item in place.iterdir())
        holds = f"It holds {', '.join(names[:5])}{'…' if len(names) > 5 else ''}. " if names else "It is empty. "
        raise DataError(
            f"--data {path}: there is no array and no picture in it.", hint=f"{holds}edgekit reads: {titles}."
        )
    if place.stat().st_size == 0:
        raise DataError(f"--data {path}: the file is empty.")
    with place.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        raise DataError(f"--data {path}: a zip archive that is cut short or damaged.", hint="Copy it again.")
    raise DataError(
        f"--data {path}: not a data file that edgekit knows (it starts with {start!r}; the suffix is not looked at).",
        hint=f"edgekit reads: {titles}.",
    )


def _names_beside(place: Path) -> list[str]:
    return [item.name for item in place.parent.iterdir()] if place.parent.is_dir() else []


def _read(
    form: DataFormat, path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]
) -> Dataset:
    found: Dataset = registry.function(form.read)(path, options, into, advance)
    return found


def _in_child(form: DataFormat, path: str, options: DataOptions, into: Path, workers: Workers, label: str) -> Dataset:
    from edgekit.jobs import Job

    arguments = {"form": form.name, "path": path, "options": to_json(options), "into": str(into)}
    return Dataset.open(Path(workers.call(Job(label, "edgekit.data:read_job", arguments, form.preload))))


def read_job(form: str, path: str, options: dict[str, Any], into: str) -> str:
    """Read data in a child.

    Args:
        form: Name of its format.
        path: As typed.
        options: :class:`DataOptions` as JSON.
        into: An existing folder for what is extracted.

    Returns:
        The folder of the :class:`Dataset`.
    """
    chosen = registry.data_formats()[form]
    found = _read(chosen, path, from_json(DataOptions, options), Path(into), reporting.advance)
    return str(found.save(Path(into) / "dataset"))
