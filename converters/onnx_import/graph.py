"""An ONNX model as plain objects: nodes with Python attributes, constants as tensors of torch, names made unique."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converters.onnx.layers import names_of, source_path
from converters.onnx.loading import Stretch
from converters.onnx.stored import AGAIN, shown
from converters.onnx_import.tensors import from_proto, from_stretch
from edgekit.errors import ConversionError, UnsupportedError

_LARGEST_DENSE = 1 << 28
"""Elements of a sparse tensor once it is dense."""


@dataclass(eq=False)
class Node:
    """One call of an operator.

    Attributes:
        operator: Type, such as ``Conv``.
        domain: Empty for ``ai.onnx``.
        version: Opset that the model imports of this domain.
        name: Unique in its graph, never empty.
        path: Module path it has in the imported program, not unique.
        attributes: By name; numbers, strings, lists of these, tensors of torch, and :class:`Graph`.
        inputs, outputs: Names; empty where an optional one is left out.
        proto: The node itself, for operators that are functions.
    """

    operator: str
    domain: str
    version: int
    name: str
    path: str
    attributes: dict[str, Any]
    inputs: list[str]
    outputs: list[str]
    proto: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where the node does not say it."""
        return self.attributes.get(name, default)

    @property
    def wanted(self) -> int:
        """How many outputs are asked for, up to the last that has a name."""
        return max((place + 1 for place, name in enumerate(self.outputs) if name), default=0)

    def __str__(self) -> str:
        return f"{self.name} ({qualified(self.domain, self.operator)})"


@dataclass(eq=False)
class Function:
    """A local function of a model.

    Attributes:
        inputs, outputs: Names of its parameters and results.
        proto: ``FunctionProto``; its nodes are made anew for the attributes of each call.
        versions: Opsets its nodes are in.
    """

    inputs: list[str]
    outputs: list[str]
    proto: Any
    versions: dict[str, int]


@dataclass(eq=False)
class Graph:
    """A graph or subgraph.

    Attributes:
        inputs, outputs: Names in order; stored tensors are no inputs.
        constants: Stored tensors by name.
        nodes: In order of computation.
        types: Element type and shape by name of each input; ``None`` where the file does not say it.
    """

    inputs: list[str]
    outputs: list[str]
    constants: dict[str, Any]
    nodes: list[Node]
    types: dict[str, tuple[int, tuple[int | None, ...] | None]] = field(default_factory=dict)


@dataclass(eq=False)
class Model:
    """A whole file."""

    graph: Graph
    functions: dict[tuple[str, str], Function]


def qualified(domain: str, operator: str) -> str:
    """``com.microsoft.Gelu``; the operators of ONNX itself without a domain."""
    return f"{domain}.{operator}" if domain else operator


def read(proto: Any, apart: Mapping[str, Stretch] | None = None) -> Model:
    """Read a ``ModelProto`` whose external data is loaded.

    Args:
        proto: The model.
        apart: Where the values of initializers of its main graph are that stay in another file, by name.

    Raises:
        ConversionError: It contradicts itself: names that two things have, nodes that wait for each other, tensors
            with too few values.
    """
    versions = _versions(proto.opset_import)
    functions = {
        (_domain(item.domain), item.name): Function(
            list(item.input), list(item.output), item, _versions(item.opset_import)
        )
        for item in proto.functions
    }
    return Model(read_graph(proto.graph, versions, apart), functions)


def _versions(imports: Iterable[Any]) -> dict[str, int]:
    return {_domain(item.domain): int(item.version) for item in imports}


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def read_graph(proto: Any, versions: Mapping[str, int], apart: Mapping[str, Stretch] | None = None) -> Graph:
    """Read a ``GraphProto``; for ``apart`` see :func:`read`."""
    places = apart or {}
    constants = {
        item.name: from_stretch(item, places[item.name]) if item.name in places else _stored(item)
        for item in proto.initializer
    }
    constants |= {item.values.name: _dense(item) for item in proto.sparse_initializer}
    inputs = [item for item in proto.input if item.name not in constants]
    names = [item.name for item in inputs]
    nodes = read_nodes(proto.node, versions)
    _check_names([*constants, *names], nodes)
    return Graph(
        inputs=names,
        outputs=[item.name for item in proto.output],
        constants=constants,
        nodes=in_order(nodes),
        types={item.name: _type(item.type.tensor_type) for item in inputs if item.type.HasField("tensor_type")},
    )


