"""The float file as both calibration and quantization use it, so that their tensors have the same names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.layers import Layer, resolve
from converters.onnx import loading
from converters.onnx.layers import SCOPES, layers_of, names_of, nodes_of
from edgekit.errors import ConversionError, first_line
from edgekit.types import Rule

_PER_CHANNEL_OPSET = 13
_BIAS = 2


def prepare(source: str, into: str) -> str:
    """Fuse what ONNX Runtime's basic optimizer fuses, infer shapes, and give every node a name.

    Args:
        source: Path of a float ONNX file.
        into: Path to write.

    Returns:
        ``into``.

    Raises:
        ConversionError: The file cannot be optimized.
    """
    import onnx

    model = loaded(source)
    name_nodes(model)
    before = _copied(model)
    _pre_process(model, into)
    prepared = _upgraded(onnx.load(into))
    _flatten_biases(prepared)
    name_nodes(prepared)
    restore_paths(before, prepared)
    onnx.save(prepared, into)
    return into


def _pre_process(model: Any, into: str) -> None:
    """ONNX Runtime's own preparation; its symbolic shape inference is not needed where sizes are fixed.

    It fails on shapes that a graph computes, as torch.onnx writes them without dynamo: a bare assertion in Reshape.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(_copied(model), into)
    except Exception:  # symbolic shape inference raises plain exceptions
        try:
            quant_pre_process(model, into, skip_symbolic_shape=True)
        except Exception as error:
            raise ConversionError(
                f"ONNX Runtime's quantization pre-processing: {type(error).__name__}: {first_line(error)}"
            ) from error


def _copied(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _upgraded(model: Any) -> Any:
    """The model in an opset in which quantized weights can have a scale per channel."""
    import onnx

    opset = max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if opset >= _PER_CHANNEL_OPSET:
        return model
    try:
        return onnx.shape_inference.infer_shapes(onnx.version_converter.convert_version(model, _PER_CHANNEL_OPSET))
    except Exception as error:  # a class of the native module
        raise ConversionError(
            f"The model is in opset {opset}, and onnx cannot rewrite it to {_PER_CHANNEL_OPSET}: {first_line(error)}",
            hint="Export it again with a newer opset, or use --fp16.",
        ) from error


def _flatten_biases(model: Any) -> None:
    """Biases of Gemm as vectors: ONNX Runtime's quantizer stumbles over (1, outputs)."""
    stored = {item.name: item for item in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        bias = stored.get(node.input[_BIAS]) if node.op_type == "Gemm" and len(node.input) > _BIAS else None
        if bias is not None and readers[bias.name] == 1 and bias.dims[:-1] == [1]:
            del bias.dims[0]


def loaded(path: str) -> Any:
    """A model whose functions are inlined and whose weights no caller can override.

    Raises:
        UnsupportedError: Its weights are more than one file can hold.
    """
    model = loading.inlined(loading.whole(path), path)
    bare(model)
    return model


def bare(model: Any) -> None:
    """Take the weights out of the inputs, in place: then no caller can override them."""
    # Before IR version 4 every stored tensor had to be an input as well.
    model.ir_version = max(4, model.ir_version)
    stored = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def name_nodes(model: Any) -> None:
    """Give each node the name that :class:`converters.layers.Layer` knows it by: unique, and never empty."""
    for node, name in zip(model.graph.node, names_of(model.graph.node), strict=True):
        node.name = name


def node_schemes(source: str, prepared: Any, rules: Sequence[Rule], default: str) -> dict[str, str]:
    """The scheme of each node of a prepared model.

    Rules are resolved on the layers of the file as it came, which are those a user sees. A prepared node may stand for
    several of them; then the ones with weights decide.

    Args:
        source: Path of the float file.
        prepared: What :func:`prepare` made of it.
        rules: In order.
        default: Scheme of the nodes that no rule matches.

    Returns:
        Node name to scheme.

    Raises:
        UsageError: A rule matches nothing.
    """
    if not rules:
        return {node.name: default for node in prepared.graph.node}
    model = loaded(source)
    layers = layers_of(model)
    chosen = resolve(layers, rules, "ONNX")
    origins = _origins(model, layers, prepared)
    return {name: _decided(places, layers, chosen) or default for name, places in origins.items()}


def _decided(places: Sequence[int], layers: Sequence[Layer], chosen: Sequence[str | None]) -> str | None:
    weighted = [place for place in places if layers[place].weighted]
    return next((chosen[place] for place in weighted or places if chosen[place]), None)


def _origins(model: Any, layers: Sequence[Layer], prepared: Any) -> dict[str, list[int]]:
    """Of each prepared node the layers it computes: those between its output and the tensors that still exist.

    A node whose output is new is part of a layer that was taken apart: the one its result goes to.
    """
    places = {layer.name: place for place, layer in enumerate(layers)}
    makers = {name: node for node in nodes_of(model) for name in node.output if name}
    kept = {name for node in prepared.graph.node for name in (*node.input, *node.output)}
    readers = {name: node.name for node in reversed(prepared.graph.node) for name in node.input}
    found: dict[str, list[int]] = {}
    for node in reversed(prepared.graph.node):
        todo, seen = [makers[name] for name in node.output if name in makers], set[str]()
        while todo:
            origin = todo.pop()
            if origin.name not in seen:
                seen.add(origin.name)
                todo += [makers[name] for name in origin.input if name not in kept and name in makers]
        found[node.name] = sorted(places[name] for name in seen if name in places)
        if not seen:
            after = next((readers[name] for name in node.output if name in readers), "")
            found[node.name] = found.get(after, [])
    return found


def restore_paths(model: Any, prepared: Any) -> None:
    """Give nodes that the optimizer made the module paths of what they stand for, where torch.onnx puts them."""
    layers = layers_of(model)
    origins = _origins(model, layers, prepared)
    for node in prepared.graph.node:
        paths = dict.fromkeys(layers[place].path for place in origins[node.name])
        if paths and not node.metadata_props:
            entry = node.metadata_props.add()
            entry.key, entry.value = SCOPES, repr(["", "+".join(paths), node.name])


def threads() -> int:
    """How many threads the command gave this job."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def remove(path: str) -> None:
    """Delete a prepared file: it is as large as the model."""
    Path(path).unlink(missing_ok=True)
