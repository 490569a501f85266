"""Data files: what users calibrate, verify and measure with.

:func:`load` reads a file or folder into named arrays; :func:`bind` fits them to a model's signature, and refuses with
expected and found where they do not fit. No framework is imported here; formats that need one are read in a child.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import feeds
from edgekit.errors import DataError
from edgekit.feeds import Array, Feeds
from edgekit.types import Signature, TensorSpec

if TYPE_CHECKING:
    from edgekit.jobs import Workers

LABEL_NAMES = ("labels", "label", "y", "targets")
RANDOM = "random"
RANDOM_SAMPLES = 8
SEED = 20_261_122
_PART_ELEMENTS = 1 << 22
_NHWC_TO_NCHW = {2: (1, 0), 3: (2, 0, 1), 4: (3, 0, 1, 2)}
_NCHW_TO_NHWC = {2: (1, 0), 3: (1, 2, 0), 4: (1, 2, 3, 0)}


@dataclass(frozen=True)
class Dataset:
    """Named arrays as a file holds them, samples along the first axis.

    Attributes:
        origin: The path, as typed.
        arrays: Name to array.
        one_file_each: They are the ``.npy`` files of a folder, so each may be one sample.
    """

    origin: str
    arrays: Mapping[str, Array]
    one_file_each: bool = False

    def save(self, folder: Path) -> Path:
        """Write it where a child can open it with :meth:`open`."""
        origin = ("*" if self.one_file_each else " ") + self.origin
        return feeds.write(folder, Feeds(self.arrays, origin=origin))

    @staticmethod
    def open(folder: Path) -> Dataset:
        """The data set that :meth:`save` wrote."""
        saved = feeds.read(folder)
        return Dataset(saved.origin[1:], saved.arrays, saved.origin[0] == "*")


def load(path: str, scratch: Path, workers: Workers) -> Dataset:
    """Read a data file or folder.

    Args:
        path: ``.npz``, ``.npy``, a ``torch.save`` file of tensors, ``.safetensors``, or a folder of ``.npy`` or
            ``.npz`` files. Told apart by content.
        scratch: Folder for what a child extracts.
        workers: Runs that child.

    Raises:
        DataError: It is missing, empty, damaged or of another kind.
    """
    place = Path(path)
    if not place.exists():
        near = difflib.get_close_matches(place.name, _names_beside(place), n=3)
        raise DataError(
            f"--data {path}: no such file or folder.",
            hint=f"Did you mean {', '.join(near)}?" if near else "Give an .npz file with one array per input.",
        )
    unpacked = Path(tempfile.mkdtemp(prefix="data-", dir=scratch))
    arrays = _read_folder(place, unpacked) if place.is_dir() else _read_file(place, unpacked, workers)
    if not arrays:
        raise DataError(
            f"--data {path}: there is no array in it.",
            hint="A folder holds .npy or .npz files." if place.is_dir() else "np.savez('data.npz', x=…, labels=…)",
        )
    for name, array in arrays.items():
        if array.size == 0:
            raise DataError(f"--data {path}: array {name!r} is empty, shape {list(array.shape)}.")
    return Dataset(path, arrays, place.is_dir() and not any(place.glob("*.npz")))


def _names_beside(place: Path) -> list[str]:
    return [item.name for item in place.parent.iterdir()] if place.parent.is_dir() else []


def _read_folder(place: Path, unpacked: Path) -> dict[str, Array]:
    archives, files = (sorted(place.glob(pattern), key=_natural) for pattern in ("*.npz", "*.npy"))
    if not archives:
        return {file.stem: _read_numpy(file, unpacked)[""] for file in files}
    chunks = [_read_numpy(file, unpacked) for file in archives]
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


def _read_file(place: Path, unpacked: Path, workers: Workers) -> dict[str, Array]:
    from edgekit.jobs import Job

    if place.stat().st_size == 0:
        raise DataError(f"--data {place}: the file is empty.")
    with place.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"\x93NUMPY"):
        return {"x": _read_numpy(place, unpacked)[""]}
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            if all(name.endswith(".npy") for name in archive.namelist()):
                return _read_numpy(place, unpacked)
    elif start[:2] == b"PK":
        raise DataError(f"--data {place}: a zip archive that is cut short or damaged.", hint="Copy it again.")
    reader = "safetensors" if start[8:9] == b"{" else "torch_tensors"
    job = Job(
        f"{place.name}: read tensors",
        f"converters.datasets:{reader}",
        {"path": str(place), "into": str(unpacked / "tensors")},
        preload=() if reader == "safetensors" else ("torch",),
    )
    return dict(feeds.read(Path(workers.call(job))).arrays)


def _read_numpy(place: Path, unpacked: Path) -> dict[str, Array]:
    """Arrays of an ``.npz`` by name, or of an ``.npy`` under the empty name; all of them stay on disk."""
    try:
        if not zipfile.is_zipfile(place):
            return {"": _mapped(place)}
        with zipfile.ZipFile(place) as archive:
            found: dict[str, Array] = {}
            for member in archive.infolist():
                # Numbered: a member's name may hold anything, a path out of the folder included.
                target = unpacked / f"{sum(1 for _ in unpacked.iterdir())}.npy"
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


def bind(dataset: Dataset, signature: Signature) -> Feeds:
    """Fit a data set to a model.

    Arrays are matched by the names of the inputs; a single input also takes ``x`` or the only array that is not
    labels. Samples lie along the first axis: an array of ``(N, *shape[1:])`` fills a batch dimension, one of
    ``(N, *shape)`` a model without one.

    Returns:
        Arrays of shape ``(samples, *input shape)``, in the order of the signature, with labels where there are.

    Raises:
        DataError: Names expected and found array, shape, dtype or layout.
    """
    chosen = _choose(dataset, signature.inputs)
    label_name = next((name for name in LABEL_NAMES if name in dataset.arrays and name not in chosen.values()), None)
    bound: dict[str, Array] = {}
    rows: dict[str, int] = {}
    for spec in signature.inputs:
        array = dataset.arrays[chosen[spec.name]] if chosen else _stack(dataset, spec)
        where = f"--data {dataset.origin}: array {chosen[spec.name]!r}" if chosen else f"--data {dataset.origin}"
        bound[spec.name], rows[spec.name] = _fit_shape(_fit_dtype(array, spec, where), spec, where)
    first = signature.inputs[0].name
    counts = {name: len(array) for name, array in bound.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"--data {dataset.origin}: the inputs have different numbers of samples: {counts}.")
    labels = None
    if label_name is not None:
        labels = _fit_labels(dataset.arrays[label_name], bound[first], rows[first], dataset.origin)
    used = {*chosen.values(), *((label_name,) if labels is not None else ())}
    unused = [name for name in dataset.arrays if name not in used] if chosen else []
    origin = f"{counts[first]} samples of {dataset.origin}"
    if rows[first] > counts[first] > 0 and rows[first] % bound[first].shape[1]:
        origin += f", without the last {rows[first] % bound[first].shape[1]} that fill no batch"
    return Feeds(bound, labels, origin + (f", not used: {', '.join(sorted(unused))}" if unused else ""))


def _choose(dataset: Dataset, inputs: tuple[TensorSpec, ...]) -> dict[str, str]:
    """Input name to array name; empty when the files of a folder are the samples of the one input."""
    names = [spec.name for spec in inputs]
    if all(name in dataset.arrays for name in names):
        return {name: name for name in names}
    others = [name for name in dataset.arrays if name not in LABEL_NAMES]
    if len(names) == 1:
        if dataset.one_file_each and len(others) > 1 and "x" not in others:
            return {}
        only = "x" if "x" in dataset.arrays else others[0] if len(others) == 1 else None
        if only is not None:
            return {names[0]: only}
    if [f"arr_{index}" for index in range(len(names))] == others:  # np.savez without names
        return dict(zip(names, others, strict=True))
    expected = ", ".join(str(spec) for spec in inputs)
    found = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in dataset.arrays.items())
    raise DataError(
        f"--data {dataset.origin}: no array for each input. Expected {expected}; found {found}.",
        hint=f"np.savez('data.npz', {', '.join(f'{name}=…' for name in names)}, labels=…)",
    )


def _stack(dataset: Dataset, spec: TensorSpec) -> Array:
    """The files of a folder as samples of one input, in the order of their names."""
    files = {name: array for name, array in dataset.arrays.items() if name not in LABEL_NAMES}
    shapes = {array.shape for array in files.values()}
    if len(shapes) > 1:
        raise DataError(f"--data {dataset.origin}: its files differ in shape: {sorted(map(list, shapes))}.")
    shape = next(iter(shapes))
    join = np.concatenate if len(shape) == len(spec.shape) else np.stack
    joined: Array = join(list(files.values()))
    return joined


def _fit_dtype(array: Array, spec: TensorSpec, where: str) -> Array:
    """The array in the input's dtype, where that loses nothing a user would miss."""
    wanted = np.dtype(spec.dtype)
    if spec.scale is not None and array.dtype.kind == "f":
        wanted = np.dtype(np.float32)  # the agent quantizes it by the file's own scale
    if array.dtype == wanted:
        fitted = array
    elif array.dtype.kind == wanted.kind == "f":
        fitted = array.astype(wanted)
    elif array.dtype.kind in "iu" and wanted.kind in "iu":
        fitted = array.astype(wanted)
        if not np.array_equal(fitted, array):
            raise DataError(f"{where}: {array.dtype} values that do not fit input {spec.name!r} of {wanted}.")
    else:
        images = " Images in 0-255 need the scaling of the training: x.astype('float32') / 255." * (wanted.kind == "f")
        raise DataError(
            f"{where}: expected {wanted} for input {spec.name!r}, found {array.dtype}.",
            hint=f"Save it as {wanted}, preprocessed as in training.{images}",
        )
    bad = sum(int((~np.isfinite(part)).sum()) for part in _parts(fitted)) if fitted.dtype.kind == "f" else 0
    if bad:
        raise DataError(f"{where}: {bad} values are not finite (NaN or infinite).")
    return fitted


