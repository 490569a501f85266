"""TFLite -> ONNX, through tf2onnx's reader of TFLite; files in int8 become QDQ models with the same numbers."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from converters import transposes
from converters.graph import ONNX, TFLITE, StepResult
from converters.onnx import _io as io
from converters.onnx import _tf2onnx as tf2onnx
from converters.onnx import _tf_operators, _tfl_operators
from converters.onnx._tfl_prepare import Prepared, prepare
from converters.onnx.layers import layers_of
from converters.saved_model import operators
from edgekit.errors import ConversionError, first_line
from edgekit.plugins import Step
from edgekit.types import Signature, TensorSpec, from_json


def convert(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Convert a TFLite file with one signature to an ONNX file with the same names, dtypes and scheme.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone.

    Raises:
        UnsupportedError: Operators without a conversion, all of them listed.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    logging.disable(logging.WARNING)
    names = from_json(Signature, signature)
    prepared = prepare(Path(source), names)
    model = _run(prepared, Path(output).parent)
    model = tf2onnx.finish(
        model, Path(output), names, prepared.inputs, prepared.outputs, prepared.layers, _borders(names)
    )
    return {
        "stayed_float": [],
        "undelegated": [],
        "notes": transposes.notes(layers_of(model)),
        "packages": ["onnx", "tensorflow", "tf2onnx"],
    }


def _run(prepared: Prepared, scratch: Path) -> Any:
    with tf2onnx.listening() as heard, tempfile.TemporaryDirectory(dir=scratch) as folder:
        from tf2onnx import convert as converter

        _tf_operators.register()
        _tfl_operators.register()
        known = _tfl_operators.known()
        operators.check("ONNX", [item for item in prepared.operators if item[0].removeprefix("custom:") not in known])
        file = Path(folder, "model.tflite")
        file.write_bytes(prepared.content)
        try:
            model, _ = converter.from_tflite(
                str(file),
                opset=tf2onnx.newest_opset(),
                input_names=list(prepared.inputs),
                output_names=list(prepared.outputs),
            )
        except Exception as error:  # whatever a handler raised
            operators.check("ONNX", _placed(prepared, heard.unknown))
            raise ConversionError(f"tf2onnx: {first_line(error)}") from error
    operators.check("ONNX", _placed(prepared, [*heard.unknown, *tf2onnx.foreign(model)]))
    tf2onnx.refuse_failed(heard, prepared.layers)
    return model


def _placed(prepared: Prepared, found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.removeprefix("TFL_"), tf2onnx.layer_in(node, prepared.layers)) for name, node in found]


def _borders(signature: Signature) -> dict[str, str]:
    """Metadata that tells scale and zero point of integer inputs and outputs."""
    specs: list[TensorSpec] = [*signature.inputs, *signature.outputs]
    scaled = {
        spec.name: {"scale": spec.scale, "zero_point": spec.zero_point} for spec in specs if spec.scale is not None
    }
    return {io.KEY: json.dumps(scaled)} if scaled else {}


STEPS = (
    Step(
        name="TFLite -> ONNX",
        source=TFLITE,
        target=ONNX,
        schemes=(("float32", "float32"), ("int8", "int8")),
        entry="converters.onnx.from_tflite:convert",
        preload=("tensorflow", "tf2onnx"),
        packages=("onnx", "onnxruntime", "tensorflow", "tf2onnx", "ai_edge_litert"),
        extra="tensorflow",
    ),
)
