"""Ranges of activations: computed once per form of a model and data set, kept, and used again.

The kept files are ``converters.calibration.ranges`` files, which ``edgekit inspect`` shows. What a file belongs to is
in its name, as a hash of everything that decides on its content.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit import feeds, registry
from edgekit.data import SEED
from edgekit.errors import ConversionError
from edgekit.plugins import Calibration
from edgekit.source import OpenedSource
from edgekit.types import CalibrationFacts

_KEPT_FILES = 200
_CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where results are kept: ``$EDGEKIT_CACHE``, else below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    explicit = os.environ.get("EDGEKIT_CACHE")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgekit"


@dataclass(frozen=True)
class RangesPlace:
    """Where the ranges of one form of a model are, or will be kept.

    Attributes:
        path: The kept file.
        conditions: What its content depends on.
        reused: Whether it was there before this command.
    """

    path: Path
    conditions: Mapping[str, str]
    reused: bool

    def keep(self, made: Path) -> Path:
        """Keep a ranges file that a job has made, with its conditions in it.

        Returns:
            Where it is now; where nothing can be kept, that is ``made``.
        """
        content = json.loads(made.read_text())
        content["conditions"] = dict(self.conditions)
        made.write_text(json.dumps(content, indent=1) + "\n")
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(made.read_bytes())
            partial.replace(self.path)
        except OSError:  # a cache that cannot be written costs time at the next command, and nothing else
            return made
        finally:
            if partial.exists():
                partial.unlink()
        for old in sorted(self.path.parent.glob("*.json"), key=_age)[:-_KEPT_FILES]:
            old.unlink(missing_ok=True)
        return self.path

    def facts(self, path: Path, method: str) -> CalibrationFacts:
        """For the result of a command.

        Args:
            path: Where the ranges are now.
            method: That chooses among them.
        """
        content = json.loads(path.read_text())
        return CalibrationFacts(str(path) if path == self.path else "", method, int(content["samples"]), self.reused)


def place(opened: OpenedSource, calibration: Calibration, percentile: float) -> RangesPlace:
    """The place of the ranges of a form.

    Args:
        opened: The source, with calibration samples.
        calibration: Of the form.
        percentile: Of the method of that name.
    """
    assert opened.calibration is not None  # noqa: S101 - a scheme that needs it was asked for with data
    packages = (*calibration.packages, "edgekit")
    conditions = {
        "model": opened.fingerprint,
        "data": _hash_of(opened.calibration),
        "form": calibration.form,
        "program": opened.form,  # --optimize may have brought it to another, in which tensors have other names
        "percentile": f"{percentile:g}",
        "seed": str(SEED),
        "variant": opened.variant,
        **{f"version of {name}": version_of(name) for name in packages},
    }
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:16]
    name = f"{opened.path.stem}.{calibration.form.replace('.', '-')}.{digest}.ranges.json"
    path = cache_folder() / "ranges" / name
    return RangesPlace(path, conditions, path.exists() and _is_whole(path))


def _is_whole(path: Path) -> bool:
    """Whether a kept file can be read; one that cannot, a full disk may have cut it, is computed again and replaced."""
    try:
        registry.function("converters.calibration.ranges:read")(path)
    except ConversionError:
        return False
    return True


def _hash_of(folder: Path) -> str:
    """Of all arrays of a feeds folder."""
    found = hashlib.sha256()
    opened = feeds.read(folder)
    for name, array in opened.arrays.items():
        found.update(f"{name} {array.dtype} {array.shape}".encode())
    for file in sorted(folder.glob("[0-9]*.npy")):
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                found.update(chunk)
    return found.hexdigest()


@cache
def version_of(package: str) -> str:
    """Of the distribution that brings an import name; import names stand for themselves where they are its name."""
    from importlib.metadata import packages_distributions

    names: Any = packages_distributions().get(package, [package])
    return ", ".join(f"{name} {version(name)}" for name in sorted(set(names)))


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another command removed it
        return 0.0
