"""Opening a source model: in one short-lived child, which leaves a code-free program and reference outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.data import Dataset
from edgekit.errors import UnsupportedError
from edgekit.jobs import Job, Workers
from edgekit.options import SourceOptions, check_options
from edgekit.plugins import Node, Source
from edgekit.requests import LoadRequest
from edgekit.types import Signature, from_json, to_json


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
        sizes: Folders with ``feeds`` and ``reference`` in other sizes, where axes stay open (``--dynamic``).
        scheme: Of ``program``: that of a file that arrived in a target's own format, else float32.
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
    scheme: str = "float32"
    sizes: tuple[Path, ...] = ()

    @property
    def node(self) -> Node:
        """Where its conversions start."""
        return Node(self.form, self.scheme)


def identify_source(path: Path) -> tuple[Source, str]:
    """The source that a file or folder belongs to, and its kind in words.

    Raises:
        UnsupportedError: It is no source that edgekit reads.
    """
    found = registry.identify_source(path)
    if found is not None:
        return found
    _, kind = registry.identify(path)
    readable = ", ".join(source.title for source in registry.sources().values())
    raise UnsupportedError(
        f"{path}: {kind} as a source is not supported yet; edgekit converts from {readable}.",
        hint=f"Convert the model it was made from, or measure it: edgekit profile {path}",
    )


def arrived_scheme(path: Path, workers: Workers, timeout_s: float) -> str:
    """The scheme that a model file is in already; float32 for sources whose files have none."""
    plugin, kind = identify_source(path)
    if not plugin.arrives:
        return "float32"
    registry.require(plugin.packages, plugin.extra, f"Reading {path.name} ({kind})")
    job = Job(f"{path.name}: look inside", plugin.arrives, {"path": str(path)}, plugin.preload, timeout_s)
    return str(workers.call(job))


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
    scheme: str = "float32",
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
        scheme: That the file arrives in (:func:`arrived_scheme`).

    Raises:
        UnsupportedError: The file is no source that edgekit reads.
        EdgekitError: Whatever reading it raised.
    """
    plugin, kind = identify_source(path)
    registry.require(plugin.packages, plugin.extra, f"Reading {path.name} ({kind})")
    into = workers.scratch / f"source-{path.name}"
    into.mkdir(exist_ok=True)
    check_options(plugin, options)
    request = replace(
        options.request(path),
        data=None if data is None else str(data.save(into / "data")),
        random_calibration=random_calibration,
        calibration_samples=calibration_samples,
        samples=samples,
        program=program,
        into=str(into),
    )
    arguments = {"request": to_json(request)}
    job = Job(f"{path.name}: read and export", plugin.load, arguments, plugin.preload, options.timeout_s)
    loaded = workers.call(job)
    if options.layouts:
        loaded = loaded | _relaid(plugin, request, loaded, workers, options.timeout_s)
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
        scheme=scheme,
        sizes=tuple(sorted((into / "sizes").iterdir())) if options.dynamic else (),
    )


def _relaid(
    plugin: Source, request: LoadRequest, loaded: Mapping[str, Any], workers: Workers, timeout_s: float
) -> dict[str, Any]:
    """What the source left, with the layouts that were asked for."""
    relayout = registry.relayouts()[plugin.form]
    arguments = {
        "request": to_json(request),
        "signature": loaded["signature"],
        "program": loaded["program"],
        "native": plugin.layout,
    }
    job = Job(f"{Path(request.path).name}: change the layout", relayout.entry, arguments, relayout.preload, timeout_s)
    changed = workers.call(job)
    # Ranges are kept by fingerprint: those of another layout belong to another program.
    fingerprint = f"{loaded['fingerprint']} {' '.join(request.layouts)}"
    return {**changed, "notes": [*loaded["notes"], *changed["notes"]], "fingerprint": fingerprint}
