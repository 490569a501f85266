"""ONNX -> torch.export: the step, without the importer."""

from __future__ import annotations

from converters.graph import ONNX, TORCH_EXPORT
from edgekit.plugins import Step

STEPS = (
    Step(
        name="ONNX -> torch.export",
        source=ONNX,
        target=TORCH_EXPORT,
        schemes=(("float32", "float32"),),
        entry="converters.onnx_import.convert:convert",
        preload=("torch", "onnx"),
        packages=("onnx", "torch"),
        extra="onnx",
    ),
)
