"""What is in a TFLite file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.facts import Contents, OperatorFacts, assemble, float_ones, layer_facts, unchecked_reading
from converters.tflite import layers
from converters.tflite._arithmetic import is_uncounted, macs, numbers_of
from converters.tflite._file import Model, Operator, numbers, read, text
from converters.tflite._paths import locations, module_path
from converters.tflite._sizes import Elements, elements_of
from edgekit.types import FloatOperator, Signature, TensorSpec, to_json


def inspect(path: str) -> dict[str, Any]:
    """The facts of a TFLite file, as JSON of :class:`converters.facts.ModelFacts`. Runs in a child.

    Raises:
        ConversionError: The file is truncated or damaged.
    """
    with unchecked_reading(Path(path), "TFLite", "ai-edge-litert"):
        model = read(Path(path))
        facts = assemble(
            _contents(model),
            format="TFLite",
            kind=f"TFLite model, schema version {model.raw.version}",
            signature=signature_of(model),
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
    stored = model.stored().values()
    by_dtype: dict[str, int] = {}
    for tensor in stored:
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.stored_bytes
    scales = _scales(model)
    dynamic_batch = any(spec.shape[:1] == (None,) for spec in signature_of(model).inputs)
    return Contents(
        operators=_operators(model),
        parameters=sum(tensor.elements for tensor in stored if tensor.is_weight and tensor.buffer not in scales),
        weights_bytes_by_dtype=by_dtype,
        uncounted=[item.kind for item in model.subgraphs[model.entry] if is_uncounted(item.kind)],
        assumption="dynamic batch taken as 1" if dynamic_batch else "",
    )


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
    return [
        _operator_facts(item, model, elements if index == model.entry else None)
        for index, graph in enumerate(model.subgraphs)
        for item in graph
    ]


def _operator_facts(item: Operator, model: Model, elements: Elements | None) -> OperatorFacts:
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
