"""What every way through tf2onnx shares: running it, hearing what it could not do, and putting its result in order."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.onnx._affine import fold
from converters.onnx._graph import sort
from converters.onnx._prepare import restore_paths
from converters.onnx.layers import SCOPES, names_of
from edgekit.errors import ConversionError, first_line
from edgekit.types import Signature

_OUTPUT_SUFFIX = "__edgekit"
_COUNT = re.compile(r"(?<=einsum)\d+|(?<=__)\d+")
"""What tf2onnx numbers names with: addresses in memory, and a counter that no two runs advance alike."""


@dataclass
class Heard:
    """What tf2onnx logged: it goes on where it cannot convert a node, and leaves the node in.

    Attributes:
        unknown: Operator and node name of each node that it has no conversion for.
        failed: Node name and reason of each that it has one for, which refused.
    """

    unknown: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


class _Listener(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.ERROR)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        if str(record.msg).startswith("Tensorflow op [") and len(arguments) == len(("name", "operator")):
            self.heard.unknown.append((str(arguments[1]), str(arguments[0])))
        elif record.exc_info and isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            self.heard.failed.append((str(arguments[0]) if arguments else "", first_line(record.exc_info[1])))


@contextmanager
def listening() -> Iterator[Heard]:
    """Collects tf2onnx's errors; nothing is printed meanwhile."""
    import tf2onnx  # noqa: F401 - sets up its loggers
    from tf2onnx import utils

    utils.INTERNAL_NAME = 1  # what it numbers names with: a file is the same whatever was converted before
    heard = Heard()
    listener, logger = _Listener(heard), logging.getLogger("tf2onnx")
    before = logger.level, logger.propagate, logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.addHandler(listener)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logging.disable(before[2])


def newest_opset() -> int:
    """The newest that tf2onnx writes."""
    from tf2onnx import constants

    return int(max(constants.OPSET_TO_IR_VERSION))


def foreign(model: Any) -> list[tuple[str, str]]:
    """Operators that ONNX does not have, with node names: what was not converted."""
    import onnx

    versions = {item.domain: item.version for item in model.opset_import}
    found = []
    for node in nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            found.append((node.op_type, node.name))
        else:
            try:
                onnx.defs.get_schema(node.op_type, versions.get("", newest_opset()), "")
            except onnx.defs.SchemaError:
                found.append((node.op_type, node.name))
    return found


def nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for inner in _inside(node):
            yield from nodes(inner)


def _inside(node: Any) -> Iterable[Any]:
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def finish(
    model: Any,
    output: Path,
    signature: Signature,
    inputs: Sequence[str],
    outputs: Sequence[str],
    layers: Collection[str],
    metadata: Mapping[str, str] = {},
) -> Any:
    """Write tf2onnx's result: user's names, what is constant computed, layer paths on the nodes, no traces.

    Args:
        model: ``ModelProto``, changed in place.
        output: File to write.
        signature: The user's names, in order; open sizes get names too.
        inputs: Names of the same tensors in ``model``.
        outputs: As inputs.
        layers: Paths of all layers (``block.conv``); nodes and tensors have them in their names (``block/conv/Add``).
        metadata: For the file.

    Returns:
        The model as written.

    Raises:
        ConversionError: ONNX Runtime cannot load it.
    """
    import onnx

    _name(model.graph, signature, inputs, outputs)
    _anonymous(model)
    for node, name in zip(model.graph.node, names_of(model.graph.node), strict=True):
        node.name = name
    _set_paths(model.graph, layers)
    _number_again(model.graph)
    optimized = _optimized(model, output)
    restore_paths(model, optimized)
    fold(optimized.graph)
    _drop_unused(optimized.graph)
    _forget_sizes(optimized.graph)
    _use_signature(optimized.graph, signature)
    sort(optimized.graph)
    onnx.helper.set_model_props(optimized, dict(metadata))
    onnx.save(optimized, output)
    return optimized


