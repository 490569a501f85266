"""What converted files are run on: the user's data, or made-up samples, and a reference's outputs on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit import data as datasets
from edgekit import feeds, references, registry
from edgekit.data_options import DataOptions
from edgekit.device_plugins import Device
from edgekit.errors import UnsupportedError, UsageError
from edgekit.inputs import parse
from edgekit.jobs import Workers
from edgekit.options import SourceOptions
from edgekit.plugins import Target
from edgekit.types import Signature, TensorSpec


@dataclass(frozen=True)
class Samples:
    """Feeds for files, made as they are asked for.

    Attributes:
        folder: Where feeds are written.
        dataset: The user's data; ``None`` where samples are made up.
        inputs: ``--input``, as typed: sizes for dynamic dimensions.
        fixed: Feeds that every file gets, because the reference was run on them.
        reference: The reference's outputs on those.
        notes: What reading the reference had to say.
    """

    folder: Path
    dataset: datasets.Dataset | None = None
    inputs: tuple[str, ...] = ()
    fixed: Path | None = None
    reference: Path | None = None
    notes: tuple[str, ...] = ()

    def for_signature(self, signature: Signature, path: Path) -> Path:
        """A feeds folder for a file; files with the same inputs share one.

        Raises:
            DataError: The data does not fit.
            UsageError: There is no data, and the file leaves sizes open.
        """
        if self.fixed is not None:
            return self.fixed
        name = hashlib.sha256(repr(signature.inputs).encode()).hexdigest()[:16]
        folder = self.folder / f"feeds-{name}"
        if not folder.exists():
            made = self._made(signature, path)
            feeds.write_some(folder, made, np.arange(made.count))
        return folder

    def _made(self, signature: Signature, path: Path) -> feeds.Feeds:
        if self.dataset is not None:
            return datasets.bind(self.dataset, signature)
        inputs = tuple(_sized(spec, self.inputs, path) for spec in signature.inputs)
        sized = Signature(inputs, signature.outputs)
        return datasets.random_feeds(sized, datasets.RANDOM_SAMPLES, datasets.SEED, {})


def target_of(path: Path) -> Target:
    """The target whose file this is.

    Raises:
        UnsupportedError: It is a source model, or nothing known.
    """
    found = _target(path)
    if found is not None:
        return found
    _, kind = registry.identify(path)
    measured = ", ".join(target.suffix for target in registry.targets().values())
    raise UnsupportedError(
        f"{path}: {kind} is a model to convert; edgekit profile measures converted files ({measured}).",
        hint=f"edgekit convert {path} --to all   (and give it here as --reference {path})",
    )


def is_converted(path: Path) -> bool:
    """Whether this is a file of a target, and no source model."""
    return _target(path) is not None


def _target(path: Path) -> Target | None:
    if path.is_dir():
        return None
    return next((one for one in registry.targets().values() if one.identify(path) is not None), None)


def open_samples(
    reference: Path | None,
    data: str | None,
    data_options: DataOptions,
    options: SourceOptions,
    device: Device,
    threads: int,
    timeout_s: float,
    workers: Workers,
    *,
    fresh: bool = False,
) -> Samples:
    """Read the data, and run the reference on it.

    Args:
        reference: A source model, which a child runs, or a converted file, which an agent does.
        data: As typed after ``--data``.
        data_options: How to read it.
        options: How to read a source model.
        device: Where the agent of a converted file runs.
        threads: For it.
        timeout_s: Time limit of each request to it.
        workers: Run what needs a framework; files go to their scratch folder.
        fresh: Run a source model even where its outputs are kept (:mod:`edgekit.references`).
    """
    scratch = workers.scratch
    dataset = datasets.load(data, data_options, scratch, workers) if data is not None else None
    samples = Samples(scratch, dataset, options.inputs, notes=() if dataset is None else dataset.notes)
    if reference is None:
        return samples
    target = _target(reference)
    if target is None:
        ran = references.run(reference, workers, options=options, dataset=dataset, fresh=fresh)
        return replace(
            samples,
            fixed=ran.feeds,
            reference=ran.outputs,
            notes=(*samples.notes, *(f"{reference.name}: {note}" for note in ran.notes)),
        )
    with device.open_session(reference, target.name, threads, None, scratch, timeout_s) as session:
        fixed = samples.for_signature(session.signature, reference)
        return replace(samples, fixed=fixed, reference=session.outputs(fixed, scratch / "reference"))


def _sized(spec: TensorSpec, options: Sequence[str], path: Path) -> TensorSpec:
    """The input with the sizes that ``--input`` gives it; a batch that the file leaves open is 1."""
    given = (one.shape for one in map(parse, options) if one.name in ("", spec.name))
    shape = next(given, spec.shape)
    if None in shape[1:]:
        sizes = ",".join("1" if size is None else str(size) for size in spec.shape)
        raise UsageError(
            f"{path}: the file leaves sizes of its input open ({spec}), and latency depends on them.",
            hint=f"--input {spec.name}={sizes}   (with your sizes), or --data FILE with samples",
        )
    return TensorSpec(spec.name, shape, spec.dtype)
