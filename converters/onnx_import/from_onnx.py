"""ONNX -> torch.export: the step, without the importer."""

from __future__ import annotations

from converters.graph import ONNX, TORCH_EXPORT
from edgekit.plugins import Step

_RESTORED = ("int8", "int8-dynamic", "int8-weights", "int4-weights", "int16x8")
"""Schemes whose integers can be computed with as the floats that they stand for."""

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
    Step(
        name="quantized ONNX -> torch.export",
        source=ONNX,
        target=TORCH_EXPORT,
        # What keeps the integers first: of ways of one length the first is taken.
        schemes=(
            ("int8", "int8"),
            ("int8-dynamic", "int8-dynamic"),
            *((scheme, "float32") for scheme in _RESTORED),
        ),
        entry="converters.onnx_import.convert:convert_quantized",
        preload=("torch", "onnx"),
        packages=("onnx", "torch"),
        extra="onnx",
        options=("keep_rounding",),
    ),
)
