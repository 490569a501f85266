"""``--dynamic``: axes that stay open in the result, and the proof that they do: it is run in other sizes, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.opening import Run
from edgekit import feeds as folders
from edgekit.errors import UnsupportedError, UsageError
from edgekit.feeds import Array, Feeds
from edgekit.requests import LoadRequest
from edgekit.types import Signature, TensorSpec

BATCH = "batch"
_BATCHES = (2, 5)
_SAMPLES = 4
"""How many samples each other size is compared on."""


def axes(request: LoadRequest, signature: Signature) -> dict[str, set[int]]:
    """The axes to keep open, by input.

    Args:
        request: Has what was typed: ``batch``, or ``NAME.AXIS``.
        signature: Of the model, with a size for every axis.

    Raises:
        UsageError: A word names no axis.
    """
    found: dict[str, set[int]] = {}
    for word in request.dynamic:
        name, dot, axis = word.rpartition(".")
        shapes = {spec.name: spec.shape for spec in signature.inputs}
        if word == BATCH:
            for spec in signature.inputs:
                if spec.shape:
                    found.setdefault(spec.name, set()).add(0)
        elif dot and name in shapes and axis.isdecimal() and int(axis) < len(shapes[name]):
            found.setdefault(name, set()).add(int(axis))
        else:
            known = ", ".join(map(str, signature.inputs))
            raise UsageError(
                f"--dynamic {word}: no such axis; the inputs are {known}.",
                hint=f"--dynamic {BATCH}   or   --dynamic {signature.inputs[0].name}.1   (axes count from 0)",
            )
    return found


def opened(signature: Signature, found: Mapping[str, set[int]], outputs: Mapping[str, set[int]]) -> Signature:
    """The signature with ``None`` for the axes that stay open."""
    return Signature(
        tuple(_opened(spec, found.get(spec.name, set())) for spec in signature.inputs),
        tuple(_opened(spec, outputs.get(spec.name, set())) for spec in signature.outputs),
    )


def _opened(spec: TensorSpec, open_axes: set[int]) -> TensorSpec:
    return replace(spec, shape=tuple(None if axis in open_axes else size for axis, size in enumerate(spec.shape)))


def write_sizes(request: LoadRequest, signature: Signature, chosen: Feeds, run: Run) -> Signature:
    """Run the source in two other sizes, and write samples and outputs (``sizes/0`` and ``sizes/1``).

    Args:
        request: Says which axes, and where.
        signature: With the sizes of ``chosen``.
        chosen: Samples in the model's usual size.
        run: The source.

    Returns:
        The signature with open axes: those asked for, and those of outputs that follow them. As it is where nothing
        was asked for.

    Raises:
        UsageError: A word names no axis.
        UnsupportedError: The source itself does not take another size.
    """
    found = axes(request, signature)
    if not found:
        return signature
    moving: dict[str, set[int]] = {}
    for number in range(len(_BATCHES)):
        samples = _resized(chosen, found, number)
        outputs: dict[str, list[Array]] = {spec.name: [] for spec in signature.outputs}
        for sample in samples.samples():
            try:
                results = run(sample)
            except Exception as error:
                sizes = "; ".join(f"{name} {list(array.shape)}" for name, array in sample.items())
                raise UnsupportedError(
                    f"{request.path}: --dynamic {' '.join(request.dynamic)}: the source itself fails with {sizes}: "
                    f"{error}",
                    hint="Leave --dynamic out, or name axes that the model leaves open.",
                ) from error
            for name, values in outputs.items():
                values.append(np.asarray(results[name]))
        arrays = {name: np.stack(values) for name, values in outputs.items()}
        for spec in signature.outputs:
            sizes_now = arrays[spec.name].shape[1:]
            moving.setdefault(spec.name, set()).update(
                axis for axis, (now, before) in enumerate(zip(sizes_now, spec.shape, strict=True)) if now != before
            )
        folder = Path(request.into) / "sizes" / str(number)
        folders.write(folder / "feeds", samples)
        folders.write(folder / "reference", Feeds(arrays, origin=samples.origin))
    return opened(signature, found, moving)


def _resized(chosen: Feeds, found: Mapping[str, set[int]], number: int) -> Feeds:
    """A few samples in another size: real ones side by side for a batch, cut or repeated for another axis."""
    arrays = {name: np.array(array[: _SAMPLES * _BATCHES[number]]) for name, array in chosen.arrays.items()}
    batch = _BATCHES[number]
    for name, array in arrays.items():
        for axis in sorted(found.get(name, set())):
            array = _in_batches(array, batch) if axis == 0 else _cut(array, axis + 1, number)
        arrays[name] = array
    count = min(len(array) for array in arrays.values())
    shown = "; ".join(f"{name} {list(array.shape[1:])}" for name, array in arrays.items())
    return Feeds({name: array[:count] for name, array in arrays.items()}, origin=f"{count} samples of {shown}")


def _in_batches(array: Array, batch: int) -> Array:
    """Samples of ``(1, …)`` as samples of ``(batch, …)``; they are repeated where there are too few."""
    rows = array.reshape(-1, *array.shape[2:])
    wanted = max(1, len(rows) // batch) * batch
    return np.resize(rows, (wanted, *rows.shape[1:])).reshape(-1, batch, *rows.shape[1:])


def _cut(array: Array, axis: int, number: int) -> Array:
    size = array.shape[axis]
    wanted = size // (2, 4)[number] if size > 4 else size + number + 1
    taken: Array = np.take(array, np.arange(wanted) % size, axis=axis)
    return taken
