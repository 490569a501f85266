"""Opening a source model: in one short-lived child, which leaves a code-free program and reference outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit import registry
from edgekit.data import Dataset
from edgekit.errors import UnsupportedError
from edgekit.jobs import DEFAULT_TIMEOUT_S, Job, Workers
from edgekit.plugins import Source
from edgekit.types import Signature, from_json


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        model_code: ``FILE.py:NAME`` or ``package.module:NAME``: what builds the network.
        trust: Whether code inside the file may run.
        inputs: ``NAME=1,3,224,224[:dtype]``, as typed.
        timeout_s: Time limit of each child.
    """

    model_code: str | None = None
    trust: bool = False
    inputs: tuple[str, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S


@dataclass(frozen=True)
class OpenedSource:
    """What the child left.

    Attributes:
        path: The user's file.
        kind: What it turned out to be, in words.
        form: The form of ``program``.
        program: The code-free program; does not exist where it was not asked for.
        signature: With the user's names.
        feeds: Inputs that the reference outputs belong to.
        reference: The source's own outputs on them (both :mod:`edgekit.feeds` folders).
        calibration: Samples to calibrate with, a feeds folder; ``None`` where none were asked for.
        fingerprint: Hash of what the program computes, weights included.
        random_inputs: Whether ``feeds`` are random.
        notes: What a user should know.
        variant: What was done to ``program`` since; empty when nothing.
        quantized: Whether the model arrived quantized.
        suspicion: Why the data does not look like what the model was trained on; empty when it does.
    """

    path: Path
    kind: str
    form: str
    program: Path
    signature: Signature
    feeds: Path
    reference: Path
    calibration: Path | None
    fingerprint: str
    random_inputs: bool
    notes: tuple[str, ...]
    variant: str = ""
    quantized: bool = False
    suspicion: str = ""


def identify_source(path: Path) -> tuple[Source, str]:
    """The source that a file belongs to, and its kind in words.

    Raises:
        UnsupportedError: It is no source that edgekit reads.
    """
    plugin, kind = registry.identify(path)
    if isinstance(plugin, Source):
        return plugin, kind
    readable = ", ".join(source.title for source in registry.sources().values())
    raise UnsupportedError(
        f"{path}: {kind} as a source is not supported yet; edgekit converts from {readable}.",
        hint=f"Convert the model it was made from, or measure it: edgekit profile {path}",
    )


def open_source(
    path: Path,
    workers: Workers,
    *,
    options: SourceOptions,
    data: Dataset | None = None,
    random_calibration: int = 0,
    calibration_samples: int = 0,
    samples: int | None = None,
    program: bool = True,
) -> OpenedSource:
    """Read a source model, run it for reference, and write it as a form to convert from.

    Args:
        path: The model file.
        workers: Runs the child.
        options: How to read it.
        data: Calibration or test data; seeded random inputs are used when there is none.
        random_calibration: Number of random samples to calibrate with, where a user asked for that.
        calibration_samples: Number of samples of the data to calibrate with, drawn with a fixed seed.
        samples: Number of samples to run for reference, drawn from the others; all of them when ``None``.
        program: Whether the form is wanted, or the reference outputs alone.

    Raises:
        UnsupportedError: The file is no source that edgekit reads.
        EdgekitError: Whatever reading it raised.
    """
    plugin, kind = identify_source(path)
    registry.require(plugin.packages, plugin.extra, f"Reading {path.name} ({kind})")
    into = workers.scratch / f"source-{path.name}"
    into.mkdir(exist_ok=True)
    arguments = {
        "path": str(path),  # as typed: it stands in messages; a job works in the same folder
        "model_code": options.model_code,
        "trust": options.trust,
        "inputs": list(options.inputs),
        "data": None if data is None else str(data.save(into / "data")),
        "random_calibration": random_calibration,
        "calibration_samples": calibration_samples,
        "samples": samples,
        "program": program,
        "into": str(into),
    }
    job = Job(f"{path.name}: read and export", plugin.load, arguments, plugin.preload, options.timeout_s)
    loaded = workers.call(job)
    return OpenedSource(
        path=path,
        kind=loaded["kind"],
        form=plugin.form,
        program=Path(loaded["program"]),
        signature=from_json(Signature, loaded["signature"]),
        feeds=into / "feeds",
        reference=into / "reference",
        calibration=into / "calibration" if random_calibration or (data is not None and calibration_samples) else None,
        fingerprint=loaded["fingerprint"],
        random_inputs=data is None,
        notes=tuple(loaded["notes"]),
        suspicion=loaded["suspicion"],
        quantized=loaded["quantized"],
    )
