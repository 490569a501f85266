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


REFUSED = {
    # Measured with executorch 1.5.1 and torchao 0.18 on two Linear layers (192, 64, 10) and inputs of magnitude 1: the
    # file lowers and runs without a word, and is off by 1.2e6 with 8-bit and by 4.3e3 with 4-bit weights.
    "int8-weights": "XNNPACK computes wrong results with 8-bit weights beside float activations",
    "int16x8": "XNNPACK has no operators with 16-bit activations",
}

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
    refused=REFUSED,
)
