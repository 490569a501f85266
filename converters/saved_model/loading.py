"""A TensorFlow model from its files to a clean SavedModel and reference outputs, in one child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters import opening, shapes
from converters.saved_model import form, graph_files, graphs, kinds, program
from converters.saved_model.entries import Entry, of_saved_model
from converters.saved_model.graphs import Endpoint
from converters.saved_model.program import Program
from edgekit.errors import UsageError
from edgekit.feeds import Array
from edgekit.inputs import parse
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature, TensorSpec

_SAME_VALUES = frozenset("Cast ExpandDims Identity Reshape Squeeze StridedSlice".split())
"""Operators between an input and an embedding that leave its values as they are."""


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.saved_model.load`."""
    entry = open_entry(request)
    inputs = shapes.settle([spec_of(item, request) for item in entry.inputs], request)
    with program.running(entry, request.trust) as model:
        made = program.static(model.frozen(), entry, inputs)
        signature = program.signature(made, entry, inputs)
        chosen = opening.write_feeds(request, signature, _embedding_rows(made, inputs))
        outputs = opening.write_reference(request, signature, chosen, model.run)
    signature = _with_sizes(signature, outputs)
    if request.program:
        form.write(made.call, signature, Path(request.into) / "program")
    return opening.loaded(
        request,
        kind=entry.kind,
        signature=signature,
        program="program",
        fingerprint=_fingerprint(entry, signature),
        notes=[*entry.notes, *made.notes],
    )


def open_entry(request: LoadRequest, every_sink: bool = False) -> Entry:
    """What of a file or folder is to be converted.

    Args:
        request: Of the command.
        every_sink: As in :func:`converters.saved_model.graph_files.of_graph`.
    """
    path = Path(request.path)
    if path.is_dir():
        return of_saved_model(request)
    if kinds.identify(path) == kinds.Kind.PROTO:
        graph_files.refuse_alone(path)
    return graph_files.of_graph(request, every_sink)


def spec_of(item: Endpoint, request: LoadRequest) -> TensorSpec:
    """An input as :func:`converters.shapes.settle` takes it.

    Raises:
        UsageError: Not even its rank is known.
    """
    shape = item.shape
    if shape is None:
        given = [found.shape for found in map(parse, request.inputs) if found.name in ("", item.name)]
        if not given:
            raise UsageError(
                f"{request.path}: the model does not say the shape of its input {item.name} ({item.dtype}).",
                hint=f"--input {item.name}=1,224,224,3   (with your sizes)",
            )
        shape = given[0]
    return TensorSpec(item.name, shape, item.dtype)


def _with_sizes(signature: Signature, outputs: dict[str, Array]) -> Signature:
    """The signature with the sizes that outputs turned out to have; they were the same for every sample."""
    found = [
        replace(spec, shape=outputs[spec.name].shape[1:]) if None in spec.shape else spec for spec in signature.outputs
    ]
    return replace(signature, outputs=tuple(found))


def _fingerprint(entry: Entry, signature: Signature) -> str:
    """Of the files, and of what was chosen of them."""
    folder = entry.path
    files = [folder] if folder.is_file() else [folder / kinds.FILE, folder / kinds.TEXT_FILE, folder / "variables"]
    ends = [f"{item.name} {item.tensor}" for item in (*entry.inputs, *entry.outputs)]
    return opening.fingerprint(*(file for file in files if file.exists()), *ends, *map(str, signature.inputs))


def _embedding_rows(made: Program, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """How many rows the tables have that whole numbers among the inputs select from; the fewest, of several."""
    found: dict[str, int] = {}
    for spec, tensor in zip(inputs, made.inputs, strict=True):
        if not spec.dtype.startswith(("int", "uint")):
            continue
        same = {tensor}
        for item in made.operations:
            names = [given.name for given in item.inputs]
            if item.type in _SAME_VALUES and names and names[0] in same:
                same.add(item.outputs[0].name)
            elif (rows := _rows(item, names, same)) is not None:
                found[spec.name] = min(rows, found.get(spec.name, rows))
    return found


def _rows(item: Any, names: list[str], same: set[str]) -> int | None:
    if item.type not in ("Gather", "GatherV2", "ResourceGather") or names[1] not in same:
        return None
    axis = 0
    if item.type == "GatherV2" and item.inputs[2].op.type == "Const":
        axis = int(graphs.constant(item.inputs[2].op))
    size = item.inputs[0].shape[axis] if item.inputs[0].shape.rank is not None else None
    return None if size is None else int(size)
