"""The operators of a TFLite file as layers, for rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.facts import unchecked_reading
from converters.layers import Layer
from converters.tflite import _file, _names, _paths
from converters.tflite._file import Model, Operator, numbers

_KINDS = {
    "AVERAGE_POOL_2D": "avg_pool",
    "BATCH_MATMUL": "matmul",
    "BROADCAST_TO": "expand",
    "CONCATENATION": "concat",
    "CONV_2D": "conv",
    "CONV_3D": "conv",
    "CONV_3D_TRANSPOSE": "conv_transpose",
    "DEPTHWISE_CONV_2D": "depthwise_conv",
    "EMBEDDING_LOOKUP": "embedding",
    "EXPAND_DIMS": "unsqueeze",
    "FULLY_CONNECTED": "linear",
    "GATHER_ND": "gather",
    "HARD_SWISH": "hardswish",
    "LOGISTIC": "sigmoid",
    "MAX_POOL_2D": "max_pool",
    "MIRROR_PAD": "pad",
    "PACK": "stack",
    "PADV2": "pad",
    "RELU6": "clamp",
    "RELU_0_TO_1": "clamp",
    "RELU_N1_TO_1": "clamp",
    "RESIZE_BILINEAR": "resize",
    "RESIZE_NEAREST_NEIGHBOR": "resize",
    "SPLIT_V": "split",
    "STRIDED_SLICE": "slice",
    "TRANSPOSE_CONV": "conv_transpose",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "lstm",
    "UNPACK": "split",
}
"""Where the common word is not the operator's own name in lower case."""

_WEIGHTED = frozenset("conv conv_transpose depthwise_conv embedding linear lstm matmul prelu rnn svdf".split())
"""Kinds that have weights; a constant that is added or multiplied is none."""


_WITH_KERNEL = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def layers_of(path: Path) -> list[Layer]:
    """The operators of a file's entry subgraph, in the order they run; names are those of their first outputs.

    Raises:
        ConversionError: The file is truncated or damaged.
    """
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        return of(_file.read(path))


def of(model: Model) -> list[Layer]:
    """The same, of a file that has been read; at the place of each operator of the entry subgraph."""
    names = _names.distinct(model)[model.entry]
    returned = set(numbers(model.raw.subgraphs[model.entry].outputs))
    producers: dict[int, int] = {}
    paths = _module_paths(model.subgraphs[model.entry])
    found = []
    for place, item in enumerate(model.subgraphs[model.entry]):
        sources = [producers[tensor.index] for tensor in item.inputs if tensor and tensor.index in producers]
        kind = _kind(item)
        found.append(
            Layer(
                path=paths[place],
                kind=kind,
                operator=item.kind,
                name=names[item.outputs[0].index] if item.outputs else f"{item.kind}#{place}",
                inputs=tuple(dict.fromkeys(sources)),
                weighted=kind in _WEIGHTED and bool(item.weights),
                is_output=any(tensor.index in returned for tensor in item.outputs),
            )
        )
        producers.update({tensor.index: place for tensor in item.outputs})
    return found


def _kind(item: Operator) -> str:
    if item.kind == "STABLEHLO_COMPOSITE":
        return _file.text(item.options.name).rpartition(".")[2]
    if item.kind == "DEPTHWISE_CONV_2D" and item.inputs[0] is not None and item.inputs[0].shape[-1] == 1:
        return "conv"  # an ordinary convolution of one channel, which converters write like this
    return _KINDS.get(item.kind, item.kind.removeprefix("custom:").lower())


def _module_paths(operators: Sequence[Operator]) -> list[str]:
    """Of each operator the modules it was made from; graph outputs are renamed, but the weights may still tell."""
    names = [[tensor.name for tensor in item.outputs + item.weights] for item in operators]
    found = [next(filter(None, map(_paths.module_path, own)), "") for own in names]
    if any(found):
        return found
    scopes = [next(filter(None, map(_paths.scopes, own)), []) for own in names]
    for paths, item in zip(scopes, operators, strict=True):
        if item.kind in _WITH_KERNEL and item.weights:
            kernel = _paths.kernel(item.weights[0].name, item.kind == "DEPTHWISE_CONV_2D")
            paths += [path for path in kernel if path not in paths]
    return _paths.joined(scopes)
