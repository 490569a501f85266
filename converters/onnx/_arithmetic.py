"""What ONNX operators compute: on which numbers, and how many multiply-accumulates.

In a file with QuantizeLinear and DequantizeLinear the numbers are those that ONNX Runtime's CPU kernels
compute on: it fuses the pairs around some operators and computes the others in float between them. The rules
below were read off its optimized graphs (1.32), and a test reads them off the installed one again.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from converters.onnx._graph import Graph, attribute
from converters.onnx._stand_ins import DATA_INPUTS

Numbers = Literal["float", "integer", "none"]

# Operators that move, reshape, select or convert data: what they are done in says nothing about arithmetic.
_MOVES = frozenset(
    """
    Cast CastLike CenterCropPad Compress Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace
    DequantizeLinear Dropout DynamicQuantizeLinear Expand EyeLike Flatten Gather GatherElements GatherND
    Identity If Loop NonZero OneHot Pad QLinearConcat QuantizeLinear Range Reshape ReverseSequence Scan
    Scatter ScatterElements ScatterND SequenceAt SequenceConstruct Shape Size Slice SpaceToDepth Split
    SplitToSequence Squeeze Tile Transpose Trilu Unsqueeze Upsample Where
    """.split()
)
_UNCOUNTED = frozenset(
    """
    Attention DFT DeformConv Einsum GRU GroupQueryAttention If LSTM Loop MultiHeadAttention QAttention RNN
    STFT Scan
    """.split()
)
# Fused into an integer kernel when the inputs given come from DequantizeLinear…
_FUSED_INPUTS = {
    "Add": (0, 1), "ArgMax": (0,), "AveragePool": (0,), "Conv": (0, 1), "Gemm": (0, 1, 2),
    "GlobalAveragePool": (0,), "LeakyRelu": (0,), "MatMul": (0, 1), "MaxPool": (0,), "Mul": (0, 1),
    "ReduceMax": (0,), "ReduceMin": (0,), "Sigmoid": (0,), "Softmax": (0,),
}  # fmt: skip
# …and, but for these, when QuantizeLinear follows.
_ANY_OUTPUT = frozenset({"ArgMax", "Gemm", "MatMul", "MaxPool"})
# These pass values on as they are, so input and output must be quantized the same way.
_SAME_QUANTIZATION = frozenset({"ReduceMax", "ReduceMin"})
_BYTES = ("int8", "uint8")
_SCALE_OUTPUT = 1  # of DynamicQuantizeLinear


def numbers_of(node: Any, graph: Graph) -> tuple[Numbers, str]:
    """What an operator computes on, and the dtype of its data (``dynamic``: quantized as it comes in)."""
    kind = node.op_type
    if kind in _MOVES or is_scaffolding(node, graph) or _is_absorbed(node, graph):
        return "none", ""
    if kind == "DynamicQuantizeMatMul":
        return "integer", "dynamic"
    if kind in ("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"):
        maker = graph.produced_by(node, 0)
        dynamic = maker is not None and maker.op_type == "DynamicQuantizeLinear"
        return "integer", "dynamic" if dynamic else graph.value(node, 0).dtype
    if kind.startswith("QLinear") or kind == "QGemm":
        return "integer", graph.value(node, 0).dtype
    if kind == "Resize" and attribute(node, "mode", b"nearest") == b"nearest":
        return "none", ""
    return _plain(node, graph)


def _plain(node: Any, graph: Graph) -> tuple[Numbers, str]:
    """The same for an operator that also exists in float models."""
    if is_fused(node, graph):
        return "integer", _dequantized_from(graph.produced_by(node, 0), graph)
    dtypes = [graph.values[name].dtype for name in (*node.input, *node.output) if name in graph.values]
    for dtype in dtypes:
        if dtype.startswith(("float", "bfloat")):
            return "float", dtype
    for dtype in dtypes:
        if dtype in _BYTES:
            return "integer", dtype
    # Integers of other sizes are shapes and indices; a tensor of unknown type may be anything.
    return ("none", "") if all(dtypes) and dtypes else ("float", "")


def is_fused(node: Any, graph: Graph) -> bool:
    """Whether ONNX Runtime's CPU provider turns the operator and its quantization into one integer kernel."""
    if node.op_type not in _FUSED_INPUTS or node.domain:
        return False
    for index in _FUSED_INPUTS[node.op_type]:
        if index < len(node.input) and node.input[index]:
            maker = graph.produced_by(node, index)
            if maker is None or maker.op_type != "DequantizeLinear":
                return False
    if _dequantized_from(graph.produced_by(node, 0), graph) not in _BYTES:
        return False
    if node.op_type in _ANY_OUTPUT:
        return True
    if node.op_type in _SAME_QUANTIZATION and not _is_requantized_alike(node, graph):
        return False
    return _is_quantized_next(node.output[0], graph)


