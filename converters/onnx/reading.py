"""An ONNX file as a source: read, put in order, and run in ONNX Runtime for reference."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters import arrived, dynamic, opening
from converters.facts import unchecked_reading
from converters.onnx import _io as io
from converters.onnx import _prepare as preparation
from converters.onnx import _sizes as sizes
from converters.onnx import loading
from converters.onnx._graph import Graph, read, value_of
from converters.onnx.inspect import inspect
from converters.shapes import settle
from edgekit import registry
from edgekit.errors import ConversionError, UnsupportedError, UsageError, first_line
from edgekit.feeds import Array
from edgekit.inputs import parse
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature, TensorSpec

_PROGRAM = "program.onnx"
_NUMBERS = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())
_LARGEST_SAMPLE = 1_000_000_000
"""Bytes of one input; eight samples of it are kept."""


@dataclass
class Source:
    """A file, read.

    Attributes:
        path: As typed.
        graph: Facts of it; its weights stay on disk.
        signature: As the file has it, open sizes included.
        notes: What a user should know.
    """

    path: Path
    graph: Graph
    signature: Signature
    notes: list[str]


def arrives(path: str) -> str:
    """The scheme that a file is in: the job behind ``Source.arrives``."""
    return arrived.scheme_of(inspect(path))


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.onnx.load`."""
    logging.disable(logging.WARNING)
    facts = inspect(request.path)
    source = open_source(request)
    inputs = settle(source.signature.inputs, request)
    signature = Signature(inputs, source.signature.outputs)
    asked = dynamic.axes(request, signature)
    _check_open(source, asked)
    kept = dynamic.opened(signature, asked, {}).inputs
    sizes.bound(source.graph, inputs, request.path)
    bound = sizes.bound(source.graph, kept, request.path)
    _check_sizes(signature, request.path)
    chosen = opening.write_feeds(request, signature, _rows(source.graph))
    run = Runner(source.path, signature)
    first = run(next(chosen.samples()))
    outputs = tuple(replace(spec, shape=first[spec.name].shape) for spec in signature.outputs)
    signature = Signature(inputs, outputs)
    opening.write_reference(request, signature, chosen, run)
    signature = dynamic.write_sizes(request, signature, chosen, run)
    if request.program:
        _write(source, kept, bound, inputs if asked else (), Path(request.into, _PROGRAM))
    return opening.loaded(
        request,
        kind=facts["kind"],
        signature=signature,
        program=_PROGRAM,
        fingerprint=opening.fingerprint(*_files(source), repr(signature.inputs)),
        quantized=arrived.is_quantized(arrived.scheme_of(facts)),
        notes=[*source.notes, *_fixed(source.signature.inputs, kept), *arrived.notes(facts)],
    )


def open_source(request: LoadRequest) -> Source:
    """Read a file and check that it can be converted.

    Raises:
        ConversionError: It is truncated or damaged, or weights that belong to it are missing.
        UnsupportedError: It needs operators that ONNX Runtime does not have, or its inputs or outputs are no tensors.
        UsageError: An input says nothing of its shape.
    """
    path = Path(request.path)
    with unchecked_reading(path, "ONNX", "onnx"):
        graph = read(path)
        loading.check_versions(graph.proto, path)
    _check_operators(graph, path)
    _check_tensors(graph, path)
    scales = {entry.key: entry.value for entry in graph.proto.metadata_props}.get(io.KEY, "{}")
    borders = json.loads(scales)
    inputs = tuple(_input(item, borders, request) for item in graph.inputs)
    outputs = tuple(_spec(item, value_of(item).shape or (), borders) for item in graph.outputs)
    if not inputs or not outputs:
        missing = "inputs" if not inputs else "outputs"
        raise UnsupportedError(
            f"{path}: the model has no {missing}, so there is nothing to convert or to compare.",
            hint=f"Export it with its {missing} as {missing} of the graph.",
        )
    notes = [f"Its weights were taken from {', '.join(graph.external)}."] if graph.external else []
    return Source(path, graph, Signature(inputs, outputs), notes)


