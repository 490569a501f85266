"""NumPy files: ``.npz``, ``.npy``, and folders of them."""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError
from edgekit.feeds import Array
from edgekit.plugins import DataFormat

_MAGIC = b"\x93NUMPY"


def identify(path: str) -> bool:
    """Whether it is an ``.npy``, a zip archive of such, or a folder with either."""
    place = Path(path)
    if place.is_dir():
        return any(file.suffix in (".npy", ".npz") for file in place.iterdir())
    if not place.is_file():
        return False
    with place.open("rb") as file:
        if file.read(len(_MAGIC)) == _MAGIC:
            return True
    return _is_npz(place)


def _is_npz(place: Path) -> bool:
    try:
        with zipfile.ZipFile(place) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """Map the arrays; those of archives are unpacked below ``into``."""
    place = Path(path)
    if not place.is_dir():
        found = _read_numpy(place, into)
        return Dataset(path, {"x" if name == "" else name: array for name, array in found.items()})
    return Dataset(path, _read_folder(place, into, advance), one_file_each=not any(place.glob("*.npz")))


def _read_folder(place: Path, into: Path, advance: Callable[[int, int], None]) -> dict[str, Array]:
    archives, files = (sorted(place.glob(pattern), key=_natural) for pattern in ("*.npz", "*.npy"))
    if not archives:
        return {file.stem: _read_numpy(file, into)[""] for file in files}
    chunks = []
    for done, file in enumerate(archives):
        advance(done, len(archives))
        chunks.append(_read_numpy(file, into))
    for file, chunk in zip(archives, chunks, strict=True):
        if set(chunk) != set(chunks[0]):
            raise DataError(
                f"--data {place}: {archives[0].name} holds the arrays {', '.join(chunks[0])}, "
                f"and {file.name} holds {', '.join(chunk)}."
            )
    return {name: _joined([chunk[name] for chunk in chunks], archives, name) for name in chunks[0]}


def _natural(file: Path) -> list[int | str]:
    """Sorts ``sample10`` behind ``sample9``, as people who number files mean it."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.stem)]


def _joined(parts: list[Array], files: list[Path], name: str) -> Array:
    """One array of several files; numbers, such as the label of the one sample in a file, in a row."""
    for file, part in zip(files, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:] or part.ndim != parts[0].ndim:
            raise DataError(
                f"--data {file.parent}: array {name!r} is {list(parts[0].shape)} in {files[0].name} "
                f"and {list(part.shape)} in {file.name}."
            )
    return np.concatenate(parts) if parts[0].ndim else np.stack(parts)


def _read_numpy(place: Path, into: Path) -> dict[str, Array]:
    """Arrays of an ``.npz`` by name, or of an ``.npy`` under the empty name; all of them stay on disk."""
    try:
        if not zipfile.is_zipfile(place):
            return {"": _mapped(place)}
        with zipfile.ZipFile(place) as archive:
            found: dict[str, Array] = {}
            for member in archive.infolist():
                # Numbered: a member's name may hold anything, a path out of the folder included.
                target = into / f"{sum(1 for _ in into.iterdir())}.npy"
                with archive.open(member) as packed, target.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                found[member.filename.removesuffix(".npy")] = _mapped(target)
        return found
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"--data {place}: it holds Python objects, which are pickles; edgekit reads numbers.",
                hint="np.savez('data.npz', x=np.stack(list))",
            ) from error
        raise DataError(f"--data {place}: damaged: {error}.", hint="Copy or save it again.") from error


def _mapped(file: Path) -> Array:
    """An ``.npy`` file whose content is read where it is used.

    Raises:
        ValueError: It is damaged, or holds Python objects.
    """
    try:
        array: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError:
        # An array without elements cannot be mapped; what is damaged fails here again.
        array = np.load(file, allow_pickle=False)
    return array


DATA = DataFormat(
    name="arrays",
    title="NumPy .npz and .npy, or a folder of them",
    identify=identify,
    read="converters.datasets.arrays:read",
)
