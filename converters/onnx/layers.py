"""The layers of an ONNX file, in the words of :mod:`converters.layers`."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from converters.layers import Layer

_KINDS = {
    "AveragePool": "avg_pool", "BatchNormalization": "batch_norm", "BiasGelu": "gelu", "Clip": "clamp",
    "Conv": "conv", "ConvTranspose": "conv_transpose", "FastGelu": "gelu", "Flatten": "reshape", "Gemm": "linear",
    "GlobalAveragePool": "avg_pool", "GlobalMaxPool": "max_pool", "GroupNormalization": "group_norm",
    "HardSigmoid": "hardsigmoid", "HardSwish": "hardswish", "InstanceNormalization": "instance_norm",
    "LayerNormalization": "layer_norm", "LeakyRelu": "leaky_relu", "LogSoftmax": "log_softmax", "MaxPool": "max_pool",
    "PRelu": "prelu", "QuickGelu": "gelu", "ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min",
    "ReduceSum": "sum", "SkipLayerNormalization": "layer_norm", "Swish": "silu", "Upsample": "resize",
}  # fmt: skip
SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata of a node: the modules it is in, from the outermost, and its own name."""

_WEIGHTED = frozenset("conv conv_transpose depthwise_conv embedding gru linear lstm rnn".split())


def layers_of(model: Any) -> list[Layer]:
    """The operators of the main graph, producers before consumers as the file has them.

    What only computes constants is left out: it runs once, when the file is loaded.

    Args:
        model: ``ModelProto``, or the path of a file.
    """
    nodes = nodes_of(model)
    graph = _proto(model).graph
    shapes: dict[str, tuple[int, ...] | None] = {item.name: tuple(item.dims) for item in graph.initializer}
    outputs = {item.name for item in graph.output}
    places: dict[str, int] = {}
    layers: list[Layer] = []
    for node in nodes:
        given = [name for name in (*node.input, *read_inside(node)) if name]
        if node.op_type == "Constant" or (given and all(name in shapes for name in given)):
            shapes.update(dict.fromkeys(node.output, _constant_shape(node)))
            continue
        kind = _kind(node, shapes)
        layers.append(
            Layer(
                path=source_path(node) or node.name,
                kind=kind,
                operator=node.op_type,
                name=node.name,
                inputs=tuple(dict.fromkeys(places[name] for name in given if name in places)),
                weighted=kind in _WEIGHTED and any(name in shapes for name in given[:2]),
                is_output=any(name in outputs for name in node.output),
            )
        )
        places.update(dict.fromkeys(filter(None, node.output), len(layers) - 1))
    return layers


def read_inside(node: Any) -> list[str]:
    """Tensors of the main graph that the graphs inside a node (of a loop, of a branch) read."""
    read: list[str] = []
    for item in node.attribute:
        for graph in (*([item.g] if item.HasField("g") else []), *item.graphs):
            own = {entry.name for entry in (*graph.input, *graph.initializer)}
            own.update(name for inner in graph.node for name in inner.output)
            names = (name for inner in graph.node for name in (*inner.input, *read_inside(inner)))
            read += [name for name in names if name not in own]
    return read


def nodes_of(model: Any) -> list[Any]:
    """Copies of the nodes of the main graph, each with a name of its own."""
    copies = []
    graph = _proto(model).graph
    for node, name in zip(graph.node, names_of(graph.node), strict=True):
        copied = type(node)()
        copied.CopyFrom(node)
        copied.name = name
        copies.append(copied)
    return copies


def names_of(nodes: Iterable[Any]) -> list[str]:
    """A name for each node: its own, else one made of its first output, numbered where it is taken."""
    taken: set[str] = set()
    counts: dict[str, int] = {}  # where to go on: thousands of nodes may have one name
    names = []
    for node in nodes:
        wanted = node.name or f"{node.op_type}_{next(filter(None, node.output), '')}"
        name = wanted
        while name in taken:
            counts[wanted] = counts.get(wanted, 0) + 1
            name = f"{wanted}_{counts[wanted]}"
        taken.add(name)
        names.append(name)
    return names


def source_path(node: Any) -> str:
    """The module path that torch.onnx keeps as metadata; empty where there is none."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            modules = [scope for scope in _scopes(entry.value)[:-1] if scope]  # the last is the node itself
            if modules:
                return modules[-1]
    return ""


def _scopes(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []  # metadata is free text; the node's name serves as well
    return [str(scope) for scope in found] if isinstance(found, list) else []


def _proto(model: Any) -> Any:
    import onnx

    return onnx.load(model, load_external_data=False) if isinstance(model, str | Path) else model


def _constant_shape(node: Any) -> tuple[int, ...] | None:
    for item in node.attribute:
        if item.name == "value":
            return tuple(item.t.dims)
    return None  # computed from others; that it is constant is enough


def _kind(node: Any, constants: dict[str, tuple[int, ...] | None]) -> str:
    """What a node does, in one word; ``constants`` are shapes of stored tensors, ``None`` where not known."""
    operator = str(node.op_type)
    if operator == "Conv":
        group = next((item.i for item in node.attribute if item.name == "group"), 1)
        shape = constants.get(node.input[1])
        return "depthwise_conv" if group > 1 and shape is not None and shape[1] == 1 else "conv"
    if operator == "MatMul":
        return "linear" if any(name in constants for name in node.input) else "matmul"
    if operator == "Gather":
        shape = constants.get(node.input[0])
        return "embedding" if shape is not None and len(shape) > 1 else "gather"
    if operator in _KINDS:
        return _KINDS[operator]
    return {"RNN": "rnn", "LSTM": "lstm", "GRU": "gru"}.get(operator, operator.lower())