def _check_open(source: Source, asked: Mapping[str, set[int]]) -> None:
    """Axes that are to stay open must be so in the file."""
    for spec in source.signature.inputs:
        for axis in sorted(asked.get(spec.name, ())):
            if spec.shape[axis] is not None:
                raise UnsupportedError(
                    f"{source.path}: axis {axis} of the input {spec} is fixed in the file, so it cannot stay open.",
                    hint="Leave it out of --dynamic, or export the model with that axis open (dynamic_shapes of "
                    "torch.onnx.export).",
                )


def _check_operators(graph: Graph, path: Path) -> None:
    """Operators that ONNX Runtime does not have, all of them at once: it would name one."""
    known = _known_operators()
    versions = {item.domain: item.version for item in graph.proto.opset_import}
    places: dict[str, list[str]] = {}
    for node in (*graph.nodes, *graph.inner_nodes):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (domain, node.op_type) not in known:
            what = f"{domain}.{node.op_type}" if domain else node.op_type
            version = versions.get(node.domain, versions.get(domain, 1))
            name = node.name or next(filter(None, node.output), "")
            places.setdefault(f"{what} (opset {domain or 'ai.onnx'} {version})", []).append(name)
    if places:
        raise UnsupportedError(
            f"{path}: it holds {len(places)} kind{'s' if len(places) > 1 else ''} of operators that ONNX Runtime does "
            f"not have: {loading.listed(places)}.",
            hint="Export the model again with these written in standard operators.",
        )


