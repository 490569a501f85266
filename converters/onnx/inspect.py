"""What is in an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.facts import Contents, OperatorFacts, assemble, float_ones, layer_facts, unchecked_reading
from converters.onnx import _arithmetic as arithmetic
from converters.onnx import _moved as moved
from converters.onnx._graph import Graph, attribute, read, value_of
from converters.onnx._stand_ins import DATA_INPUTS
from converters.onnx.layers import layers_of, source_path
from converters.work import StoredTensor
from edgekit.requests import LoadRequest
from edgekit.types import FloatOperator, Signature, TensorSpec, to_json

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN")


def inspect(path: str, inputs: Sequence[str] = ()) -> dict[str, Any]:
    """The facts of an ONNX file, as JSON of :class:`converters.facts.ModelFacts`. Runs in a child.

    Args:
        path: The file.
        inputs: ``--input`` as typed: sizes to count for, of a file that leaves some open.

    Raises:
        ConversionError: The file is damaged, or weights that belong to it are missing.
        UsageError: The inputs are not those of the file.
    """
    with unchecked_reading(Path(path), "ONNX", "onnx"):
        graph = _read(Path(path), inputs)
        proto = graph.proto
        facts = assemble(
            _contents(graph),
            format="ONNX",
            kind=f"ONNX model, IR version {proto.ir_version}, {_opsets(graph)}",
            signature=_signature(graph),
            producer=f"{proto.producer_name} {proto.producer_version}".strip(),
            metadata={entry.key: entry.value for entry in proto.metadata_props},
            notes=_notes(graph),
        )
        listed = layers_of(path)
    found: dict[str, Any] = to_json(replace(facts, layers=layer_facts(listed)))
    return found


def float_operators(path: Path, signed_kernels: bool | None = None) -> list[FloatOperator]:
    """The operators that compute in floating point, data movement and conversions left out.

    In a file with QuantizeLinear and DequantizeLinear these are the ones that ONNX Runtime's CPU provider has
    no integer kernel for, or cannot fuse with their quantization.

    Args:
        path: The file.
        signed_kernels: Whether it is for a machine with kernels of signed data (Arm); ``None`` for this machine.

    Raises:
        ConversionError: The file is damaged, or weights that belong to it are missing.
    """
    with unchecked_reading(path, "ONNX", "onnx"):
        graph = read(path)
        known = graph if signed_kernels is None else replace(graph, signed_kernels=signed_kernels)
        return list(float_ones(_operators(known)))


def float_weights(path: Path) -> list[FloatOperator]:
    """The layers whose weights are stored as floats, in a file that has those of others as integers.

    Raises:
        ConversionError: The file is damaged, or weights that belong to it are missing.
    """
    with unchecked_reading(path, "ONNX", "onnx"):
        operators = [item for item in _operators(read(path)) if item.operator in _WEIGHTED]
        return [FloatOperator(item.operator, item.name) for item in operators if item.weights.startswith("float")]


def _read(path: Path, inputs: Sequence[str]) -> Graph:
    """The file, with shapes inferred for the sizes asked for."""
    graph = read(path)
    if not inputs:
        return graph
    from converters.shapes import settle

    return read(path, settle(_signature(graph).inputs, LoadRequest(str(path), inputs=tuple(inputs))))


def _contents(graph: Graph) -> Contents:
    by_dtype: dict[str, int] = {}
    for constant in graph.constants.values():
        by_dtype[constant.dtype] = by_dtype.get(constant.dtype, 0) + constant.stored_bytes
    return Contents(
        operators=_operators(graph),
        parameters=_parameters(graph),
        weights_bytes_by_dtype=by_dtype,
        uncounted=[_kind(node) for node in graph.nodes if arithmetic.is_uncounted(node)],
        assumption="dynamic batch taken as 1" if graph.batch_fixed else "",
        stored=_stored(graph),
        counted_shapes=_counted_shapes(graph),
        beside=graph.external,
    )


def _counted_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Sizes of the inputs that shapes were inferred for; empty where some are open."""
    shapes = {item.name: graph.values[item.name].shape for item in graph.inputs if item.name in graph.values}
    known = {name: tuple(size for size in shape or () if size is not None) for name, shape in shapes.items()}
    complete = all(shape is not None and len(known[name]) == len(shape) for name, shape in shapes.items())
    return known if complete and len(known) == len(graph.inputs) else {}


def _stored(graph: Graph) -> list[StoredTensor]:
    """All stored tensors, with the operator that reads them."""
    readers: dict[str, str] = {}
    for node in (*graph.nodes, *graph.inner_nodes):
        # Of weights that are dequantized first, the operator behind is the one that matters.
        if moved.weights_bytes(node, graph):
            readers |= {name: readers.get(name, _kind(node)) for name in moved.stored_of(node, graph)}
    for node in (*graph.nodes, *graph.inner_nodes):
        readers |= {name: readers.get(name, _kind(node)) for name in node.input if name in graph.constants}
    constants = graph.constants.items()
    return [
        StoredTensor(name, item.dtype, item.shape, item.stored_bytes, readers.get(name, "")) for name, item in constants
    ]


