"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiles.runtimes import Array, Model, Tensor

NAME = "onnxruntime"
TITLE = "ONNX Runtime"
TARGET = "onnx"
PACKAGES = ("numpy", "onnxruntime")
EXTRA = "onnx"
DISTRIBUTION = "onnxruntime"

BORDERS_KEY = "edgekit_io"
"""Metadata of files that edgekit wrote with integer inputs and outputs: name to ``scale`` and ``zero_point``."""

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


def start() -> None:
    """Import the package, silenced: its wheels since 1.29 report to their maker from a thread of their own.

    That thread is no part of what is measured, and nobody who measures a model has agreed to it. The package
    looks at the variable once, while it is imported; a user who has set it decides.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    importlib.import_module("onnxruntime")


def load(path: str, threads: int) -> Model:
    """Create a session, with the graph optimizations that are its default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin slow down whatever else is measured on a small CPU, by 2 to 4 times.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _Session(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


class _Session:
    def __init__(self, session: Any) -> None:
        self.session = session
        scales = json.loads(session.get_modelmeta().custom_metadata_map.get(BORDERS_KEY, "{}"))
        self.inputs = [_tensor(item, scales) for item in session.get_inputs()]
        self.outputs = [_tensor(item, scales) for item in session.get_outputs()]
        self.names = [item["name"] for item in self.outputs]
        self.notes: list[str] = []

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Any]:
        """One inference."""
        values = self.session.run(self.names, feed)
        return {name: values[index] for index, name in enumerate(self.names)}

    def undelegated(self) -> list[dict[str, str]] | None:
        """There is no delegate: all operators are its own."""
        return []


def _tensor(item: Any, scales: Mapping[str, Any]) -> Tensor:
    kind = item.type[len("tensor(") : -1] if item.type.startswith("tensor(") else item.type
    shape = [size if isinstance(size, int) else None for size in item.shape or ()]
    scaled = scales.get(item.name, {})
    return {
        "name": item.name,
        "shape": shape,
        "dtype": _DTYPES.get(kind, item.type),
        "scale": scaled.get("scale"),
        "zero_point": scaled.get("zero_point"),
    }
