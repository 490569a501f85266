"""Inputs and outputs of a quantized TFLite file: float ones, or integer ones.

LiteRT's quantizer can leave the borders float itself, but then writes a file that no runtime loads where an output is
also used inside the graph (seen with litert-quantizer 0.11). So it quantizes everything, and the borders are put right
here.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from converters.tflite._file import serialized


def make_float(path: Path) -> None:
    """Put a QUANTIZE behind each integer input and a DEQUANTIZE before each integer output, in place.

    Where the operator there is float, the conversion that the quantizer put between goes instead.

    Args:
        path: A TFLite file; tensors without quantization parameters (token ids, indices) are left as they are.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for index, graph in enumerate(model.subgraphs):
        used = [signature for signature in model.signatureDefs or [] if signature.subgraphIndex == index]
        _follow_outputs(model, graph, used)
        inputs = {tensor: _float_twin(model, graph, tensor) for tensor in graph.inputs if _is_quantized(graph, tensor)}
        quantize = []
        for tensor, twin in inputs.items():
            _bypass_dequantize(model, graph, tensor, twin)
            if tensor in graph.outputs or _readers(graph, tensor):
                quantize.append(_operator(model, "QUANTIZE", twin, tensor))
        outputs, dequantize = {}, []
        for tensor in dict.fromkeys(graph.outputs):
            if _is_quantized(graph, tensor):
                source = _take_quantize_source(model, graph, tensor)
                outputs[tensor] = _float_twin(model, graph, tensor) if source is None else source
                if source is None:
                    dequantize.append(_operator(model, "DEQUANTIZE", tensor, outputs[tensor]))
        graph.operators = [*quantize, *graph.operators, *dequantize]
        graph.inputs = [inputs.get(tensor, tensor) for tensor in graph.inputs]
        graph.outputs = [outputs.get(tensor, tensor) for tensor in graph.outputs]
        for signature in used:
            for twins, tensors in ((inputs, signature.inputs), (outputs, signature.outputs)):
                for entry in tensors or []:
                    entry.tensorIndex = twins.get(entry.tensorIndex, entry.tensorIndex)
    path.write_bytes(serialized(model, content))


def keep_integer(path: Path) -> None:
    """Make signature and graph agree on the integer outputs, in place (see :func:`_follow_outputs`)."""
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for index, graph in enumerate(model.subgraphs):
        sources = {twin: tensor for tensor, twin in _dequantized(model, graph).items() if _is_quantized(graph, tensor)}
        graph.outputs = [sources.get(tensor, tensor) for tensor in graph.outputs]
        for signature in model.signatureDefs or []:
            for entry in signature.outputs or [] if signature.subgraphIndex == index else []:
                entry.tensorIndex = sources.get(entry.tensorIndex, entry.tensorIndex)
    path.write_bytes(serialized(model, content))


def _follow_outputs(model: Any, graph: Any, signatures: list[Any]) -> None:
    """Have signatures name the graph's own outputs.

    Where an operator that stays float reads an output, the quantizer makes the dequantized tensor the output, and
    leaves the signature at the integer one, which no runtime keeps.
    """
    dequantized = _dequantized(model, graph)
    for signature in signatures:
        for entry in signature.outputs or []:
            if entry.tensorIndex not in graph.outputs:
                entry.tensorIndex = dequantized.get(entry.tensorIndex, entry.tensorIndex)


def _dequantized(model: Any, graph: Any) -> dict[int, int]:
    """Tensors that a DEQUANTIZE turns into outputs, and those outputs."""
    return {
        operator.inputs[0]: operator.outputs[0]
        for operator in graph.operators
        if _kind(model, operator) == "DEQUANTIZE" and operator.outputs[0] in graph.outputs
    }


def _bypass_dequantize(model: Any, graph: Any, tensor: int, twin: int) -> None:
    """Have float readers of an input read its float twin, not what was quantized and dequantized."""
    gone = {}
    for operator in _readers(graph, tensor):
        if _kind(model, operator) == "DEQUANTIZE" and operator.outputs[0] not in graph.outputs:
            gone[operator.outputs[0]] = operator
    graph.operators = [item for item in graph.operators if not any(item is operator for operator in gone.values())]
    for operator in graph.operators:
        if operator.inputs is not None:
            operator.inputs = [twin if index in gone else index for index in operator.inputs]


def _take_quantize_source(model: Any, graph: Any, tensor: int) -> int | None:
    """The computed float tensor that an output was quantized from; its QUANTIZE goes if nothing else needs it."""
    from ai_edge_litert import schema_py_generated as schema

    for operator in graph.operators:
        if tensor in operator.outputs and _kind(model, operator) == "QUANTIZE":
            source = int(operator.inputs[0])
            if graph.tensors[source].type != schema.TensorType.FLOAT32 or source in graph.inputs:
                return None
            if not _readers(graph, tensor):
                graph.operators = [item for item in graph.operators if item is not operator]
            return source
    return None


def _readers(graph: Any, tensor: int) -> list[Any]:
    return [item for item in graph.operators if item.inputs is not None and tensor in item.inputs]


def _kind(model: Any, operator: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    return {schema.BuiltinOperator.QUANTIZE: "QUANTIZE", schema.BuiltinOperator.DEQUANTIZE: "DEQUANTIZE"}.get(code, "")


def _is_quantized(graph: Any, index: int) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[index]
    integer = tensor.type in (schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.INT16)
    return integer and tensor.quantization is not None and tensor.quantization.scale is not None


def _float_twin(model: Any, graph: Any, index: int) -> int:
    """A float tensor of the same name and shape; the integer one is called after what it now is."""
    from ai_edge_litert import schema_py_generated as schema

    twin = copy.copy(graph.tensors[index])
    twin.type, twin.quantization = schema.TensorType.FLOAT32, None
    model.buffers.append(schema.BufferT())
    twin.buffer = len(model.buffers) - 1
    name = twin.name.decode() if isinstance(twin.name, bytes) else twin.name
    graph.tensors[index].name = f"{name}_quantized"
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _operator(model: Any, kind: str, source: int, target: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, getattr(schema.BuiltinOperator, kind))
    operator.inputs, operator.outputs = [source], [target]
    return operator


def _opcode(model: Any, code: int) -> int:
    from ai_edge_litert import schema_py_generated as schema

    for index, known in enumerate(model.operatorCodes):
        if known.builtinCode == code:
            return index
    added = schema.OperatorCodeT()
    added.builtinCode = added.deprecatedBuiltinCode = code
    # The versions that first took int8 (tensorflow/lite/tools/versioning/op_version.cc).
    added.version = 2 if code == schema.BuiltinOperator.DEQUANTIZE else 1
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1
