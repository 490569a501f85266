"""Whether this machine and this Python environment are fit for edgekit."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from edgekit import cpu, packages, registry
from edgekit.errors import EdgekitError
from edgekit.types import SCHEMA_VERSION, DeviceFacts, to_json

_LITTLE_DISK_BYTES = 2 * 10**9
"""Conversions keep several copies of a model in the temporary folder."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        python: Version.
        python_required: The range edgekit is made for.
        python_fits: Whether it is in it.
        machine: Processor, cores, memory.
        features: Instructions that matter for int8.
        int8: What they mean for it.
        temp_folder: Where scratch files go.
        temp_free_bytes: Room there.
        extras: edgekit's requirements and extras.
        findings: Clashes and breakages first, remarks after them.
    """

    python: str
    python_required: str
    python_fits: bool
    machine: DeviceFacts
    features: tuple[cpu.Feature, ...]
    int8: str
    temp_folder: str
    temp_free_bytes: int
    extras: tuple[packages.Extra, ...]
    findings: tuple[packages.Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is broken; extras that are not installed are no fault."""
        return not any(finding.problem for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        extras = packages.as_json(self.extras)
        return {"schema_version": SCHEMA_VERSION, "healthy": self.healthy, **to_json(self), "extras": extras}


def examine() -> Diagnosis:
    """Look at everything. Imports no framework and changes nothing."""
    features = cpu.features()
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    required, fits = _python()
    asked = packages.extras()
    found = [*_own_findings(fits, required), *packages.findings(asked), *_disk(folder, free)]
    return Diagnosis(
        python=platform.python_version(),
        python_required=required,
        python_fits=fits,
        machine=registry.host().facts(),
        features=features,
        int8=cpu.int8_outlook(features),
        temp_folder=folder,
        temp_free_bytes=free,
        extras=asked,
        findings=tuple(sorted(found, key=lambda finding: not finding.problem)),
    )


def _python() -> tuple[str, bool]:
    import importlib.metadata

    from packaging.specifiers import SpecifierSet

    required = importlib.metadata.metadata("edgekit")["Requires-Python"]
    return required, SpecifierSet(required).contains(platform.python_version(), prereleases=True)


def _own_findings(python_fits: bool, required: str) -> list[packages.Finding]:
    """What is wrong with Python itself, and with what edgekit's own names lead to."""
    found = []
    if not python_fits:
        what = f"Python {platform.python_version()} is not supported; edgekit needs {required}."
        found.append(packages.Finding(True, what, f"make an environment with a Python {required}"))
    if sys.platform != "linux":
        what = f"edgekit is tested on Linux; some figures are not available on {platform.system()}."
        found.append(packages.Finding(False, what))
    try:
        registry.check_no_shadow()
    except EdgekitError as error:
        found.append(packages.Finding(True, error.message, error.hint))
    return found


def _disk(folder: str, free: int) -> list[packages.Finding]:
    if free >= _LITTLE_DISK_BYTES:
        return []
    what = f"Only {free / 1e9:.1f} GB are free in {folder}, where conversions keep copies of the model."
    return [packages.Finding(False, f"{what} TMPDIR names another folder{_now()}.")]


def _now() -> str:
    return f" (now {os.environ['TMPDIR']})" if "TMPDIR" in os.environ else ""
