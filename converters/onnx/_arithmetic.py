"""What ONNX operators compute: on which numbers, and how many multiply-accumulates."""

from __future__ import annotations

import math
from typing import Any, Literal

from converters.onnx import _products
from converters.onnx._fusion import activations_of, bias_add, is_absorbed
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
# Operators with multiply-accumulates that no formula covers.
_UNCOUNTED = frozenset(
    """
    BeamSearch DFT DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention GreedySearch If LongformerAttention Loop
    MatMulBnb4 MoE PackedAttention PackedMultiHeadAttention QMoE STFT Scan SparseAttention
    """.split()
)
_BYTES = ("int8", "uint8")
_WIDE = ("int16", "uint16")
_SCALE_OUTPUT = 1  # of DynamicQuantizeLinear


def numbers_of(node: Any, graph: Graph) -> tuple[Numbers, str]:
    """What an operator computes on, and the dtype of its data (``dynamic``: quantized as it comes in)."""
    kind = node.op_type
    if kind in _MOVES or is_scaffolding(node, graph) or is_absorbed(node, graph) or is_bias(node, graph):
        return "none", ""
    if kind == "Sum" and len(node.input) == 1:
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
    integers = activations_of(node, graph)
    if integers:
        return "integer", integers
    maker = graph.produced_by(node, 0)
    if maker is not None and maker.op_type == "DequantizeLinear" and graph.value(maker, 0).dtype in _WIDE:
        return "float", graph.value(maker, 0).dtype  # there are no kernels of 16 bits
    dtypes = [graph.values[name].dtype for name in (*node.input, *node.output) if name in graph.values]
    for dtype in dtypes:
        if dtype.startswith(("float", "bfloat")):
            return "float", dtype
    for dtype in dtypes:
        if dtype in _BYTES:
            return "integer", dtype
    # Integers of other sizes are shapes and indices; a tensor of unknown type may be anything.
    return ("none", "") if all(dtypes) and dtypes else ("float", "")


def is_move(node: Any) -> bool:
    """Whether an operator moves, reshapes, selects or converts data, and computes nothing."""
    return node.op_type in _MOVES


def is_bias(node: Any, graph: Graph) -> bool:
    """Whether an Add is the bias of an integer MatMul."""
    makers = [graph.produced_by(node, index) for index in range(len(node.input))] if node.op_type == "Add" else []
    products = [maker for maker in makers if maker is not None and bias_add(maker, graph) is node]
    return any(activations_of(maker, graph) for maker in products)


def is_scaffolding(node: Any, graph: Graph) -> bool:
    """Whether a Mul or Add belongs to a dynamically quantized operator: its scales or its bias."""
    makers = [graph.produced_by(node, index) for index in range(len(node.input))]
    if node.op_type == "Mul":
        if integers_behind(node, graph):
            return True
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


def integers_behind(node: Any, graph: Graph) -> str:
    """Name of the integers that a node dequantizes: by DequantizeLinear, or stored ones by Cast and Mul.

    The second way is ours for weights alone: ONNX Runtime computes it once, when it loads the file.
    """
    if node.op_type == "DequantizeLinear":
        return str(node.input[0])
    cast = graph.produced_by(node, 0) if node.op_type == "Mul" else None
    if cast is None or cast.op_type != "Cast" or node.input[1] not in graph.constants:
        return ""
    constant = graph.constants.get(cast.input[0])
    return str(cast.input[0]) if constant is not None and constant.dtype in _BYTES else ""


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
    return _products.macs(node, graph) if _products.is_covered(node) else 0


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