def _signature(graph: Graph) -> Signature:
    def specs(items: list[Any]) -> tuple[TensorSpec, ...]:
        values = [(item.name, value_of(item)) for item in items]
        # An output may be stored without a shape; then the inferred one is told.
        known = [(name, value if value.shape is not None else graph.values.get(name, value)) for name, value in values]
        return tuple(TensorSpec(name, value.shape or (), value.dtype) for name, value in known)

    return Signature(specs(graph.inputs), specs(graph.outputs))


def _operators(graph: Graph) -> list[OperatorFacts]:
    nodes = [(node, True) for node in graph.nodes] + [(node, False) for node in graph.inner_nodes]
    return [_operator_facts(node, graph, once) for node, once in nodes if node.op_type != "Constant"]


def _operator_facts(node: Any, graph: Graph, runs_once: bool) -> OperatorFacts:
    computes, activations = arithmetic.numbers_of(node, graph)
    return OperatorFacts(
        operator=_kind(node),
        name=_source_name(node),
        computes=computes,
        weights=_weights_dtype(node, graph),
        activations=activations,
        macs=arithmetic.macs(node, graph) if runs_once else 0,
        macs_unknown=graph.inference_error or "it has a size that is only known at run time",
        node=str(node.name or (node.output[0] if node.output else "")),
        weights_bytes=moved.weights_bytes(node, graph),
        moved_bytes=moved.moved_bytes(node, graph) if runs_once else 0,
        explorer=_explorer(node, graph) if runs_once else None,
    )


def _explorer(node: Any, graph: Graph) -> tuple[str, str] | None:
    """Graph and node as the adapter model-explorer-onnx calls them (0.4.2; see ``benchmarks/node_data.py``).

    It invents names for nodes that have none, or none of their own.
    """
    main = graph.proto.graph
    return (main.name if main.HasField("name") else "<main>", node.name) if node.name in graph.named else None


def _kind(node: Any) -> str:
    return str(node.op_type) if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _source_name(node: Any) -> str:
    """The module path that torch.onnx keeps as metadata, else the node's own name."""
    return source_path(node) or str(node.name or (node.output[0] if node.output else ""))


def _weights(node: Any, graph: Graph) -> list[str]:
    """Names of the stored tensors among a node's operands that are weights, those it dequantizes included."""
    scale = node.op_type == "Mul" and arithmetic.is_scaffolding(node, graph)
    if node.op_type in _QUANTIZERS or scale:
        return []
    indices = DATA_INPUTS.get(node.op_type, tuple(range(len(node.input))))
    packed = node.op_type in DATA_INPUTS or node.op_type == "MatMulNBits"
    found = []
    for index in indices[:2] if node.op_type == "MatMulNBits" else indices:
        name = node.input[index] if index < len(node.input) else ""
        maker = graph.producers.get(name)
        integers = arithmetic.integers_behind(maker, graph) if maker is not None else ""
        dequantized = bool(integers)
        name = integers or name
        constant = graph.constants.get(name)
        # Integers that nothing dequantizes are shapes and indices.
        if constant and (packed or dequantized or constant.dtype.startswith(("float", "bfloat"))):
            found.append(name)
    return found


def _weights_dtype(node: Any, graph: Graph) -> str:
    names = _weights(node, graph)
    if not names:
        return ""
    if node.op_type == "MatMulNBits":
        return f"int{attribute(node, 'bits', 4)}"
    return graph.constants[max(names, key=lambda name: graph.constants[name].elements)].dtype


def _parameters(graph: Graph) -> int:
    counted: dict[str, int] = {}
    for node in (*graph.nodes, *graph.inner_nodes):
        for name in _weights(node, graph):
            counted[name] = graph.constants[name].elements
            if node.op_type == "MatMulNBits":
                counted[name] = attribute(node, "K", 0) * attribute(node, "N", 0)
    return sum(counted.values())


def _opsets(graph: Graph) -> str:
    used = {node.domain for node in (*graph.nodes, *graph.inner_nodes)}
    found = [item for item in graph.proto.opset_import if item.domain in used]
    return ", ".join(f"{item.domain or 'opset'} {item.version}" for item in found)


def _notes(graph: Graph) -> list[str]:
    notes = []
    if graph.external:
        notes.append(f"Its weights are in {', '.join(graph.external)}, which must stay beside it.")
    foreign = sorted(
        {_kind(node) for node in graph.nodes if node.domain not in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")}
    )
    if foreign:
        notes.append(f"Needs operators of other domains, which the runtime must register: {', '.join(foreign)}.")
    signed = _left_by_signed_data(graph)
    if signed:
        notes.append(
            f"Its activations are signed (s8): on x86 ONNX Runtime computes {signed} of its operators in float that it "
            "computes on integers on Arm."
        )
    return notes


def _left_by_signed_data(graph: Graph) -> int:
    """How many operators are integer on Arm and float on this machine, as of their signed data."""
    if graph.signed_kernels:
        return 0
    elsewhere = replace(graph, signed_kernels=True)
    return len(float_ones(_operators(graph))) - len(float_ones(_operators(elsewhere)))
