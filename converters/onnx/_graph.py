"""An ONNX file with types and shapes inferred; weights stay on disk where they are kept apart."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.onnx import loading, stored
from edgekit.errors import ConversionError, first_line
from edgekit.types import TensorSpec

_STANDARD = ("", "ai.onnx")
_SMALL_BYTES = 1024  # constants up to here may be shapes or scales, whose values matter


@dataclass(frozen=True)
class Value:
    """What is known of a tensor.

    Attributes:
        dtype: NumPy name; empty when unknown.
        shape: Sizes, ``None`` for dynamic ones; ``None`` as a whole when even the rank is unknown.
    """

    dtype: str = ""
    shape: tuple[int | None, ...] | None = None

    @property
    def elements(self) -> int | None:
        """Number of elements, if all sizes are known."""
        if self.shape is None:
            return None
        sizes = [size for size in self.shape if size is not None]
        return math.prod(sizes) if len(sizes) == len(self.shape) else None


@dataclass(frozen=True)
class Constant:
    """A stored tensor; ``proto`` still holds its values where they are few."""

    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int
    proto: Any

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass
class Graph:
    """One model. Names are unique over the main graph and the ones inside its nodes, so one table serves all.

    Attributes:
        proto: The ``ModelProto``, functions inlined, without the bytes of its weights.
        nodes: Nodes of the main graph.
        inner_nodes: Those of the graphs inside nodes (branches and loop bodies).
        inputs, outputs: ``ValueInfoProto`` of the model's own inputs and outputs, as stored.
        batch_fixed: Whether a dynamic batch was taken as 1 to infer shapes.
        constants: Initializers and Constant nodes, by name.
        values: Every tensor, by name.
        producers: The node that makes a tensor.
        consumers: The nodes that read it.
        external: Names of the files beside the model that hold weights.
        inference_error: Why shapes could not be inferred.
        named: Names that one node alone has in the main graph of the file, functions not inlined.
        signed_kernels: Whether ONNX Runtime has integer kernels of signed data for this machine: on Arm.
    """

    proto: Any
    nodes: list[Any]
    inner_nodes: list[Any]
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    batch_fixed: bool = False
    constants: dict[str, Constant] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    producers: dict[str, Any] = field(default_factory=dict)
    consumers: dict[str, list[Any]] = field(default_factory=dict)
    external: tuple[str, ...] = ()
    inference_error: str = ""
    named: frozenset[str] = frozenset()
    signed_kernels: bool = field(default_factory=lambda: platform.machine().lower().startswith(("aarch64", "arm")))

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return max((item.version for item in self.proto.opset_import if item.domain in _STANDARD), default=1)

    def value(self, node: Any, index: int) -> Value:
        """Type of an input; nothing is known of one that is left out."""
        names = node.input
        return self.values.get(names[index], Value()) if index < len(names) else Value()

    def produced_by(self, node: Any, index: int) -> Any:
        """The node that makes an input, or ``None``."""
        return self.producers.get(node.input[index]) if index < len(node.input) else None


def read(path: Path, inputs: Sequence[TensorSpec] = ()) -> Graph:
    """Read a file.

    Args:
        path: The file.
        inputs: Its inputs in order with a size for every axis, to infer shapes for; a batch that is open without them
            is taken as 1.

    Raises:
        ConversionError: It is damaged, or weights that belong to it are missing.
    """
    proto = loading.parsed(path)
    if not proto.graph.node and not proto.graph.output:
        raise ConversionError(f"{path}: the ONNX file holds no graph.", hint=stored.AGAIN)
    apart = loading.kept_apart(proto, path)  # before anything else looks for them
    named = Counter(node.name for node in proto.graph.node if node.name)
    proto = loading.inlined(proto, path)
    graphs = list(_graphs(proto.graph))
    graph = Graph(
        proto,
        nodes=list(proto.graph.node),
        inner_nodes=[node for inner in graphs[1:] for node in inner.node],
        external=tuple(sorted({stretch.location for stretch in apart.values()})),
        constants={name: _constant(tensor, path) for each in graphs for name, tensor in _stored(each)},
        named=frozenset(name for name, count in named.items() if count == 1),
        outputs=[_copy(item) for item in proto.graph.output],
    )
    graph.inputs = [_copy(item) for item in proto.graph.input if item.name not in graph.constants]
    for node in (*graph.nodes, *graph.inner_nodes):
        for name in filter(None, node.output):
            graph.producers[name] = node
        for name in dict.fromkeys(filter(None, node.input)):
            graph.consumers.setdefault(name, []).append(node)
    if inputs:
        _fix_sizes(graph, inputs, path)
    graph.batch_fixed = _fix_batch(proto.graph, graph.constants)
    _infer(graph)
    return graph


def _graphs(graph: Any) -> Iterator[Any]:
    """A ``GraphProto`` and the ones inside its nodes."""
    yield graph
    for node in graph.node:
        for item in node.attribute:
            for inner in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield from _graphs(inner)


def value_of(item: Any) -> Value:
    """The type in a ``ValueInfoProto``."""
    tensor = item.type.tensor_type
    if not item.type.HasField("tensor_type"):
        return Value((item.type.WhichOneof("value") or "").removesuffix("_type"))  # sequence, map, optional…
    if not tensor.HasField("shape"):
        return Value(dtype_name(tensor.elem_type))
    return Value(dtype_name(tensor.elem_type), tuple(_size(dim) for dim in tensor.shape.dim))


def dtype_name(element: int) -> str:
    """NumPy's name of an ONNX element type; empty for an unknown one."""
    import onnx

    if element == onnx.TensorProto.STRING:
        return "string"
    if element not in onnx.TensorProto.DataType.values() or element == onnx.TensorProto.UNDEFINED:
        return ""
    return str(onnx.helper.tensor_dtype_to_np_dtype(element).name)