def _parts(array: Array) -> Iterator[Array]:
    """An array in pieces along its first axis, so that looking at all of it needs little memory."""
    rows = max(1, _PART_ELEMENTS // max(1, array[:1].size)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, rows):
        yield array[start : start + rows] if array.ndim else array


def _fit_shape(array: Array, spec: TensorSpec, where: str) -> tuple[Array, int]:
    """The array as samples of the input, and how many rows it had, one per label."""
    shape, found = spec.shape, array.shape
    if len(found) == len(shape) and shape and _fits(found[1:], shape[1:]):
        batch = shape[0] or 1
        count = found[0] // batch
        if count == 0:
            raise DataError(f"{where}: {found[0]} samples are fewer than the model's batch of {batch}.")
        return array[: count * batch].reshape(count, batch, *found[1:]), found[0]
    if len(found) == len(shape) + 1 and _fits(found[1:], shape):
        return array, len(array)
    if shape and shape[0] in (1, None) and _fits(found, shape[1:]):
        return array[None, None], 1
    wanted = "[N," + ",".join("?" if size is None else str(size) for size in shape[1:]) + "]"
    raise DataError(
        f"{where}: expected shape {wanted} for input {spec.name!r}, found {list(found)}.",
        hint=_layout_hint(found, spec),
    )


def _layout_hint(found: tuple[int, ...], spec: TensorSpec) -> str:
    """Says so when a transposition would make it fit."""
    inner = found[1:]
    for order, names in ((_NHWC_TO_NCHW, "channels last"), (_NCHW_TO_NHWC, "channels first")):
        axes = order.get(len(inner))
        if axes and _fits(tuple(inner[axis] for axis in axes), spec.shape[1:]):
            full = ", ".join(str(axis + 1) for axis in axes)
            return f"The data is {names} and the model is not: x.transpose(0, {full})."
    return "Samples go along the first axis, each of the model's own shape."


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(b in (a, None) for a, b in zip(found, wanted, strict=True))


def _fit_labels(labels: Array, samples: Array, rows: int, origin: str) -> Array | None:
    """Labels as ``(samples, batch)``; ``None`` when they are numbers to predict rather than classes."""
    flat = labels.reshape(-1) if labels.ndim == 0 or labels.shape[1:] == (1,) else labels
    if flat.dtype.kind == "f":
        whole = np.isfinite(flat) & (flat == np.floor(flat))
        if not whole.all():
            return None
        flat = flat.astype(np.int64)
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DataError(
            f"--data {origin}: labels must be whole numbers of shape [N], found {labels.dtype}{list(labels.shape)}.",
            hint="For one-hot labels: labels.argmax(1).",
        )
    count = len(samples)
    if len(flat) == rows:
        batch = samples.shape[1] if rows > count else 1
    elif rows == count and samples.ndim > 1 and len(flat) == count * samples.shape[1]:
        batch = samples.shape[1]
    else:
        raise DataError(f"--data {origin}: {len(flat)} labels for {rows} samples.")
    return flat[: count * batch].reshape(count, batch)


def random_feeds(signature: Signature, count: int, seed: int, upper: Mapping[str, int]) -> Feeds:
    """Seeded random samples: standard normal, or whole numbers below ``upper[name]`` (2 where it is not given).

    Args:
        signature: Dynamic dimensions count as 1.
        count: Number of samples.
        seed: Of NumPy's default generator.
        upper: Exclusive bound per integer input, such as the rows of an embedding.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in signature.inputs:
        shape = (count, *(size or 1 for size in spec.shape))
        if np.dtype(spec.dtype).kind == "f":
            arrays[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        elif spec.scale is not None:
            arrays[spec.name] = generator.standard_normal(shape).astype(np.float32)
        else:
            arrays[spec.name] = generator.integers(0, upper.get(spec.name, 2), shape).astype(spec.dtype)
    return Feeds(arrays, origin=f"{count} random samples, seed {seed}")
