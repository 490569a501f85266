"""What every source does once it can run its model: samples, reference outputs, and the answer to the command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import feeds as folders
from edgekit import reporting, splitting
from edgekit.data import RANDOM_SAMPLES, SEED, Dataset, bind, random_feeds
from edgekit.errors import ConversionError
from edgekit.feeds import Array, Feeds
from edgekit.publish import sha256
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature, to_json

Run = Callable[[dict[str, Array]], Mapping[str, Array]]
"""Runs the source itself on one sample: arrays by input name in, arrays by output name out."""


def dataset_of(request: LoadRequest) -> Dataset | None:
    """The user's data, if there is any."""
    return None if request.data is None else Dataset.open(Path(request.data))


def write_feeds(
    request: LoadRequest,
    signature: Signature,
    upper: Mapping[str, int] | None = None,
    made: Callable[[int, int], Feeds] | None = None,
) -> Feeds:
    """Write the samples to compare on (``feeds``) and those to calibrate with (``calibration``).

    Args:
        request: Says how many, and where the data is.
        signature: Of the model; dynamic dimensions count as 1 where there is no data.
        upper: Exclusive bound of random whole numbers, by input: the rows of an embedding.
        made: ``(count, seed)``: makes samples that are better than random ones where there is no data.

    Returns:
        The samples to compare on.

    Raises:
        DataError: The data does not fit the signature.
    """
    into, dataset = Path(request.into), dataset_of(request)
    if dataset is None:
        make = made or (lambda count, seed: random_feeds(signature, count, seed, upper or {}))
        chosen = make(RANDOM_SAMPLES, SEED)
        if request.random_calibration:
            folders.write(into / "calibration", make(request.random_calibration, SEED + 1))
        folders.write(into / "feeds", chosen)
        return chosen
    everything = bind(dataset, signature)
    split = splitting.split(everything.count, request.calibration_samples, request.samples)
    if request.calibration_samples:
        folders.write_some(into / "calibration", everything, split.calibration, advance=reporting.advance)
    return folders.write_some(into / "feeds", everything, split.check, split.words, reporting.advance)


def write_reference(request: LoadRequest, signature: Signature, chosen: Feeds, run: Run) -> dict[str, Array]:
    """Run the source on every sample, one at a time, and write its outputs (``reference``) as they come.

    Args:
        request: Says where.
        signature: Its outputs, in order, are what is kept.
        chosen: The samples, as :func:`write_feeds` returns them.
        run: The source.

    Returns:
        The outputs, of shape ``(samples, *shape)``.
    """
    arrays: dict[str, Array] = {}
    for index, sample in enumerate(chosen.samples()):
        found = run(sample)
        outputs = {spec.name: np.asarray(found[spec.name]) for spec in signature.outputs}
        if not arrays:
            shapes = {name: (value.shape, value.dtype) for name, value in outputs.items()}
            into = Path(request.into) / "reference"
            arrays = folders.create(into, shapes, chosen.count, labels=chosen.labels, origin=chosen.origin)
        for name, value in outputs.items():
            if value.shape != arrays[name].shape[1:]:
                raise ConversionError(
                    f"{request.path}: output {name!r} has another shape for every sample ({arrays[name].shape[1:]}, "
                    f"{value.shape}…), and outputs are compared element by element.",
                    hint="Give samples of one size, or pad the output in the model.",
                )
            arrays[name][index] = value
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    return arrays


def loaded(
    request: LoadRequest,
    *,
    kind: str,
    signature: Signature,
    program: str,
    fingerprint: str,
    quantized: bool = False,
    notes: Sequence[str] = (),
    suspicion: str = "",
) -> Loaded:
    """The answer of a source's job; ``program`` is the name of the file or folder below ``request.into``."""
    return {
        "kind": kind,
        "signature": to_json(signature),
        "program": str(Path(request.into) / program),
        "fingerprint": fingerprint,
        "quantized": quantized,
        "notes": list(notes),
        "suspicion": suspicion,
    }


def fingerprint(*parts: Path | str) -> str:
    """A hash of files and folders by content, and of words."""
    digests = [sha256(part) if isinstance(part, Path) else part for part in parts]
    return hashlib.sha256("\0".join(digests).encode()).hexdigest()


def as_arrays(names: Sequence[str], values: Sequence[Any]) -> dict[str, Array]:
    """Outputs by name."""
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
