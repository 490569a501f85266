"""What is in a model file, source or converted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.compression import compressed_bytes
from edgekit.jobs import Job, Workers, wait_for_any
from edgekit.options import SourceOptions, check_options, named
from edgekit.paths import existing, size_bytes
from edgekit.plugins import Source
from edgekit.progress import Progress
from edgekit.scratch import scratch_folder
from edgekit.types import SCHEMA_VERSION, to_json

RANGES = "edgekit ranges"
"""The ``format`` of calibration ranges."""


def inspect(
    path: str | Path,
    *,
    options: SourceOptions | None = None,
    data: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Read a file's facts in a child process. A converted file is not run, so no runtime is needed.

    Args:
        path: The file; what it is is told by its content.
        options: How to read a source; of a converted file, ``inputs`` are the sizes to count its work for.
        data: Folder of an :class:`edgekit.data.Dataset`, for sizes that a source leaves to it.
        progress: Told about the child.

    Returns:
        ``schema_version``, ``path``, ``size_bytes``, ``compressed_bytes`` (:mod:`edgekit.compression`; ``None`` of very
        large files), both with the files beside it that belong to it, and the fields of
        :class:`converters.facts.ModelFacts`; for the ranges that calibration kept, ``format`` and the fields of
        :class:`converters.calibration.ranges.Ranges`.

    Raises:
        UsageError: The file is missing, empty, unreadable or a folder.
        UnsupportedError: It is no model file that edgekit knows.
        MissingDependencyError: A package that reads it is not installed.
        ConversionError: It is damaged.
    """
    chosen = options or SourceOptions()
    file, chosen = named(path, chosen)
    file = existing(file)
    if not file.is_dir() and registry.function("converters.calibration:identify")(file):
        return _ranges(str(path), file)
    plugin, kind = registry.identify(file)
    registry.require(plugin.packages, plugin.extra, f"Reading {file.name} ({kind})")
    arguments: dict[str, Any] = {"path": str(file), "inputs": list(chosen.inputs)}
    if isinstance(plugin, Source):
        check_options(plugin, chosen)
        request = replace(chosen.request(file), data=None if data is None else str(data))
        arguments = {"request": to_json(request)}
    job = Job(f"{file.name}: inspect", plugin.inspect, arguments, plugin.preload, chosen.timeout_s)
    with scratch_folder() as scratch, Workers(scratch, parallel=1, progress=progress) as workers:
        begun = workers.submit(job)
        compressed = compressed_bytes([file])  # meanwhile
        wait_for_any([begun])
        facts = begun.result()
    beside = [file.parent / name for name in facts["beside"]]
    others = compressed_bytes(beside)
    return {
        "schema_version": SCHEMA_VERSION,
        "path": str(path),
        "size_bytes": sum(map(size_bytes, [file, *beside])),
        "compressed_bytes": None if compressed is None or others is None else compressed + others,
        **facts,
    }


def _ranges(path: str, file: Path) -> dict[str, Any]:
    """What calibration found out."""
    found = registry.function("converters.calibration.ranges:read")(file)
    head = {"schema_version": SCHEMA_VERSION, "path": path, "size_bytes": file.stat().st_size}
    return {**head, "format": RANGES, **to_json(found)}
