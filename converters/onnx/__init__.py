"""ONNX files, for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from converters.graph import ONNX
from edgekit.plugins import Target

_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}  # of ModelProto, onnx.proto
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_GRAPH_FIELD = 7


def identify(path: Path) -> str | None:
    """Protobuf has no magic number: walk the outer fields and expect a graph among those of a ModelProto."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            key = _varint(file.read(10), file)
            if key is None or key >> 3 not in _MODEL_FIELDS:
                return None
            if key >> 3 == _GRAPH_FIELD:
                return "ONNX model" if key & 7 == _LENGTH else None
            if key & 7 == _VARINT:
                if _varint(file.read(10), file) is None:
                    return None
            elif key & 7 == _LENGTH:
                length = _varint(file.read(10), file)
                if length is None or file.tell() + length > size:
                    return None
                file.seek(length, 1)
            else:
                file.seek({_FIXED64: 8, _FIXED32: 4}.get(key & 7, size), 1)
    return None


def _varint(window: bytes, file: BinaryIO) -> int | None:
    """The number at the start of ``window``; the file is moved to just behind it."""
    value = 0
    for index, byte in enumerate(window):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            file.seek(index + 1 - len(window), 1)
            return value
    return None


TARGET = Target(
    name="onnx",
    title="ONNX",
    form=ONNX,
    suffix=".onnx",
    runtime="onnxruntime",
    identify=identify,
    inspect="converters.onnx.inspect:inspect",
    preload=(),
    packages=("onnx",),
    extra="onnx",
)