def _is_requantized_alike(node: Any, graph: Graph) -> bool:
    before, after = graph.produced_by(node, 0), graph.consumers.get(node.output[0], [None])[0]
    if after is None or after.op_type != "QuantizeLinear":
        return False
    return all(
        before.input[index] == after.input[index]
        or (_scalar(before, index, graph) == _scalar(after, index, graph) is not None)
        for index in (1, 2)
    )


def _dequantized_from(dequantize: Any, graph: Graph) -> str:
    return graph.value(dequantize, 0).dtype


def _is_quantized_next(name: str, graph: Graph) -> bool:
    """Whether QuantizeLinear alone reads a tensor, perhaps through an activation it makes superfluous."""
    readers = graph.consumers.get(name, [])
    if len(readers) != 1 or any(output.name == name for output in graph.outputs):
        return False
    if _is_absorbed(readers[0], graph):
        return _is_quantized_next(readers[0].output[0], graph)
    return bool(readers[0].op_type == "QuantizeLinear")


def _is_absorbed(node: Any, graph: Graph) -> bool:
    """Whether an activation does no more than the saturation of the QuantizeLinear behind it."""
    if node.op_type not in ("Relu", "Clip"):
        return False
    readers = graph.consumers.get(node.output[0], [])
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        return False
    scale, zero = _scalar(readers[0], 1, graph), _scalar(readers[0], 2, graph)
    if scale is None or zero is None:
        return False
    lowest, highest = {"uint8": (0, 255), "int8": (-128, 127)}.get(graph.value(readers[0], 2).dtype, (0, 0))
    if node.op_type == "Relu":
        return lowest < highest and zero == lowest
    low, high = _scalar(node, 1, graph), _scalar(node, 2, graph)
    below = low is None or low <= (lowest - zero) * scale
    above = high is None or high >= (highest - zero) * scale
    return lowest < highest and below and above


def _scalar(node: Any, index: int, graph: Graph) -> float | None:
    import onnx

    constant = graph.constants.get(node.input[index]) if index < len(node.input) else None
    return float(onnx.numpy_helper.to_array(constant.proto)) if constant and constant.elements == 1 else None


def is_scaffolding(node: Any, graph: Graph) -> bool:
    """Whether a Mul or Add belongs to a dynamically quantized operator: its scales or its bias."""
    makers = [graph.produced_by(node, index) for index in range(len(node.input))]
    if node.op_type == "Mul":
        for name, maker in zip(node.input, makers, strict=True):
            if maker is None:
                continue
            if maker.op_type == "DynamicQuantizeLinear" and name == maker.output[_SCALE_OUTPUT]:
                return True
            source = graph.produced_by(maker, 0) if maker.op_type == "Cast" else None
            if source is not None and source.op_type in ("ConvInteger", "MatMulInteger"):
                return True
    if node.op_type == "Add":
        scaled = any(maker and maker.op_type == "Mul" and is_scaffolding(maker, graph) for maker in makers)
        return scaled and any(_is_constant(node, index, graph) for index in range(len(node.input)))
    return False


def _is_constant(node: Any, index: int, graph: Graph) -> bool:
    maker = graph.produced_by(node, index)
    if maker is not None and maker.op_type == "Reshape":
        return maker.input[0] in graph.constants
    return node.input[index] in graph.constants


def is_uncounted(node: Any) -> bool:
    """Whether an operator may multiply and accumulate in a way that is not counted here."""
    known = node.domain in ("", "ai.onnx", "com.microsoft")
    return node.op_type in _UNCOUNTED or not known


def macs(node: Any, graph: Graph) -> int | None:
    """Multiply-accumulates of one run; ``None`` when a shape is unknown or dynamic."""
    kind = node.op_type.removeprefix("Fused").removeprefix("QLinear").removesuffix("Integer")
    if kind in ("Conv", "ConvTranspose"):
        return _convolution(node, graph, transposed=kind == "ConvTranspose")
    if kind in ("MatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits", "Gemm", "QGemm"):
        return _product(graph.values.get(node.output[0], None), _depth(node, graph))
    return 0


def _convolution(node: Any, graph: Graph, *, transposed: bool) -> int | None:
    weights = graph.value(node, DATA_INPUTS.get(node.op_type, (0, 1))[1]).shape
    if weights is None or None in weights:
        return None
    # Weights: out, in per group, sizes; transposed: in, out per group, sizes.
    counted = graph.value(node, 0) if transposed else graph.values.get(node.output[0])
    return _product(counted, math.prod(size for size in weights[1:] if size is not None))


def _depth(node: Any, graph: Graph) -> int | None:
    """How many products are summed for one element of a matrix product."""
    if node.op_type == "MatMulNBits":
        return int(attribute(node, "K", 0))
    shape = graph.value(node, 0).shape
    return shape[-2 if attribute(node, "transA", 0) else -1] if shape else None


def _product(value: Any, depth: int | None) -> int | None:
    elements = value.elements if value is not None else None
    return None if elements is None or depth is None else elements * depth
