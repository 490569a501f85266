"""The names and the order of a signature in a TFLite file that another converter has made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.tflite._file import Model, read, serialized, text
from edgekit.errors import ConversionError
from edgekit.types import Signature

_DROPPED = (b"CONVERSION_METADATA",)
"""Metadata that differs between two conversions of one model."""


def to_signature(
    made: bytes,
    path: Path,
    signature: Signature,
    inputs: Sequence[str],
    outputs: Sequence[str],
    makers: Sequence[str] = (),
) -> Model:
    """Write a file with the user's names, its tensors in the order of the signature.

    Args:
        made: A TFLite file with one signature.
        path: To write.
        signature: The user's names.
        inputs: The names that the file's signature has now, in the order of ``signature``.
        outputs: As inputs.
        makers: What made each output, for the tensors' own names: layers are found by them. As they are if empty.

    Returns:
        What was written.

    Raises:
        ConversionError: The file's signature has other names.
    """
    path.write_bytes(made)
    model = read(path)
    (definition,) = model.raw.signatureDefs
    graph = model.raw.subgraphs[definition.subgraphIndex]
    for entries, specs, own, kind in (
        (definition.inputs, signature.inputs, inputs, "inputs"),
        (definition.outputs, signature.outputs, outputs, "outputs"),
    ):
        found = {text(entry.name): entry for entry in entries}
        if set(found) != set(own):
            raise ConversionError(f"The converter made the {kind} {', '.join(found)} of {', '.join(own)}.")
        ordered = [found[name] for name in own]
        setattr(graph, kind, _order([entry.tensorIndex for entry in ordered], getattr(graph, kind)))
        for entry, spec in zip(ordered, specs, strict=True):
            entry.name = spec.name.encode()
        setattr(definition, kind, ordered)
    for index, name in zip(graph.outputs, makers, strict=False):
        if index not in graph.inputs:
            graph.tensors[index].name = name.encode()
    model.raw.metadata = [entry for entry in model.raw.metadata or () if entry.name not in _DROPPED]
    path.write_bytes(serialized(model.raw, made))
    return read(path)


def _order(wanted: Sequence[int], present: Any) -> list[int]:
    """The tensors of a subgraph as the signature has them; two names may stand for one tensor."""
    return [*dict.fromkeys(wanted), *(index for index in map(int, present) if index not in wanted)]


def changed_dtypes(model: Model, signature: Signature) -> Mapping[str, str]:
    """Inputs and outputs whose dtype in the file is another than in the model: name to that dtype."""
    graph, tensors = model.raw.subgraphs[model.entry], model.tensors[model.entry]
    indices = [*graph.inputs, *graph.outputs]
    specs = (*signature.inputs, *signature.outputs)
    if len(indices) != len(specs):
        return {}
    return {
        spec.name: tensors[index].dtype
        for spec, index in zip(specs, indices, strict=True)
        if tensors[index].dtype != spec.dtype
    }
