"""Data meets a model: arrays are fitted to its signature, or refused with expected and found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from edgekit import pictures
from edgekit.dataset import LABEL_NAMES, Dataset
from edgekit.errors import DataError
from edgekit.feeds import Array, Feeds
from edgekit.types import Signature, TensorSpec

_PART_ELEMENTS = 1 << 22
_SHOWN_COLUMNS = 12
_NHWC_TO_NCHW = {2: (1, 0), 3: (2, 0, 1), 4: (3, 0, 1, 2)}
_NCHW_TO_NHWC = {2: (1, 0), 3: (1, 2, 0), 4: (1, 2, 3, 0)}


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
    if dataset.pictures is not None:
        return _bind_pictures(dataset, dataset.pictures, signature)
    chosen = _choose(dataset, signature.inputs)
    label_name = next((name for name in LABEL_NAMES if name in dataset.arrays and name not in chosen.values()), None)
    bound: dict[str, Array] = {}
    rows: dict[str, int] = {}
    for spec in signature.inputs:
        array = _array(dataset, chosen[spec.name], spec) if chosen else _stack(dataset, spec)
        where = f"--data {dataset.origin}: array {chosen[spec.name]!r}" if chosen else f"--data {dataset.origin}"
        array = _fit_dtype(array, spec, where)
        bound[spec.name], rows[spec.name] = _fit_shape(array, spec, where, _column_hint(dataset, spec))
    first = signature.inputs[0].name
    counts = {name: len(array) for name, array in bound.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"--data {dataset.origin}: the inputs have different numbers of samples: {counts}.")
    labels = None
    if label_name is not None:
        labels = _fit_labels(dataset.arrays[label_name], bound[first], rows[first], dataset.origin)
    used = {*chosen.values(), *((label_name,) if labels is not None else ())}
    unused = [name for name in dataset.arrays if name not in used] if chosen and not _by_column(dataset, chosen) else []
    origin = _origin(dataset, bound[first], rows[first])
    return Feeds(bound, labels, origin + (f", not used: {', '.join(sorted(unused))}" if unused else ""))


def _origin(dataset: Dataset, bound: Array, rows: int) -> str:
    words = f"{len(bound)} samples of {dataset.origin}"
    if rows > len(bound) > 0 and rows % bound.shape[1]:
        words += f", without the last {rows % bound.shape[1]} that fill no batch"
    return words


def _bind_pictures(dataset: Dataset, found: pictures.Pictures, signature: Signature) -> Feeds:
    """Pictures are decoded where the feeds are used."""
    where = f"--data {dataset.origin}"
    if len(signature.inputs) != 1:
        raise DataError(
            f"{where}: pictures fill one input, and the model has {', '.join(map(str, signature.inputs))}.",
            hint="A function of yours can give all of them: --data FILE.py:NAME, which yields {'input name': array, …}",
        )
    (spec,) = signature.inputs
    bound = pictures.as_array(found, spec, where)
    labels = dataset.arrays.get("labels")
    rows = len(found.files)
    fitted = None if labels is None else _fit_labels(labels, bound, rows, dataset.origin)
    return Feeds({spec.name: bound}, fitted, _origin(dataset, bound, rows))


def _by_column(dataset: Dataset, chosen: Mapping[str, str]) -> bool:
    return any(name not in dataset.arrays for name in chosen.values())


def _array(dataset: Dataset, name: str, spec: TensorSpec) -> Array:
    """An array, with what its format could not say taken from the input."""
    if name not in dataset.arrays:
        return _of_table(dataset.arrays["x"][:, [dataset.columns.index(name)]], spec)
    array = dataset.arrays[name]
    if dataset.columns:
        return _of_table(array, spec)
    if dataset.items:
        item = (len(array) // dataset.items, *array.shape[1:])
        # Samples without a batch dimension, or items that are just what the model takes.
        if len(item) == len(spec.shape) - 1 or (len(item) == len(spec.shape) and item[0] == spec.shape[0]):
            return array.reshape(dataset.items, *item)
    return array


def _of_table(rows: Array, spec: TensorSpec) -> Array:
    """Rows of numbers in the shape of the input; whole numbers where that takes such."""
    inner = spec.shape[1:]
    if len(inner) != 1 and None not in inner and math.prod(map(int, filter(None, inner))) == rows.shape[1]:
        rows = rows.reshape(len(rows), *map(int, filter(None, inner)))
    if np.dtype(spec.dtype).kind in "iu" and spec.scale is None and np.array_equal(rows, np.rint(rows)):
        rows = rows.astype(np.int64)
    return rows


def _column_hint(dataset: Dataset, spec: TensorSpec) -> str:
    """What to type where a table has other columns than a model has inputs."""
    wanted = math.prod(size or 1 for size in spec.shape[1:]) if len(spec.shape) > 1 else 0
    columns = list(dataset.columns)
    if not columns or len(columns) <= wanted:
        return ""
    if len(columns) == wanted + 1 and "labels" not in dataset.arrays:
        return (
            f"There is one column more than the input takes. If it is the label: --label-column {columns[0]} or "
            f"--label-column {columns[-1]}"
        )
    shown = ",".join(columns[len(columns) - wanted :]) if wanted < _SHOWN_COLUMNS else f"0-{wanted - 1}"
    return f"Name the {wanted} columns that are features, such as --columns {shown}"


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
    if dataset.columns and len(names) > 1 and all(name in dataset.columns for name in names):
        return {name: name for name in names}
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
    bad = sum(int((~np.isfinite(part)).sum()) for part in parts(fitted)) if fitted.dtype.kind == "f" else 0
    if bad:
        raise DataError(f"{where}: {bad} values are not finite (NaN or infinite).")
    return fitted


def parts(array: Array) -> Iterator[Array]:
    """An array in pieces along its first axis, so that looking at all of it needs little memory."""
    rows = max(1, _PART_ELEMENTS // max(1, array[:1].size)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, rows):
        yield array[start : start + rows] if array.ndim else array


def _fit_shape(array: Array, spec: TensorSpec, where: str, hint: str = "") -> tuple[Array, int]:
    """The array as samples of the input, and how many rows it had, one per label; ``hint`` helps where it is none."""
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
        hint=hint or _layout_hint(found, spec),
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
    """Classes as ``(samples, batch)``, numbers to predict as ``(samples, batch, …)``; ``None`` when not finite."""
    flat = labels.reshape(-1) if labels.ndim == 0 or labels.shape[1:] == (1,) else labels
    if flat.dtype.kind == "f":
        if not np.isfinite(flat).all():
            return None
        if not np.array_equal(flat, np.floor(flat)):
            return _by_sample(flat, samples, rows, origin)
        flat = flat.astype(np.int64)
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DataError(
            f"--data {origin}: labels must be whole numbers of shape [N], found {labels.dtype}{list(labels.shape)}.",
            hint="For one-hot labels: labels.argmax(1).",
        )
    return _by_sample(flat, samples, rows, origin)


def _by_sample(labels: Array, samples: Array, rows: int, origin: str) -> Array:
    """Labels along the first axis, as ``(samples, batch, …)``."""
    count = len(samples)
    if len(labels) == rows:
        batch = samples.shape[1] if rows > count else 1
    elif rows == count and samples.ndim > 1 and len(labels) == count * samples.shape[1]:
        batch = samples.shape[1]
    else:
        raise DataError(f"--data {origin}: {len(labels)} labels for {rows} samples.")
    return labels[: count * batch].reshape(count, batch, *labels.shape[1:])
