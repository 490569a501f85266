"""A TFLite file as tf2onnx can read it.

It goes by tensor names, which in files of others are repeated, empty, or what it would call its own tensors; it knows
no composites, and no buffers behind the flatbuffer.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.facts import unchecked_reading
from converters.tflite import _file, layers
from converters.tflite._file import numbers, text
from edgekit.errors import ConversionError
from edgekit.types import Signature

_COMPOSITE = "STABLEHLO_COMPOSITE"


@dataclass(frozen=True)
class Prepared:
    """What is written for tf2onnx.

    Attributes:
        model: The file as it came.
        content: The file for tf2onnx.
        inputs, outputs: Names of its tensors, in the order of the signature.
        layers: Paths of all layers; each is in the names of the tensors that it makes (``block/conv/t12``).
        operators: Kind and layer path of every operator.
    """

    model: _file.Model
    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: frozenset[str]
    operators: tuple[tuple[str, str], ...]


def prepare(path: Path, signature: Signature) -> Prepared:
    """Read a file with one signature, whose subgraph is the first.

    Args:
        path: The file.
        signature: Its names, in order.

    Raises:
        ConversionError: It is damaged, or has other names.
    """
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        data = path.read_bytes()
        model = _file.read(path)
        raw = copy.deepcopy(model.raw)
        main = raw.subgraphs[model.entry]
        paths = _makers(model)
        places = [item.path for item in layers.of(model)]
        _inline(raw, main, paths, places)
        for buffer in raw.buffers:
            if buffer.offset > 1:
                buffer.data = data[buffer.offset : buffer.offset + buffer.size]
                buffer.offset = buffer.size = 0
        for number, graph in enumerate(raw.subgraphs):
            for index, tensor in enumerate(graph.tensors):
                scopes = paths.get(index, "").replace(".", "/") if graph is main else f"subgraph{number}"
                tensor.name = "/".join(filter(None, [scopes, f"t{index}"])).encode()
        found = _file.indexed(raw, len(data))
    inputs, outputs = _borders(raw, main, signature, path)
    entry = [(item.kind, place) for item, place in zip(found.subgraphs[model.entry], places, strict=True)]
    others = [
        (item.kind, "") for graph in found.subgraphs if graph is not found.subgraphs[model.entry] for item in graph
    ]
    return Prepared(
        model,
        _file.serialized(raw, b""),
        inputs,
        outputs,
        frozenset(filter(None, [*paths.values(), *places])),
        (*entry, *others),
    )


def _makers(model: _file.Model) -> dict[int, str]:
    """Tensor to the path of the layer that makes it, in the entry."""
    found = layers.of(model)
    return {
        tensor.index: layer.path
        for item, layer in zip(model.subgraphs[model.entry], found, strict=True)
        for tensor in item.outputs
    }


def _borders(raw: Any, main: Any, signature: Signature, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    definition = raw.signatureDefs[0]
    names = []
    for entries, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
        own = {text(entry.name): main.tensors[entry.tensorIndex].name.decode() for entry in entries}
        if any(spec.name not in own for spec in specs):
            raise ConversionError(f"{path}: its signature has {', '.join(own)}.")
        names.append(tuple(own[spec.name] for spec in specs))
    return names[0], names[1]


def _inline(raw: Any, main: Any, paths: dict[int, str], places: list[str]) -> None:
    """Put the operators of composites in their place, in place, along with their layer paths."""
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in raw.operatorCodes]
    composite = _composite_code()
    inlined, place = False, 0
    while place < len(main.operators):
        operator = main.operators[place]
        if codes[operator.opcodeIndex] != composite:
            place += 1
            continue
        body = raw.subgraphs[operator.builtinOptions2.decompositionSubgraphIndex]
        known = dict(zip(numbers(body.inputs), numbers(operator.inputs), strict=True))
        known |= dict(zip(numbers(body.outputs), numbers(operator.outputs), strict=True))
        for index, tensor in enumerate(body.tensors):
            if index not in known:
                known[index] = len(main.tensors)
                main.tensors.append(copy.deepcopy(tensor))
                paths[known[index]] = places[place]
        inner = [copy.deepcopy(item) for item in body.operators]
        for item in inner:
            item.inputs = [known.get(index, index) for index in numbers(item.inputs)]
            item.outputs = [known[index] for index in numbers(item.outputs)]
        main.operators = [*main.operators[:place], *inner, *main.operators[place + 1 :]]
        places[place : place + 1] = [places[place]] * len(inner)
        inlined = True
    if inlined and not any(_calls(item) for item in main.operators):
        raw.subgraphs = [main]
    used = {item.opcodeIndex for graph in raw.subgraphs for item in graph.operators}
    for index, code in enumerate(raw.operatorCodes):
        if index not in used:  # tf2onnx looks at all codes, and does not know the newer ones
            code.builtinCode = code.deprecatedBuiltinCode = 0


def _calls(operator: Any) -> bool:
    """Whether it names subgraphs: loops and branches."""
    options = operator.builtinOptions
    return options is not None and any(name.endswith("SubgraphIndex") for name in vars(options))


def _composite_code() -> int:
    from ai_edge_litert import schema_py_generated as schema

    return int(getattr(schema.BuiltinOperator, _COMPOSITE))
