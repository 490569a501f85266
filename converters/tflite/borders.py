"""Float inputs and outputs for a TFLite file whose borders are integers.

LiteRT's quantizer can leave the borders float itself, but then writes a file that no runtime loads where an output is
also used inside the graph (seen with litert-quantizer 0.11). So it quantizes everything, and the two conversions are
put around the result here.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any


def make_float(path: Path) -> None:
    """Put a QUANTIZE behind each integer input and a DEQUANTIZE before each integer output, in place.

    Args:
        path: A TFLite file; tensors without quantization parameters (token ids, indices) are left as they are.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for index, graph in enumerate(model.subgraphs):
        used = [signature for signature in model.signatureDefs or [] if signature.subgraphIndex == index]
        _follow_dequantized(model, graph, used)
        inputs = {tensor: _float_twin(model, graph, tensor) for tensor in graph.inputs if _is_quantized(graph, tensor)}
        outputs = {
            tensor: _float_twin(model, graph, tensor) for tensor in graph.outputs if _is_quantized(graph, tensor)
        }
        quantize = [_operator(model, "QUANTIZE", twin, tensor) for tensor, twin in inputs.items()]
        dequantize = [_operator(model, "DEQUANTIZE", tensor, twin) for tensor, twin in outputs.items()]
        graph.operators = [*quantize, *graph.operators, *dequantize]
        graph.inputs = [inputs.get(tensor, tensor) for tensor in graph.inputs]
        graph.outputs = [outputs.get(tensor, tensor) for tensor in graph.outputs]
        for signature in used:
            for twins, tensors in ((inputs, signature.inputs), (outputs, signature.outputs)):
                for entry in tensors or []:
                    entry.tensorIndex = twins.get(entry.tensorIndex, entry.tensorIndex)
    path.write_bytes(_serialized(model, content))


def _follow_dequantized(model: Any, graph: Any, signatures: list[Any]) -> None:
    """Have signatures name the graph's own outputs.

    Where an operator that stays float reads an output, the quantizer makes the dequantized tensor the output, and
    leaves the signature at the integer one, which no runtime keeps.
    """
    from ai_edge_litert import schema_py_generated as schema

    codes = [code.builtinCode for code in model.operatorCodes]
    dequantized = {
        operator.inputs[0]: operator.outputs[0]
        for operator in graph.operators
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE and operator.outputs[0] in graph.outputs
    }
    for signature in signatures:
        for entry in signature.outputs or []:
            if entry.tensorIndex not in graph.outputs:
                entry.tensorIndex = dequantized.get(entry.tensorIndex, entry.tensorIndex)


def _serialized(model: Any, before: bytes) -> bytes:
    """The model as a file.

    Larger files keep their buffers behind the flatbuffer, aligned, and name them by offset. They stay there; only the
    offsets move, as the flatbuffer has grown.

    Args:
        model: ``ModelT``.
        before: The file it was read from, for the buffers outside the flatbuffer.
    """
    outside = [buffer for buffer in model.buffers if buffer.offset > 1]
    data = [before[buffer.offset : buffer.offset + buffer.size] for buffer in outside]
    end = _aligned(len(_packed(model)))  # its length does not depend on the values of the offsets
    for buffer, piece in zip(outside, data, strict=True):
        buffer.offset, end = end, _aligned(end + len(piece))
    made = bytearray(_packed(model))
    for buffer, piece in zip(outside, data, strict=True):
        made += bytes(buffer.offset - len(made)) + piece
    return bytes(made)


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _aligned(offset: int) -> int:
    """TFLite wants its buffers at multiples of 16."""
    return -(-offset // 16) * 16


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
