"""``--layout`` on a TFLite file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters import layouts
from converters.graph import TFLITE
from converters.tflite._file import serialized
from edgekit.plugins import Relayout
from edgekit.types import Signature


def relayout(request: dict[str, Any], signature: dict[str, Any], program: str, native: str) -> dict[str, Any]:
    """See :func:`converters.layouts.relayout`."""
    return layouts.relayout(request, signature, program, native, _rewrite)


def _rewrite(source: Path, output: Path, signature: Signature, changes: Mapping[str, layouts.Change]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    content = source.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    served = model.signatureDefs[0]  # the source has written exactly one
    graph = model.subgraphs[served.subgraphIndex]
    turned = []
    for entry in served.inputs:
        name = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
        change = changes.get(name)
        if change is None:
            continue
        inside, outside = entry.tensorIndex, len(graph.tensors)
        border = copy.copy(graph.tensors[inside])
        for field in ("shape", "shapeSignature"):
            sizes = getattr(border, field)
            if sizes is not None and len(sizes):
                setattr(border, field, [int(sizes[axis]) for axis in change.served])
        graph.tensors[inside].name = f"{name}_as_in_source"
        graph.tensors.append(border)
        graph.inputs = [outside if index == inside else index for index in graph.inputs]
        graph.outputs = [outside if index == inside else index for index in graph.outputs]
        entry.tensorIndex = outside
        turned.append(_transpose(model, graph, schema, outside, inside, change.taken))
    graph.operators = [*turned, *graph.operators]
    output.write_bytes(serialized(model, content))


def _transpose(model: Any, graph: Any, schema: Any, source: int, target: int, axes: tuple[int, ...]) -> Any:
    """A TRANSPOSE operator with its axes as a constant."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array(axes, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    constant = schema.TensorT()
    constant.name, constant.type, constant.shape = f"axes_{target}", schema.TensorType.INT32, [len(axes)]
    constant.buffer = len(model.buffers) - 1
    graph.tensors.append(constant)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
    # The version that first took int8, and five axes (tensorflow/lite/tools/versioning/op_version.cc).
    code.version = 4 if len(axes) > 4 else 2
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [source, len(graph.tensors) - 1], [target]
    operator.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
    operator.builtinOptions = schema.TransposeOptionsT()
    return operator


RELAYOUT = Relayout(
    form=TFLITE,
    entry="converters.tflite.relayout:relayout",
    preload=(),
)
