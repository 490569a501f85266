"""Models whose memory is known: one with a constant of 64 MiB, one with an activation of 234 MiB.

    constant      ``index`` [1] picks one column of a constant [16384, 1024]: ``column`` [16384, 1]. Every page of the
                  constant is touched in a run, and no runtime repacks the operand of a gather.
    activation    ``column`` [60000, 1] is negated, added to ``row`` [1, 1024], and the largest of each row is taken.
                  The sum, [60000, 1024], is the one large tensor, and it lives in the middle of the graph.

The activation is one that ONNX Runtime's arena holds once: a little below a power of two, for the arena takes blocks of
2^n bytes, and after a small operator. One of exactly 64 MiB without that operator is in memory twice from the second
run on. The runtime does hold that; but it is not what is known of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS, COLUMNS = 16384, 1024
ACTIVATION_ROWS = 60000
CONSTANT_BYTES = ROWS * COLUMNS * 4
ACTIVATION_BYTES = ACTIVATION_ROWS * COLUMNS * 4


def _constant() -> Any:
    return np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)


def onnx_constant(path: Path, external: bool = False) -> Path:
    """The constant in the file itself, or in one beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = _onnx(
        [helper.make_node("Gather", ["constant", "index"], ["column"], axis=1)],
        [helper.make_tensor_value_info("index", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("column", TensorProto.FLOAT, [ROWS, 1])],
        [numpy_helper.from_array(_constant(), "constant")],
    )
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data" if external else None)
    return path


def onnx_activation(path: Path) -> Path:
    """The activation."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Neg", ["column"], ["negative"]),
        helper.make_node("Add", ["negative", "row"], ["sum"]),
        helper.make_node("ReduceMax", ["sum"], ["largest"], axes=[1], keepdims=1),
    ]
    inputs = [
        helper.make_tensor_value_info("column", TensorProto.FLOAT, [ACTIVATION_ROWS, 1]),
        helper.make_tensor_value_info("row", TensorProto.FLOAT, [1, COLUMNS]),
    ]
    outputs = [helper.make_tensor_value_info("largest", TensorProto.FLOAT, [ACTIVATION_ROWS, 1])]
    onnx.save(_onnx(nodes, inputs, outputs, []), path)
    return path


def _onnx(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> Any:
    from onnx import helper

    graph = helper.make_graph(nodes, "known", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tflite_constant(path: Path) -> Path:
    """The constant; LiteRT maps the file."""
    from ai_edge_litert import schema_py_generated as schema

    options = schema.GatherOptionsT()
    options.axis = 1
    builtin, types = schema.BuiltinOperator, schema.TensorType
    tensors = [
        ("constant", [ROWS, COLUMNS], types.FLOAT32, _constant()),
        ("index", [1], types.INT32, None),
        ("column", [ROWS, 1], types.FLOAT32, None),
    ]
    operators = [(builtin.GATHER, [0, 1], [2], options, schema.BuiltinOptions.GatherOptions)]
    return _tflite(path, tensors, operators, [1], [2])


def tflite_activation(path: Path) -> Path:
    """The activation; the XNNPACK delegate takes all of it but the maximum."""
    from ai_edge_litert import schema_py_generated as schema

    keep = schema.ReducerOptionsT()
    keep.keepDims = True
    builtin, options, types = schema.BuiltinOperator, schema.BuiltinOptions, schema.TensorType
    tensors = [
        ("column", [ACTIVATION_ROWS, 1], types.FLOAT32, None),
        ("row", [1, COLUMNS], types.FLOAT32, None),
        ("negative", [ACTIVATION_ROWS, 1], types.FLOAT32, None),
        ("sum", [ACTIVATION_ROWS, COLUMNS], types.FLOAT32, None),
        ("axis", [1], types.INT32, np.array([1], np.int32)),
        ("largest", [ACTIVATION_ROWS, 1], types.FLOAT32, None),
    ]
    operators = [
        (builtin.NEG, [0], [2], schema.NegOptionsT(), options.NegOptions),
        (builtin.ADD, [2, 1], [3], schema.AddOptionsT(), options.AddOptions),
        (builtin.REDUCE_MAX, [3, 4], [5], keep, options.ReducerOptions),
    ]
    return _tflite(path, tensors, operators, [0, 1], [5])


def _tflite(path: Path, tensors: list[Any], operators: list[Any], inputs: list[int], outputs: list[int]) -> Path:
    """Write a graph: tensors as name, shape, type, data; operators as code, inputs, outputs, options, their kind."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], inputs, outputs
    for name, shape, kind, data in tensors:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = data.view(np.uint8).ravel()
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    for builtin, from_tensors, to_tensors, options, kind in operators:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs, operator.outputs = from_tensors, to_tensors
        operator.builtinOptions, operator.builtinOptionsType = options, kind
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def executorch_constant(path: Path) -> Path:
    """The constant, read by a portable kernel; ExecuTorch maps the file."""
    import torch

    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("constant", torch.from_numpy(_constant()))

        def forward(self, index: torch.Tensor) -> torch.Tensor:
            return torch.index_select(self.constant, 1, index)

    return _executorch(path, Constant(), (torch.zeros(1, dtype=torch.int64),))


def executorch_activation(path: Path) -> Path:
    """The activation, in memory that the program plans."""
    import torch

    class Activation(torch.nn.Module):
        def forward(self, column: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
            return torch.amax(-column + row, 1, keepdim=True)

    return _executorch(path, Activation(), (torch.zeros(ACTIVATION_ROWS, 1), torch.zeros(1, COLUMNS)))


def _executorch(path: Path, module: Any, inputs: tuple[Any, ...]) -> Path:
    import torch
    from executorch.exir import to_edge_transform_and_lower

    path.write_bytes(to_edge_transform_and_lower(torch.export.export(module, inputs)).to_executorch().buffer)
    return path


Maker = Callable[[Path], Path]
