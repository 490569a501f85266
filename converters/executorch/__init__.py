"""ExecuTorch programs (.pte), with the XNNPACK delegate."""

from __future__ import annotations

from pathlib import Path

from converters.graph import PTE
from edgekit.plugins import Target


def identify(path: Path) -> str | None:
    """A flatbuffer carries its file identifier in bytes 4 to 7: ``ET`` and two digits."""
    with path.open("rb") as file:
        identifier = file.read(8)[4:8]
    return "ExecuTorch program" if identifier[:2] == b"ET" and identifier[2:].isdigit() else None


TARGET = Target(
    name="executorch",
    title="ExecuTorch",
    form=PTE,
    suffix=".pte",
    runtime="executorch",
    identify=identify,
    inspect="converters.executorch.inspect:inspect",
    preload=(),
    packages=("executorch",),
    extra="executorch",
)
