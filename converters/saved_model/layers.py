"""The layers of a TensorFlow graph in the words of :mod:`converters.layers`, and their multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from converters.layers import Layer
from converters.saved_model.scopes import layer_names, path_of

_KINDS = {
    "AddN": "add", "AddV2": "add", "AvgPool": "avg_pool", "BatchMatMul": "matmul", "BatchMatMulV2": "matmul",
    "BatchMatMulV3": "matmul", "BatchToSpaceND": "reshape", "BiasAdd": "add", "ConcatV2": "concat", "Conv2D": "conv",
    "Conv2DBackpropInput": "conv_transpose", "Conv3D": "conv", "Conv3DBackpropInputV2": "conv_transpose",
    "DepthwiseConv2dNative": "depthwise_conv", "ExpandDims": "unsqueeze", "FusedBatchNorm": "batch_norm",
    "FusedBatchNormV2": "batch_norm", "FusedBatchNormV3": "batch_norm", "GatherNd": "gather", "LeakyRelu": "leaky_relu",
    "LogSoftmax": "log_softmax", "MatMul": "matmul", "MaxPool": "max_pool", "MaxPoolV2": "max_pool",
    "MirrorPad": "pad", "Pack": "stack", "PadV2": "pad", "RealDiv": "div", "Relu6": "clamp",
    "ResizeBilinear": "resize", "ResizeNearestNeighbor": "resize", "SpaceToBatchND": "reshape", "SplitV": "split",
    "StridedSlice": "slice", "Unpack": "split",
}  # fmt: skip
"""Where the common word is not the operator's own name in lower case."""

_WEIGHTED = frozenset("conv conv_transpose depthwise_conv embedding linear".split())
_UNCOUNTED = frozenset("Case CudnnRNN CudnnRNNV2 CudnnRNNV3 Einsum If StatelessIf StatelessWhile While".split())
"""Operators whose multiply-accumulates no formula here covers."""


def layers_of(operations: Sequence[Any], outputs: Sequence[str]) -> list[Layer]:
    """The operators of a graph, producers before consumers; what only computes constants is left out.

    Args:
        operations: ``tf.Operation``, in an order in which they can run.
        outputs: Names of the tensors that the model returns.
    """
    found = computing(operations)
    names = layer_names([item.name for item in found], ())
    returned = {name.partition(":")[0] for name in outputs}
    places = {item.name: place for place, item in enumerate(found)}
    layers = []
    for item in found:
        kind = kind_of(item)
        sources = [places[given.op.name] for given in item.inputs if given.op.name in places]
        layers.append(
            Layer(
                path=path_of(names[item.name]),
                kind=kind,
                operator=item.type,
                name=item.name,
                inputs=tuple(dict.fromkeys(sources)),
                weighted=kind in _WEIGHTED and any(_is_constant(given.op) for given in item.inputs),
                is_output=item.name in returned,
            )
        )
    return layers


def computing(operations: Sequence[Any]) -> list[Any]:
    """The operations that depend on an input."""
    fed: set[str] = set()
    found = []
    for item in operations:
        if item.type == "Placeholder":
            fed.add(item.name)
        elif any(given.op.name in fed for given in item.inputs):
            fed.add(item.name)
            found.append(item)
    return found


def kind_of(operation: Any) -> str:
    """What an operation does, in one word for all formats."""
    operator = str(operation.type)
    if operator == "MatMul" and any(_is_constant(given.op) for given in operation.inputs):
        return "linear"
    if operator in ("Gather", "GatherV2"):
        table = operation.inputs[0]
        return "embedding" if _is_constant(table.op) and (table.shape.rank or 0) > 1 else "gather"
    return _KINDS.get(operator, operator.lower())


def _is_constant(operation: Any) -> bool:
    return str(operation.type) == "Const"


def is_uncounted(operation: Any) -> bool:
    """Whether it multiplies and accumulates, and no formula here says how often."""
    return str(operation.type) in _UNCOUNTED


def macs(operation: Any) -> int | None:
    """Multiply-accumulates of one run; ``None`` where a size is only known at run time."""
    operator = str(operation.type)
    if operator in ("Conv2D", "Conv3D", "DepthwiseConv2dNative"):
        made, kernel = _sizes(operation.outputs[0]), _sizes(operation.inputs[1])
        # A kernel is [*space, in / groups, out]; of a depthwise one each output has a single channel before it.
        each = None if kernel is None else kernel[: -2 if operator == "DepthwiseConv2dNative" else -1]
        return _product(made, each)
    if operator in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        kernel = _sizes(operation.inputs[1])  # [*space, out, in]: each input value meets all of it but one axis
        return _product(_sizes(operation.inputs[2]), None if kernel is None else kernel[:-1])
    if operator in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        flipped = operation.get_attr("transpose_a" if operator == "MatMul" else "adj_x")
        taken = _sizes(operation.inputs[0])
        return _product(_sizes(operation.outputs[0]), None if taken is None else [taken[-2 if flipped else -1]])
    return 0


def _sizes(tensor: Any) -> list[int] | None:
    if tensor.shape.rank is None or None in tensor.shape.as_list():
        return None
    return [int(size) for size in tensor.shape.as_list()]


def _product(first: list[int] | None, second: list[int] | None) -> int | None:
    return None if first is None or second is None else math.prod(first) * math.prod(second)
