"""TFLite files, for LiteRT."""

from __future__ import annotations

from pathlib import Path

from converters.graph import TFLITE
from edgekit.plugins import Target


def identify(path: Path) -> str | None:
    """A flatbuffer carries its file identifier in bytes 4 to 7."""
    with path.open("rb") as file:
        return "TFLite model" if file.read(8)[4:8] == b"TFL3" else None


TARGET = Target(
    name="tflite",
    title="TFLite",
    form=TFLITE,
    suffix=".tflite",
    runtime="litert",
    identify=identify,
    inspect="converters.tflite.inspect:inspect",
    preload=(),
    packages=("ai_edge_litert",),
    extra="tflite",
)