def attribute(node: Any, name: str, default: Any) -> Any:
    """An attribute's value."""
    import onnx

    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def _size(dim: Any) -> int | None:
    # Some exporters write -1 for a dynamic size.
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _copy(item: Any) -> Any:
    copied = type(item)()
    copied.CopyFrom(item)
    return copied


def _stored(graph: Any) -> Iterator[tuple[str, Any]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, sparse.values
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def _constant(tensor: Any, path: Path) -> Constant:
    """Facts of a stored tensor, whose bytes are dropped when they are many."""
    size = stored.check_size(tensor, path)
    if size > _SMALL_BYTES:
        for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(name)
    return Constant(dtype_name(tensor.data_type), tuple(tensor.dims), size, tensor)


def _fix_sizes(graph: Graph, inputs: Sequence[TensorSpec], path: Path) -> None:
    """Write the sizes asked for into the model; those that older files list among the inputs as weights stay."""
    from converters.onnx import _sizes

    model = type(graph.proto)()
    kept = [item for item in graph.proto.graph.input if item.name not in graph.constants]
    model.graph.input.extend(kept)
    model.graph.output.extend(graph.proto.graph.output)
    model.graph.value_info.extend(graph.proto.graph.value_info)
    _sizes.fix(model, inputs, _sizes.bound(graph, inputs, str(path)))
    weights = [_copy(item) for item in graph.proto.graph.input if item.name in graph.constants]
    for name in ("input", "output", "value_info"):
        graph.proto.graph.ClearField(name)
        getattr(graph.proto.graph, name).extend(getattr(model.graph, name))
    graph.proto.graph.input.extend(weights)


def _fix_batch(graph: Any, constants: dict[str, Constant]) -> bool:
    """Set the leading dynamic size of the inputs to 1, everywhere its name is used."""
    inputs = [item for item in graph.input if item.name not in constants]
    leading = [item.type.tensor_type.shape.dim[0] for item in inputs if item.type.tensor_type.shape.dim]
    dynamic = [dim for dim in leading if _size(dim) is None]
    names = {dim.dim_param for dim in dynamic} - {""}
    for dim in dynamic:
        dim.dim_value = 1
    for item in (*inputs, *graph.value_info, *graph.output):
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param in names and _size(dim) is None:
                dim.dim_value = 1
    return bool(dynamic)


def _infer(graph: Graph) -> None:
    import onnx

    from converters.onnx._stand_ins import with_stand_ins

    guess = with_stand_ins(graph)
    sort(guess)
    # What exporters stored is computed anew, as it names the batch; only foreign operators need it.
    foreign = {name for node in guess.node if node.domain not in _STANDARD for name in node.output}
    stored = [_copy(item) for item in guess.value_info]
    del guess.value_info[:]
    guess.value_info.extend(item for item in stored if item.name in foreign)
    _open_negative(guess)
    model = onnx.ModelProto()
    model.CopyFrom(graph.proto)
    model.graph.CopyFrom(guess)
    try:
        guess = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        graph.inference_error = f"shapes cannot be inferred ({first_line(error)})"
    for inner in _graphs(guess):
        for item in (*inner.input, *inner.value_info, *inner.output):
            graph.values[item.name] = value_of(item)
    for name, constant in graph.constants.items():
        graph.values[name] = Value(constant.dtype, constant.shape)


def _open_negative(graph: Any) -> None:
    """Sizes of -1, which some exporters write for dynamic ones, as ONNX has these: inference may abort on them."""
    for inner in _graphs(graph):
        for item in (*inner.input, *inner.value_info, *inner.output):
            for dim in item.type.tensor_type.shape.dim:
                if dim.HasField("dim_value") and dim.dim_value < 0:
                    dim.ClearField("dim_value")


def sort(graph: Any) -> None:
    """Producers before consumers: inference looks at each node once, and not every tool keeps the order."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    nodes, placed, order = list(graph.node), set[int](), list[int]()
    for start in range(len(nodes)):
        todo = [start]
        while todo:
            index = todo[-1]
            waiting = [makers[name] for name in nodes[index].input if makers.get(name, index) != index]
            waiting = [other for other in waiting if other not in placed and other not in todo]
            if waiting:
                todo += waiting[:1]
            else:
                todo.pop()
                if index not in placed:
                    placed.add(index)
                    order.append(index)
    copies = [_copy(nodes[index]) for index in order]
    del graph.node[:]
    graph.node.extend(copies)
