"""An ONNX model as plain objects: nodes with Python attributes, constants as tensors of torch, names made unique."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converters.onnx.layers import names_of, source_path
from converters.onnx_import.tensors import from_proto
from edgekit.errors import UnsupportedError


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


def read(proto: Any) -> Model:
    """Read a ``ModelProto`` whose external data is loaded.

    Raises:
        UnsupportedError: It holds tensors of strings where a tensor is computed with.
    """
    versions = _versions(proto.opset_import)
    functions = {
        (_domain(item.domain), item.name): Function(
            list(item.input), list(item.output), item, _versions(item.opset_import)
        )
        for item in proto.functions
    }
    return Model(read_graph(proto.graph, versions), functions)


def _versions(imports: Iterable[Any]) -> dict[str, int]:
    return {_domain(item.domain): int(item.version) for item in imports}


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def read_graph(proto: Any, versions: Mapping[str, int]) -> Graph:
    """Read a ``GraphProto``."""
    constants = {item.name: _stored(item) for item in proto.initializer}
    constants |= {item.values.name: _dense(item) for item in proto.sparse_initializer}
    inputs = [item for item in proto.input if item.name not in constants]
    return Graph(
        inputs=[item.name for item in inputs],
        outputs=[item.name for item in proto.output],
        constants=constants,
        nodes=read_nodes(proto.node, versions),
        types={item.name: _type(item.type.tensor_type) for item in inputs if item.type.HasField("tensor_type")},
    )


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
    import onnx

    kind = onnx.AttributeProto.AttributeType.Name(item.type)
    if kind == "TENSOR":
        return _stored(item.t)
    if kind == "SPARSE_TENSOR":
        return _dense(item.sparse_tensor)
    if kind == "TENSORS":
        return [_stored(tensor) for tensor in item.tensors]
    if kind == "GRAPH":
        return _body(item.g, versions, given)
    if kind == "GRAPHS":
        return [_body(graph, versions, given) for graph in item.graphs]
    if kind in ("TYPE_PROTO", "TYPE_PROTOS"):
        return item.tp if kind == "TYPE_PROTO" else list(item.type_protos)
    value = onnx.helper.get_attribute_value(item)
    if kind == "STRING":
        return value.decode("utf-8", "replace")
    if kind == "STRINGS":
        return [text.decode("utf-8", "replace") for text in value]
    return list(value) if kind in ("FLOATS", "INTS") else value


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

    values, places = from_proto(proto.values), from_proto(proto.indices)
    shape = torch.Size(proto.dims)
    dense = torch.zeros(shape.numel(), dtype=values.dtype)
    if places.dim() == 2:
        strides = torch.tensor([shape[axis + 1 :].numel() for axis in range(len(shape))])
        places = (places * strides).sum(1)
    dense[places] = values
    return dense.reshape(shape)
