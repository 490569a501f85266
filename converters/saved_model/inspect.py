"""What is in a TensorFlow model: the chosen signature, and which others there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from converters import shapes
from converters.facts import Contents, OperatorFacts, assemble, layer_facts
from converters.saved_model import graphs, layers, program
from converters.saved_model.entries import Entry
from converters.saved_model.loading import open_entry, spec_of
from converters.saved_model.program import Program
from converters.work import StoredTensor
from edgekit.inputs import parse
from edgekit.requests import LoadRequest
from edgekit.types import Signature, TensorSpec, from_json, to_json


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a SavedModel or a frozen graph. The model is loaded, and not run.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.

    Returns:
        :class:`converters.facts.ModelFacts` as JSON.
    """
    asked = from_json(LoadRequest, request)
    entry = open_entry(asked, every_sink=True)
    shown = _signature(entry, asked)
    inputs = tuple(_one_sample(spec) for spec in shown.inputs)
    with program.running(entry, asked.trust) as model:
        frozen = model.frozen()
    made = program.static(frozen, entry, inputs)
    as_it_is = made if inputs == shown.inputs else program.static(frozen, entry, shown.inputs)
    facts = assemble(
        _contents(made, assumed=inputs != shown.inputs),
        format="TensorFlow",
        kind=entry.kind,
        signature=program.signature(as_it_is, entry, shown.inputs),
        metadata={f"signature {name}": words for name, words in entry.signatures.items()},
        notes=[*entry.notes, *made.notes],
    )
    found = layers.layers_of(made.operations, made.outputs)
    return dict(to_json(replace(facts, layers=layer_facts(found))))


def _signature(entry: Entry, request: LoadRequest) -> Signature:
    """With open sizes as they are, or as ``--input`` sets them."""
    specs = [spec_of(item, request) for item in entry.inputs]
    named = {item.name for item in map(parse, request.inputs)}
    given = [spec for spec in specs if spec.name in named or ("" in named and len(specs) == 1)]
    settled = {spec.name: spec for spec in shapes.settle(given, request)} if given else {}
    return Signature(tuple(settled.get(spec.name, spec) for spec in specs), ())


def _one_sample(spec: TensorSpec) -> TensorSpec:
    if not spec.shape or spec.shape[0] is not None:
        return spec
    return replace(spec, shape=(1, *spec.shape[1:]))


def _contents(made: Program, assumed: bool) -> Contents:
    constants = [item for item in made.operations if item.type == "Const"]
    by_dtype: dict[str, int] = {}
    parameters = 0
    stored: list[StoredTensor] = []
    for item in constants:
        value = graphs.constant(item)
        name = str(value.dtype)
        readers = item.outputs[0].consumers()
        reader = str(readers[0].type) if readers else ""
        stored.append(StoredTensor(str(item.name), name, tuple(value.shape), int(value.nbytes), reader))
        by_dtype[name] = by_dtype.get(name, 0) + value.nbytes
        # Whole numbers are shapes and axes; a single float is a constant of the arithmetic.
        parameters += value.size if value.dtype.kind == "f" and value.ndim else 0
    computing = layers.computing(made.operations)
    return Contents(
        operators=[_facts(item) for item in computing],
        parameters=parameters,
        weights_bytes_by_dtype=by_dtype,
        uncounted=[str(item.type) for item in computing if layers.is_uncounted(item)],
        assumption="open batch taken as 1" if assumed else "",
        stored=stored,
        counts_moved=False,
    )


def _facts(item: Any) -> OperatorFacts:
    weights = [given.dtype.name for given in item.inputs if given.op.type == "Const" and given.dtype.is_floating]
    return OperatorFacts(
        operator=str(item.type),
        name=str(item.name),
        computes="float" if item.outputs and item.outputs[0].dtype.is_floating else "none",
        weights=weights[0] if weights else "",
        activations=str(item.outputs[0].dtype.name) if item.outputs else "",
        macs=layers.macs(item),
        macs_unknown="it has a size that is only known at run time",
    )
