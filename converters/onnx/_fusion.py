"""Which operators between DequantizeLinear and QuantizeLinear ONNX Runtime's CPU provider computes on integers.

It fuses some operators with the quantization around them into one integer kernel, and computes the others in float
between the two. The rules were read off its source and its optimized graphs (1.32); a test reads the graphs of the
installed version again.
"""

from __future__ import annotations

from typing import Any

from converters.onnx._graph import Graph, Value

# The inputs of each such operator that must come from DequantizeLinear.
_INPUTS = {
    "Add": (0, 1), "ArgMax": (0,), "AveragePool": (0,), "Conv": (0, 1), "Gemm": (0, 1, 2),
    "GlobalAveragePool": (0,), "LeakyRelu": (0,), "MatMul": (0, 1), "MaxPool": (0,), "Mul": (0, 1),
    "ReduceMax": (0,), "ReduceMin": (0,), "Sigmoid": (0,), "Softmax": (0,),
}  # fmt: skip
_WEIGHTED = ("Conv", "Gemm", "MatMul")
# All must be followed by QuantizeLinear but these.
_ANY_OUTPUT = ("ArgMax", "Gemm", "MatMul", "MaxPool")
# These pass values on as they are, so input and output must be quantized with the same parameters.
_SAME_PARAMETERS = ("MaxPool", "ReduceMax", "ReduceMin")
_LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
_DATA, _SCALE, _ZERO = 0, 1, 2  # operands of QuantizeLinear and DequantizeLinear
_MATRIX = 2
_INTEGER_MAX_POOL = 12  # the first opset whose MaxPool takes integers


def activations_of(node: Any, graph: Graph) -> str:
    """The dtype of the integers an operator is computed on; empty when it is computed in float."""
    if node.op_type not in _INPUTS or node.domain:
        return ""
    if node.op_type == "MaxPool" and graph.opset < _INTEGER_MAX_POOL:
        return ""
    add = bias_add(node, graph)
    kind, last = ("Gemm", add) if add is not None else (node.op_type, node)
    after = _dtype_after(last, graph)
    operands = [(node, index) for index in _INPUTS[node.op_type]]
    if add is not None:
        operands.append((add, 1 - _side(add, node)))
    if kind in _WEIGHTED and after is not None:
        # Constant floats are quantized along the way, if the output is: the bias, and weights but those of a MatMul.
        firm = 2 if node.op_type == "MatMul" else 1
        operands = [*operands[:firm], *(item for item in operands[firm:] if not _is_constant(*item, graph))]
    makers = [graph.produced_by(each, index) for each, index in operands if _is_given(each, index)]
    if not all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
        return ""
    before = [_kernel_dtype(maker, maker.input[_DATA], graph) for maker in makers]
    if kind in _WEIGHTED and _is_constant(node, 1, graph):
        before.insert(1, "int8")
    return _dtype(makers[0], makers[0].input[_DATA], graph) if _fits(kind, before, after, node, graph) else ""


def bias_add(node: Any, graph: Graph) -> Any:
    """The Add of a vector that makes a MatMul a Gemm, or ``None``."""
    if node.op_type != "MatMul" or len(graph.value(node, 0).shape or ()) < _MATRIX:
        return None
    readers = _readers(node.output[0], graph)
    if len(readers) != 1 or readers[0].op_type != "Add" or readers[0].domain:
        return None
    other = graph.value(readers[0], 1 - _side(readers[0], node))
    return readers[0] if other.shape is not None and len(other.shape) == 1 else None


def is_absorbed(node: Any, graph: Graph) -> bool:
    """Whether an activation does no more than the saturation of the QuantizeLinear behind it."""
    if node.op_type not in ("Relu", "Clip"):
        return False
    readers = _readers(node.output[0], graph)
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        return False
    scale, zero = _scalar(readers[0], _SCALE, graph), _scalar(readers[0], _ZERO, graph)
    limits = _LIMITS.get(graph.value(readers[0], _ZERO).dtype)
    if scale is None or zero is None or limits is None:
        return False
    if node.op_type == "Relu":
        return zero == limits[0]
    low, high = _scalar(node, 1, graph), _scalar(node, 2, graph)
    below = low is None or low <= (limits[0] - zero) * scale
    return below and (high is None or high >= (limits[1] - zero) * scale)