def _known_operators() -> set[tuple[str, str]]:
    """Domain and name of all that ONNX Runtime has, its own and the old ones that ONNX has no more included."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    return {(item.domain, item.name) for item in native.get_all_operator_schema()}


def _check_tensors(graph: Graph, path: Path) -> None:
    """Sequences, maps and strings are no tensors of numbers."""
    makers = {name: node.op_type for node in graph.nodes for name in node.output}
    odd = [
        f"{item.name} ({value_of(item).dtype or 'no type'}" + (f", made by {makers[item.name]})" if made else ")")
        for item in (*graph.inputs, *graph.outputs)
        if value_of(item).dtype not in _NUMBERS
        for made in [item.name in makers]
    ]
    if odd:
        hint = "Export it without what makes them, so that it returns the tensors before."
        if "ZipMap" in makers.values():
            hint = "skl2onnx writes ZipMap: export with options={'zipmap': False}."
        raise UnsupportedError(
            f"{path}: inputs and outputs must be tensors of numbers, and these are not: {', '.join(odd)}.", hint=hint
        )


def _check_sizes(signature: Signature, path: str) -> None:
    """Sizes that no machine has the memory for."""
    for spec in signature.inputs:
        size = math.prod(size or 1 for size in spec.shape) * np.dtype(spec.dtype).itemsize
        if size > _LARGEST_SAMPLE:
            raise UsageError(
                f"{path}: one sample of the input {spec} would be {size / 1e9:.1f} GB.",
                hint="Where the file leaves its sizes open, give smaller ones with --input; else export it with such.",
            )


def _input(item: Any, borders: Mapping[str, Any], request: LoadRequest) -> TensorSpec:
    """An input; one that says nothing of its shape takes the rank of ``--input`` or of the data."""
    shape = value_of(item).shape
    if shape is None:
        shape = _rank_elsewhere(item.name, request)
    return _spec(item, shape, borders)


def _rank_elsewhere(name: str, request: LoadRequest) -> tuple[None, ...]:
    given = next((one.shape for one in map(parse, request.inputs) if one.name in ("", name)), None)
    if given is not None:
        return (None,) * len(given)
    dataset = opening.dataset_of(request)
    array = None if dataset is None else dataset.arrays.get(name, dataset.arrays.get("x"))
    if array is None:
        raise UsageError(
            f"{request.path}: the model says nothing of the shape of its input {name!r}.",
            hint=f"--input {name}=1,3,224,224   (with your sizes)",
        )
    return (None,) * array.ndim


def _spec(item: Any, shape: tuple[int | None, ...], borders: Mapping[str, Any]) -> TensorSpec:
    scaled = borders.get(item.name, {})
    return TensorSpec(item.name, shape, value_of(item).dtype, scaled.get("scale"), scaled.get("zero_point"))


class Runner:
    """The file as it came, in ONNX Runtime.

    Args:
        path: The file; weights beside it are found.
        signature: Its names.

    Raises:
        ConversionError: ONNX Runtime cannot load it.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        self.path, self.signature = path, signature
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = preparation.threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own
            raise ConversionError(f"{path}: ONNX Runtime cannot load it: {first_line(error)}") from error

    def __call__(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, with floats for the integers of those that have a scale.

        Raises:
            ConversionError: ONNX Runtime cannot run it on this sample.
        """
        feed = {spec.name: _as_taken(spec, sample[spec.name]) for spec in self.signature.inputs}
        names = [spec.name for spec in self.signature.outputs]
        try:
            found = self.session.run(names, feed)
        except Exception as error:  # as above
            shown = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in feed.items())
            raise ConversionError(f"{self.path}: ONNX Runtime cannot run it on {shown}: {first_line(error)}") from error
        dequantized = registry.function("profiles.agent.binding:dequantized")
        specs = self.signature.outputs
        return {
            spec.name: dequantized(_tensor(spec), np.asarray(value)) for spec, value in zip(specs, found, strict=True)
        }


def _as_taken(spec: TensorSpec, array: Array) -> Array:
    """A sample as the input takes it; floats are quantized exactly as the agent quantizes them for converted files."""
    if spec.scale is None or array.dtype.kind != "f":
        return np.ascontiguousarray(array, spec.dtype)
    return np.ascontiguousarray(registry.function("profiles.agent.binding:quantized")(_tensor(spec), array))


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype, "scale": spec.scale, "zero_point": spec.zero_point}


def _write(
    source: Source,
    inputs: tuple[TensorSpec, ...],
    bound: Mapping[str, int],
    usual: tuple[TensorSpec, ...],
    into: Path,
) -> None:
    """The program: none of the weights an input, sizes fixed; all in one file as far as one can hold it.

    Args:
        source: The file.
        inputs: ``None`` for axes that stay open.
        bound: Names of sizes that are fixed.
        usual: The inputs with all sizes, where some stay open.
        into: File to write.

    Raises:
        UnsupportedError: It is larger, and its weights are not kept apart.
    """
    import onnx

    total = sum(constant.stored_bytes for constant in source.graph.constants.values())
    if total <= loading.LARGEST_MESSAGE:
        model = preparation.loaded(str(source.path))
        sizes.fix(model, inputs, bound, usual)
        onnx.save(model, into)
        return
    model = loading.inlined(loading.parsed(source.path), source.path)
    apart = loading.initializers_apart(model, source.path)
    if total - sum(stretch.size for stretch in apart.values()) > loading.LARGEST_MESSAGE:
        raise UnsupportedError(
            f"{source.path}: {total / 1e9:.1f} GB of weights, more than 2 GB of them in graphs inside its operators.",
            hint="Make them initializers of the main graph, or cut the model in parts.",
        )
    loading.embed(model, source.path, apart)
    preparation.bare(model)
    sizes.fix(model, inputs, bound, usual)
    loading.write_apart(model, apart, into)


def _files(source: Source) -> list[Path]:
    return [source.path, *(source.path.parent / name for name in source.graph.external)]


def _fixed(before: tuple[TensorSpec, ...], after: tuple[TensorSpec, ...]) -> list[str]:
    fixed = [
        spec
        for old, spec in zip(before, after, strict=True)
        if any(size is None and now is not None for size, now in zip(old.shape, spec.shape, strict=True))
    ]
    shown = ", ".join(map(str, fixed))
    return [f"Sizes that the file leaves open are fixed: {shown}."] if shown else []


def _rows(graph: Graph) -> dict[str, int]:
    """How many rows the tables have that whole numbers of an input go straight into."""
    inputs = {item.name for item in graph.inputs}
    found: dict[str, int] = {}
    for node in graph.nodes:
        table = graph.constants.get(node.input[0]) if node.op_type == "Gather" else None
        if table is not None and table.shape and node.input[1] in inputs:
            found[node.input[1]] = table.shape[0]
    return found
