"""SavedModel -> ONNX, through tf2onnx."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters import transposes
from converters.graph import ONNX, SAVED_MODEL, StepResult
from converters.onnx import _tf2onnx as tf2onnx
from converters.onnx import _tf_operators
from converters.onnx.layers import layers_of
from converters.saved_model import frozen, operators
from edgekit.errors import ConversionError, first_line
from edgekit.plugins import Step
from edgekit.types import Signature, from_json


def convert(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Convert a SavedModel form to a float ONNX file with the user's names.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone.

    Raises:
        UnsupportedError: Operators without a conversion, all of them listed.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    logging.disable(logging.WARNING)
    names = from_json(Signature, signature)
    graph = frozen.freeze(source, len(names.inputs), len(names.outputs))
    layers = {_layer(node.name) for node in graph.graph.node}
    model = tf2onnx.finish(_run(graph), Path(output), names, graph.inputs, graph.outputs, layers)
    return {
        "stayed_float": [],
        "undelegated": [],
        "notes": transposes.notes(layers_of(model)),
        "packages": ["onnx", "tensorflow", "tf2onnx"],
    }


def _run(graph: frozen.Frozen) -> Any:
    import tensorflow as tf

    with tf2onnx.listening() as heard:
        from tf2onnx import convert as converter
        from tf2onnx import tf_loader

        _tf_operators.register()
        names: list[list[str]] = [list(graph.inputs), list(graph.outputs)]
        try:
            with tf.device("/cpu:0"), tf.Graph().as_default():
                optimized = tf_loader.tf_optimize(*names, graph.graph)
                model, _ = converter._convert_common(
                    optimized,
                    continue_on_error=True,
                    opset=tf2onnx.newest_opset(),
                    input_names=names[0],
                    output_names=names[1],
                )
        except Exception as error:  # whatever a handler raised
            operators.check("ONNX", _placed(heard.unknown))
            raise ConversionError(f"tf2onnx: {first_line(error)}") from error
    operators.check("ONNX", _placed([*heard.unknown, *tf2onnx.foreign(model)]))
    tf2onnx.refuse_failed(heard, {_layer(node.name) for node in graph.graph.node})
    return model


def _placed(found: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(operator, _layer(name)) for operator, name in found]


def _layer(name: str) -> str:
    """``block.conv`` of ``block/conv/BiasAdd``."""
    return ".".join(name.split("/")[:-1])


STEPS = (
    Step(
        name="SavedModel -> ONNX",
        source=SAVED_MODEL,
        target=ONNX,
        schemes=(("float32", "float32"),),
        entry="converters.onnx.from_saved_model:convert",
        preload=("tensorflow", "tf2onnx"),
        packages=("onnx", "onnxruntime", "tensorflow", "tf2onnx"),
        extra="tensorflow",
    ),
)