def _check_names(given: Sequence[str], nodes: Sequence[Node]) -> None:
    makers: dict[str, str] = {}
    for name, maker in [(name, "the graph itself") for name in given] + [
        (name, f"node {node}") for node in nodes for name in node.outputs if name
    ]:
        if name in makers:
            raise ConversionError(
                f"Two things of the ONNX model are called {shown(name)}: of {makers[name]} and of {maker}.",
                hint="Export it again: no runtime takes such a file.",
            )
        makers[name] = maker


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """Nodes behind those whose results they read; as they are where the file has them so.

    Raises:
        ConversionError: Some wait for each other.
    """
    makers = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    needs = [
        {makers[name] for name in (*node.inputs, *captured(node)) if name in makers} if makers else set()
        for node in nodes
    ]
    if all(max(wanted, default=-1) < place for place, wanted in enumerate(needs)):
        return list(nodes)
    readers: dict[int, list[int]] = {}
    for place, wanted in enumerate(needs):
        for maker in wanted:
            readers.setdefault(maker, []).append(place)
    waiting = [len(wanted) for wanted in needs]
    ready = [place for place, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers.get(order[-1], ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        ring = _ring(needs, set(range(len(nodes))) - set(order))
        names = ", ".join(str(nodes[place]) for place in ring[:5]) + (f" and {len(ring) - 5} more" * (len(ring) > 5))
        raise ConversionError(
            f"Nodes of the ONNX model wait for each other's results: {names}.",
            hint="Export it again: no runtime takes such a file.",
        )
    return [nodes[place] for place in order]


def _ring(needs: Sequence[set[int]], left: set[int]) -> list[int]:
    """Places that wait for each other, among those that wait for something."""
    walked = [min(left)]
    while True:
        following = min(needs[walked[-1]] & left)
        if following in walked:
            return walked[walked.index(following) :][::-1]
        walked.append(following)


def captured(node: Node) -> set[str]:
    """Names around a node that the graphs inside it read."""
    bodies = [item for value in node.attributes.values() for item in (value if isinstance(value, list) else [value])]
    return set[str]().union(*(_free(body) for body in bodies if isinstance(body, Graph)))


def _free(graph: Graph) -> set[str]:
    read = {*graph.outputs, *(name for node in graph.nodes for name in (*node.inputs, *captured(node)))}
    own = {*graph.inputs, *graph.constants, *(name for node in graph.nodes for name in node.outputs)}
    return read - own


def _type(proto: Any) -> tuple[int, tuple[int | None, ...] | None]:
    shape = None
    if proto.HasField("shape"):
        shape = tuple(int(item.dim_value) if item.HasField("dim_value") else None for item in proto.shape.dim)
    return int(proto.elem_type), shape


def read_nodes(
    protos: Sequence[Any], versions: Mapping[str, int], given: Mapping[str, Any] | None = None
) -> list[Node]:
    """Read nodes.

    Args:
        protos: ``NodeProto`` in order.
        versions: Opset by domain.
        given: Attributes of the call, where the nodes are those of a function.
    """
    nodes = []
    for proto, name in zip(protos, names_of(protos), strict=True):
        domain = _domain(proto.domain)
        attributes = {}
        for item in proto.attribute:
            if item.ref_attr_name:
                if given is not None and item.ref_attr_name in given:
                    attributes[item.name] = given[item.ref_attr_name]
            else:
                attributes[item.name] = _attribute(item, versions, given)
        nodes.append(
            Node(
                operator=proto.op_type,
                domain=domain,
                version=versions.get(domain, 1),
                name=name,
                path=_path(proto, name),
                attributes=attributes,
                inputs=list(proto.input),
                outputs=list(proto.output),
                proto=proto,
            )
        )
    return nodes


def _path(proto: Any, name: str) -> str:
    """Module path: that of the exporter's metadata, else the node's name with dots for slashes."""
    return source_path(proto) or ".".join(part for part in name.replace("/", ".").split(".") if part) or proto.op_type


def _attribute(item: Any, versions: Mapping[str, int], given: Mapping[str, Any] | None) -> Any:
    kind = _kind(item)
    if kind == "TENSOR":
        return _stored(item.t)
    if kind == "SPARSE_TENSOR":
        return _dense(item.sparse_tensor)
    if kind == "TENSORS":
        return [_stored(tensor) for tensor in item.tensors]
    if kind == "SPARSE_TENSORS":
        return [_dense(tensor) for tensor in item.sparse_tensors]
    if kind == "GRAPH":
        return _body(item.g, versions, given)
    if kind == "GRAPHS":
        return [_body(graph, versions, given) for graph in item.graphs]
    if kind in ("TYPE_PROTO", "TYPE_PROTOS"):
        return item.tp if kind == "TYPE_PROTO" else list(item.type_protos)
    value = getattr(item, _FIELDS[kind])
    if kind == "STRING":
        return value.decode("utf-8", "replace")
    if kind == "STRINGS":
        return [text.decode("utf-8", "replace") for text in value]
    return list(value) if kind in ("FLOATS", "INTS") else value


_FIELDS = {
    "FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "SPARSE_TENSOR": "sparse_tensor",
    "TYPE_PROTO": "tp", "FLOATS": "floats", "INTS": "ints", "STRINGS": "strings", "TENSORS": "tensors",
    "GRAPHS": "graphs", "SPARSE_TENSORS": "sparse_tensors", "TYPE_PROTOS": "type_protos",
}  # fmt: skip


def _kind(item: Any) -> str:
    """Name of an attribute's type; files of IR version 1 do not say it, and what they hold does."""
    import onnx

    kinds = onnx.AttributeProto.AttributeType
    if item.type in kinds.values() and item.type != kinds.Value("UNDEFINED"):
        return str(kinds.Name(item.type))
    present = {field.name for field, _ in item.ListFields()}
    found = [kind for kind, field in _FIELDS.items() if field in present]
    if not found or item.type:
        raise ConversionError(f"Attribute {shown(item.name)} of the ONNX model has no known type.", hint=AGAIN)
    return found[0]


def _body(proto: Any, versions: Mapping[str, int], given: Mapping[str, Any] | None) -> Graph:
    graph = read_graph(proto, versions)
    if given is not None:
        graph.nodes = read_nodes(proto.node, versions, given)
    return graph


def _stored(proto: Any) -> Any:
    """A stored tensor; one that torch has no type for is refused where an operator uses it."""
    try:
        return from_proto(proto)
    except UnsupportedError as error:
        return Untyped(error.message)


@dataclass(frozen=True)
class Untyped:
    """A stored tensor that torch has no type for.

    Attributes:
        reason: In a sentence.
    """

    reason: str


def _dense(proto: Any) -> Any:
    import torch

    name = shown(proto.values.name)
    values, places = from_proto(proto.values), from_proto(proto.indices)
    if any(size < 0 for size in proto.dims) or math.prod(proto.dims) > _LARGEST_DENSE:
        raise UnsupportedError(f"The sparse tensor {name} of the ONNX model has the shape {list(proto.dims)}.")
    shape = torch.Size(proto.dims)
    dense = torch.zeros(shape.numel(), dtype=values.dtype)
    if places.dim() == 2 and places.shape[1] == len(shape):
        strides = torch.tensor([shape[axis + 1 :].numel() for axis in range(len(shape))], dtype=torch.int64)
        places = (places * strides).sum(1)
    if places.dtype != torch.int64 or places.shape != values.shape or values.dim() != 1:
        raise ConversionError(f"The sparse tensor {name} of the ONNX model has {list(places.shape)} places for "
                              f"{list(values.shape)} values.", hint=AGAIN)  # fmt: skip
    if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < shape.numel():
        raise ConversionError(f"The sparse tensor {name} of the ONNX model has values outside its shape.", hint=AGAIN)
    dense[places] = values
    return dense.reshape(shape)