def becomes_unsigned(node: Any, graph: Graph) -> bool:
    """Whether a QuantizeLinear makes signed integers in the file, and unsigned ones when it is run on this machine."""
    name = node.output[0]
    return _dtype(node, name, graph) == "int8" and _kernel_dtype(node, name, graph) == "uint8"


def _fits(kind: str, before: list[str], after: str | None, node: Any, graph: Graph) -> bool:
    """Whether there is a kernel for these dtypes; ``after`` is ``None`` when the output is not quantized."""
    data = before[0]
    if data not in _LIMITS:
        return False
    if kind in _WEIGHTED and data == "int8":
        # Only Arm has kernels of signed data for all three.
        if before[1] != "int8" or (kind != "Gemm" and not graph.signed_kernels):
            return False
    elif kind not in _WEIGHTED and len(set(before)) > 1:
        return False
    if kind in _SAME_PARAMETERS and not _keeps_parameters(node, graph):
        after = None
    if after is None:
        if kind == "MaxPool":  # a pair of its own is put behind it
            return data == ("int8" if graph.signed_kernels else "uint8")
        return kind in _ANY_OUTPUT
    return kind == "ArgMax" or data == after


def _dtype(node: Any, name: str, graph: Graph) -> str:
    """The dtype of the quantized tensor before DequantizeLinear or behind QuantizeLinear: its zero point's."""
    return graph.value(node, _ZERO).dtype or graph.values.get(name, Value()).dtype


def _kernel_dtype(node: Any, name: str, graph: Graph) -> str:
    """The same as the kernels see it.

    Where there are no kernels of signed data (x86), those are made unsigned if one QuantizeLinear and one
    DequantizeLinear alone know them.
    """
    dtype, maker = _dtype(node, name, graph), graph.producers.get(name)
    if dtype != "int8" or graph.signed_kernels or maker is None or maker.op_type != "QuantizeLinear":
        return dtype
    readers = graph.consumers.get(name, [])
    if _is_output(name, graph) or any(reader.op_type != "DequantizeLinear" for reader in readers):
        return dtype
    # Each reader of a dequantized tensor gets a DequantizeLinear of its own.
    copies = sum(
        list(each.input).count(reader.output[0]) for reader in readers for each in _readers(reader.output[0], graph)
    )
    copies += sum(_is_output(reader.output[0], graph) for reader in readers)
    return "uint8" if copies == 1 and _scalar(maker, _ZERO, graph) is not None else dtype


def _dtype_after(node: Any, graph: Graph) -> str | None:
    """The dtype that an operator's output is quantized to, ``None`` if it is used as float."""
    name = node.output[0]
    readers = _readers(name, graph)
    if len(readers) != 1 or _is_output(name, graph):
        return None
    if is_absorbed(readers[0], graph):
        return _dtype_after(readers[0], graph)
    if readers[0].op_type != "QuantizeLinear":
        return None
    return _kernel_dtype(readers[0], readers[0].output[0], graph)


def _keeps_parameters(node: Any, graph: Graph) -> bool:
    before, after = graph.produced_by(node, 0), (_readers(node.output[0], graph) or [None])[0]
    if after is None or after.op_type != "QuantizeLinear":
        return False
    return all(
        list(before.input)[index:] == list(after.input)[index:]
        or (_scalar(before, index, graph) == _scalar(after, index, graph) is not None)
        for index in (_SCALE, _ZERO)
    )


def _readers(name: str, graph: Graph) -> list[Any]:
    return graph.consumers.get(name, [])


def _is_output(name: str, graph: Graph) -> bool:
    return any(output.name == name for output in graph.outputs)


def _is_given(node: Any, index: int) -> bool:
    return index < len(node.input) and bool(node.input[index])


def _is_constant(node: Any, index: int, graph: Graph) -> bool:
    return _is_given(node, index) and node.input[index] in graph.constants


def _side(node: Any, maker: Any) -> int:
    """Which of the two inputs of a node another node makes."""
    return list(node.input).index(maker.output[0])


def _scalar(node: Any, index: int, graph: Graph) -> float | None:
    import onnx

    constant = graph.constants.get(node.input[index]) if index < len(node.input) else None
    return float(onnx.numpy_helper.to_array(constant.proto).item()) if constant and constant.elements == 1 else None