def _name(graph: Any, signature: Signature, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Rename and order the borders of a graph, in place.

    An output that several names share, or that is an input, becomes a copy: tensors of ONNX have one name.
    """
    entries = {item.name: item for item in (*graph.input, *graph.output)}
    wanted = {old: spec.name for old, spec in zip(inputs, signature.inputs, strict=True)}
    copies: list[tuple[str, str]] = []
    for old, spec in zip(outputs, signature.outputs, strict=True):
        if old in wanted:
            copies.append((old, spec.name))
        else:
            wanted[old] = spec.name
    # What is called like that already, inside, makes way.
    taken = {spec.name for spec in (*signature.inputs, *signature.outputs)} - set(wanted)
    _rename(graph, {name: f"{name}{_OUTPUT_SUFFIX}" for name in taken} | wanted)
    for old, new in copies:
        graph.node.add(op_type="Identity", name=f"{new}_copy", input=[wanted[old]], output=[new])
    for border, names, specs in ((graph.input, inputs, signature.inputs), (graph.output, outputs, signature.outputs)):
        ordered = []
        for old, spec in zip(names, specs, strict=True):
            item = type(entries[old])()
            item.CopyFrom(entries[old])
            item.name = spec.name
            ordered.append(item)
        del border[:]
        border.extend(ordered)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename tensors, in place, in the graphs inside too."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _inside(node):
            _rename(inner, names)
    for item in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        item.name = names.get(item.name, item.name)


def _anonymous(model: Any) -> None:
    """Drop what says where and from what the file was made."""
    model.doc_string = model.graph.doc_string = ""
    model.graph.name = "model"
    for node in nodes(model.graph):
        node.doc_string = ""


def _number_again(graph: Any) -> None:
    """Count tf2onnx's own tensors in the order of the graph, in place, so that equal models make equal files."""
    known: dict[str, str] = {}

    def renamed(name: str) -> str:
        return _COUNT.sub(lambda found: known.setdefault(found[0], str(len(known))), name)

    borders = {item.name for item in (*graph.input, *graph.output)}
    tensors = dict.fromkeys(name for node in nodes(graph) for name in (*node.output, *node.input))
    _rename(graph, {name: renamed(name) for name in tensors if name not in borders and _COUNT.search(name)})
    for node in nodes(graph):
        node.name = renamed(node.name)
    stored = sorted(graph.initializer, key=lambda item: str(item.name))
    del graph.initializer[:]
    graph.initializer.extend(stored)


def _drop_unused(graph: Any) -> None:
    """Remove stored tensors that nothing reads."""
    read = {name for node in nodes(graph) for name in node.input} | {item.name for item in graph.output}
    kept = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _optimized(model: Any, output: Path) -> Any:
    """What ONNX Runtime makes of it with its basic optimizations: constants folded, normalization in convolutions.

    It does the same whenever it loads a file; written down, the file says what is computed.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    written = output.with_suffix(".optimized")
    options.optimized_model_filepath = str(written)
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # classes of the native module
        raise ConversionError(f"ONNX Runtime cannot load what tf2onnx made: {first_line(error)}") from error
    found = onnx.load(written)
    written.unlink()
    used = {node.domain for node in nodes(found.graph)} | {""}
    kept = [item for item in found.opset_import if item.domain in used]
    del found.opset_import[:]
    found.opset_import.extend(kept)
    del found.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(found)


def _set_paths(graph: Any, layers: Collection[str]) -> None:
    """Write layer paths where torch.onnx puts them, and where :func:`converters.onnx.layers.source_path` looks.

    Nodes that tf2onnx made have no layer in their name: their tensors may tell, else what is before or behind them.
    """
    found = [_own_path(node, layers) for node in graph.node]
    for order in (range(len(found)), range(len(found) - 1, -1, -1)):
        paths: dict[str, str] = {}
        for place in order:
            node = graph.node[place]
            sources, results = (node.input, node.output) if order.step > 0 else (node.output, node.input)
            found[place] = found[place] or next((paths[name] for name in sources if paths.get(name)), "")
            for name in results:
                paths.setdefault(name, found[place])
    for node, path in zip(graph.node, found, strict=True):
        del node.metadata_props[:]
        if path:
            entry = node.metadata_props.add()
            entry.key, entry.value = SCOPES, repr(["", path, node.name])


def _own_path(node: Any, layers: Collection[str]) -> str:
    """The layer in a node's name, else in those of its tensors; the weights' before the data's."""
    names = (node.name, *node.output, *node.input[1:], *node.input[:1])
    return next(filter(None, (layer_in(name, layers) for name in names)), "")


def layer_in(name: str, layers: Collection[str]) -> str:
    """The deepest layer whose scopes a name begins with; empty where there is none."""
    scopes = name.split("/")[:-1]
    for end in range(len(scopes), 0, -1):
        if ".".join(scopes[:end]) in layers:
            return ".".join(scopes[:end])
    return ""


def refuse_failed(heard: Heard, layers: Collection[str]) -> None:
    """Refuse a model with nodes that tf2onnx could not convert; it has left them as they were.

    Raises:
        ConversionError: Says all of them, and why.
    """
    if heard.failed:
        listed = "; ".join(f"{layer_in(name, layers) or name}: {reason}" for name, reason in heard.failed)
        raise ConversionError(f"tf2onnx cannot convert {len(heard.failed)} places of this model: {listed}")


def _forget_sizes(graph: Any) -> None:
    """Drop the names that tf2onnx gives to sizes it does not know, in the graphs inside too: they mean nothing."""
    for item in (*graph.input, *graph.output, *graph.value_info):
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param.startswith("unk__"):
                dim.Clear()
    for node in graph.node:
        for inner in _inside(node):
            _forget_sizes(inner)


def _use_signature(graph: Any, signature: Signature) -> None:
    """The sizes of inputs and outputs as the signature has them; each open one is a name of its own."""
    for items, specs in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        for item, spec in zip(items, specs, strict=True):
            del item.type.tensor_type.shape.dim[:]
            for axis, size in enumerate(spec.shape):
                dim = item.type.tensor_type.shape.dim.add()
                if size is None:
                    dim.dim_param = "batch" if axis == 0 else f"{spec.name}_{axis}"
                else:
                    dim.dim_value = size
