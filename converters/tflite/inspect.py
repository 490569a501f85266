"""What is in a TFLite file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.facts import Contents, OperatorFacts, assemble, float_ones, layer_facts, unchecked_reading
from converters.tflite import layers
from converters.tflite._arithmetic import is_uncounted, macs, numbers_of
from converters.tflite._explorer import graph_names
from converters.tflite._file import Model, Operator, Tensor, numbers, read, text
from converters.tflite._moved import moved_bytes, weights_bytes
from converters.tflite._paths import locations, module_path
from converters.tflite._sized import Sized, at_sizes
from converters.tflite._sizes import Elements, elements_of
from converters.work import StoredTensor
from edgekit.requests import LoadRequest
from edgekit.types import FloatOperator, Signature, TensorSpec, to_json


def inspect(path: str, inputs: Sequence[str] = ()) -> dict[str, Any]:
    """The facts of a TFLite file, as JSON of :class:`converters.facts.ModelFacts`. Runs in a child.

    Args:
        path: The file.
        inputs: ``--input`` as typed: sizes to count for, of a file that leaves some open. It is run once, then.

    Raises:
        ConversionError: The file is truncated or damaged.
        UsageError: The inputs are not those of the file.
    """
    with unchecked_reading(Path(path), "TFLite", "ai-edge-litert"):
        model = read(Path(path))
        signature = signature_of(model)
    sizes = _asked(model, signature, path, inputs)
    with unchecked_reading(Path(path), "TFLite", "ai-edge-litert"):
        sized = at_sizes(model, Path(path).read_bytes(), sizes) if sizes else Sized(model)
        model = sized.model
        facts = assemble(
            replace(_contents(model), not_counted=sized.problem),
            format="TFLite",
            kind=f"TFLite model, schema version {model.raw.version}",
            signature=signature,
            producer=text(model.raw.description),
            metadata=_metadata(model.raw),
            notes=_notes(model),
        )
        listed = layers.of(model)
    found: dict[str, Any] = to_json(replace(facts, layers=layer_facts(listed)))
    return found


def float_operators(path: Path) -> list[FloatOperator]:
    """The operators that compute in floating point, data movement and conversions left out.

    An operator with 8-bit weights and float activations counts as quantized, as LiteRT quantizes its input
    at run time; one whose weights are dequantized first does not.

    Raises:
        ConversionError: The file is truncated or damaged.
    """
    return list(float_ones(operator_facts(path)))


def operator_facts(path: Path) -> list[OperatorFacts]:
    """All operators, those of every subgraph.

    Raises:
        ConversionError: The file is truncated or damaged.
    """
    with unchecked_reading(path, "TFLite", "ai-edge-litert"):
        return _operators(read(path))


def _contents(model: Model) -> Contents:
    signature, stored = signature_of(model), model.stored().values()
    by_dtype: dict[str, int] = {}
    for tensor in stored:
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.stored_bytes
    scales = _scales(model)
    dynamic_batch = any(spec.shape[:1] == (None,) for spec in signature.inputs)
    return Contents(
        operators=_operators(model),
        parameters=sum(tensor.elements for tensor in stored if tensor.is_weight and tensor.buffer not in scales),
        weights_bytes_by_dtype=by_dtype,
        uncounted=[item.kind for item in model.subgraphs[model.entry] if is_uncounted(item.kind)],
        assumption="dynamic batch taken as 1" if dynamic_batch else "",
        stored=_stored(model),
        counted_shapes={spec.name: tuple(size or 1 for size in spec.shape) for spec in signature.inputs},
    )


def _asked(model: Model, signature: Signature, path: str, inputs: Sequence[str]) -> dict[int, TensorSpec]:
    """The inputs at the sizes asked for, by index of the tensor; empty when none were."""
    if not inputs:
        return {}
    from converters.shapes import settle

    specs = settle(signature.inputs, LoadRequest(path, inputs=tuple(inputs)))
    return dict(zip(_order(model, signature), specs, strict=True))


def _order(model: Model, signature: Signature) -> list[int]:
    """Index of the tensor of each input."""
    definition = model.raw.signatureDefs[0] if model.raw.signatureDefs else None
    named = {text(entry.name): int(entry.tensorIndex) for entry in (definition and definition.inputs) or ()}
    plain = numbers(model.raw.subgraphs[model.entry].inputs)
    return [named[spec.name] for spec in signature.inputs] if named else list(plain)


def _stored(model: Model) -> list[StoredTensor]:
    """All stored tensors, each buffer once, with the operator that reads it."""
    operators = [item for graph in model.subgraphs for item in graph]
    readers: dict[int, str] = {}
    # Of weights that are dequantized first, the operator behind is the one that matters.
    for item in sorted(operators, key=lambda item: item.kind == "DEQUANTIZE"):
        for tensor in (*item.inputs, *item.weights):
            if tensor is not None and tensor.stored_bytes:
                readers.setdefault(tensor.buffer, item.kind)
    return [_stored_tensor(tensor, readers.get(buffer, "")) for buffer, tensor in model.stored().items()]


def _stored_tensor(tensor: Tensor, operator: str) -> StoredTensor:
    return StoredTensor(tensor.name, tensor.dtype, tensor.shape, tensor.stored_bytes, operator)


def _scales(model: Model) -> set[int]:
    """Buffers of the tensors that hold a scale per block of other tensors."""
    return {
        tensors[item.quantization.details.scales].buffer
        for graph, tensors in zip(model.raw.subgraphs, model.tensors, strict=True)
        for item in graph.tensors
        if item.quantization is not None and hasattr(item.quantization.details, "scales")
    }


def signature_of(model: Model) -> Signature:
    """Names from the first SignatureDef, order from the subgraph.

    A SignatureDef sorts its tensors by name, so ``args_10`` comes before ``args_2`` there.
    """
    graph, tensors = model.raw.subgraphs[model.entry], model.tensors[model.entry]
    definition = model.raw.signatureDefs[0] if model.raw.signatureDefs else None

    def specs(indices: Any, maps: Any) -> tuple[TensorSpec, ...]:
        order = {index: place for place, index in enumerate(numbers(indices))}
        # Two names may stand for one tensor, so this keeps a name per entry, not per tensor.
        named = [(entry.tensorIndex, text(entry.name)) for entry in maps or ()]
        named.sort(key=lambda entry: order.get(entry[0], len(order)))
        pairs = named or [(index, tensors[index].name) for index in order]
        return tuple(
            TensorSpec(name, tensors[index].sizes, tensors[index].dtype, *_parameters(graph.tensors[index]))
            for index, name in pairs
        )

    return Signature(
        specs(graph.inputs, definition and definition.inputs),
        specs(graph.outputs, definition and definition.outputs),
    )


def _parameters(tensor: Any) -> tuple[float | None, int | None]:
    """Scale and zero point of a tensor that has one of each."""
    found = tensor.quantization
    if found is None or found.scale is None or len(found.scale) != 1:
        return None, None
    return float(found.scale[0]), int(found.zeroPoint[0]) if found.zeroPoint is not None else 0


def _operators(model: Model) -> list[OperatorFacts]:
    # Operators of other subgraphs count where a composite calls them.
    elements = elements_of(model, model.entry)
    names = graph_names(model)
    return [
        replace(
            _operator_facts(item, model, elements if index == model.entry else None, f"{index}:{place}"),
            explorer=(names[index], str(place)) if names[index] else None,
        )
        for index, graph in enumerate(model.subgraphs)
        for place, item in enumerate(graph)
    ]


def _operator_facts(item: Operator, model: Model, elements: Elements | None, node: str) -> OperatorFacts:
    weights = max(item.weights, key=lambda tensor: tensor.elements, default=None)
    computes, activations = numbers_of(item, weights)
    return OperatorFacts(
        operator=item.kind,
        name=_source_name(item),
        computes=computes,
        weights=weights.dtype if weights else "",
        activations=activations,
        macs=macs(item, elements, model) if elements is not None else 0,
        macs_unknown="a size of it is only known at run time",
        node=node,
        weights_bytes=weights_bytes(item),
        moved_bytes=moved_bytes(item, elements, model) if elements is not None else 0,
    )


def _source_name(item: Operator) -> str:
    """The module path that litert-torch keeps in tensor names, else the first of the joined names.

    Graph outputs are renamed, so where the output tells nothing the operator's weights may.
    """
    candidates = [tensor.name for tensor in item.outputs + item.weights]
    for name in candidates:
        path = module_path(name)
        if path:
            return path
    if not candidates:
        return ""
    # The number behind a location tells the operators of one module apart. Of TensorFlow's joined names the
    # first is the operator that the others were fused into.
    return candidates[0] if locations(candidates[0]) else candidates[0].split(";")[0]


def _metadata(raw: Any) -> dict[str, str]:
    """Metadata that is text, and the size of what is not."""
    found = {}
    for entry in raw.metadata or ():
        data = raw.buffers[entry.buffer].data
        content = b"" if data is None else bytes(data).rstrip(b"\0")
        readable = content.isascii() and content.decode("ascii").isprintable()
        found[text(entry.name)] = content.decode("ascii") if readable else f"({len(content)} bytes, binary)"
    return found


def _notes(model: Model) -> list[str]:
    kinds = {item.kind for graph in model.subgraphs for item in graph}
    custom = sorted(kind.removeprefix("custom:") for kind in kinds if kind.startswith("custom:"))
    flex = [name for name in custom if name.startswith("Flex")]
    other = [name for name in custom if not name.startswith("Flex")]
    notes = []
    if flex:
        notes.append(f"Needs the Flex delegate (TensorFlow kernels) for {', '.join(flex)}.")
    if other:
        notes.append(f"Needs custom operators that the runtime must register: {', '.join(other)}.")
    signatures = [text(item.signatureKey) for item in model.raw.signatureDefs or ()]
    if len(signatures) > 1:
        notes.append(
            f"Has {len(signatures)} signatures ({', '.join(signatures)}); inputs, outputs and MACs are those "
            f"of {signatures[0]}, operators and weights those of the whole file."
        )
    return notes
