"""The XNNPACK delegate of a ``.pte`` with its inner values as outputs.

The runtime hands a delegate the arguments of its call; the value with external id ``n`` lies in argument ``n``, and its
flags say whether it is an input or an output (``XNNCompiler.cpp``, ``XNNExecutor.cpp``). So an inner value with an
external id behind the last one, and the flag of outputs, is written to an argument that the call gets in addition.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass

from converters.executorch import _xnnpack as xnnpack
from converters.executorch._flatbuffer import Table
from converters.executorch._tree import ALIGNMENT, Record, pack, unpack

LARGEST = 4096
"""Inputs and outputs of a delegate that the runtime takes."""

_NONE = 2**32 - 1  # external id of inner values
_IS_OUTPUT = 2  # XNN_VALUE_FLAG_EXTERNAL_OUTPUT
_HEADER = struct.Struct("<4s4sHIIIQ")  # nothing, magic, length, graph: offset and size, constants: offset and size
_DTYPES = {"fp32": "FLOAT", "fp16": "HALF", "qint8": "CHAR", "quint8": "BYTE", "int32": "INT"}
_CLAMPED = frozenset(
    "Add AvgPooling2d Clamp Conv2d ConvTranspose2d DepthwiseConv2d Div "
    "FullyConnected MaxPooling2d Multiply Subtract".split()
)
_PADDED = frozenset({"Conv2d", "DepthwiseConv2d"})


@dataclass(frozen=True)
class Value:
    """What a node makes or reads.

    Attributes:
        index: In the graph.
        dtype: Name of a ``ScalarType``; empty where ExecuTorch has no such tensors.
        shape: Upper bounds where sizes are open.
        constant: Whether it is stored.
        external: Place among the arguments of the call; ``None`` for inner ones.
        scale, zero_point: Of integers with one of each.
    """

    index: int
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    external: int | None
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
        kind: ``Conv2d``.
        handle: Links to the node that it was made of; others may have the same.
        reads: Values, stored ones among them.
        makes: Values.
    """

    kind: str
    handle: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]


class Inside:
    """The graph of one delegate.

    Attributes:
        values: By index.
        nodes: In order of execution.
    """

    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.graph = xnnpack.Graph(content, "delegate").graph
        values = [_value(item.needed("xvalue_union")) for item in self.graph.tables("xvalues")]
        self.values = {value.index: value for value in values}
        self.nodes = [_node(item, self.values) for item in self.graph.tables("xnodes")]
        self.readers = Counter(index for node in self.nodes for index in node.reads)

    def made(self) -> list[Value]:
        """Values that its nodes make, in order of execution."""
        return [self.values[index] for node in self.nodes for index in node.makes]

    def fused(self) -> set[int]:
        """Inner values that XNNPACK does not compute by themselves, unless they are outputs.

        It makes one operator of some nodes and a clamp behind them, and of padding and a convolution behind it
        (``xnn_subgraph_fusion`` in its ``subgraph.c``).
        """
        makers = {index: node.kind for node in self.nodes for index in node.makes}
        found = set()
        for node in self.nodes:
            if not node.reads or self.readers[node.reads[0]] != 1:
                continue
            maker = makers.get(node.reads[0], "")
            clamp = node.kind == "Clamp" and maker in _CLAMPED
            if clamp or (node.kind in _PADDED and maker == "StaticConstantPad"):
                found.add(node.reads[0])
        return found

    def exposing(self, indices: list[int], first: int) -> bytes:
        """The delegate's content with values as outputs.

        Args:
            indices: Of the values.
            first: Number of arguments of its call: the place of the first of them.
        """
        graph = unpack(self.graph)
        places = {index: first + place for place, index in enumerate(indices)}
        for item in graph["xvalues"]:
            union = item["xvalue_union"]
            value = union["tensor_value"] if union.kind == "XNNQuantizedTensorValue" else union
            if value.get("id_out", 0) in places:
                value["external_id"] = places[value.get("id_out", 0)]
                value["flags"] = value.get("flags", 0) | _IS_OUTPUT
        graph.items("output_ids").extend(indices)
        graph["num_externs"] = first + len(indices)
        return self._packed(graph)

    def _packed(self, graph: Record) -> bytes:
        nothing, magic, length, start, _, constants, size = _HEADER.unpack_from(self.content)
        packed = pack(self.graph.schema, graph, bytes(self.content[start + 4 : start + 8]))
        before, behind = _aligned(_HEADER.size), _aligned(len(packed))
        header = _HEADER.pack(nothing, magic, length, before, len(packed), before + behind, size)
        return header.ljust(before, b"\0") + packed.ljust(behind, b"\0") + bytes(self.content[constants:])


def _value(entry: Table) -> Value:
    quantized = entry.name == "XNNQuantizedTensorValue"
    value = entry.needed("tensor_value") if quantized else entry
    parameters = entry.table("quant_params") if quantized else None
    whole = parameters if parameters is not None and parameters.label == "PerTensorQuant" else None
    external = value.integer("external_id")
    return Value(
        index=value.integer("id_out"),
        dtype=_DTYPES.get(value.choice("datatype").removeprefix("xnn_datatype_"), ""),
        shape=value.integers("dims"),
        constant=value.integer("constant_buffer_idx") != 0,
        external=None if external == _NONE else external,
        scale=whole.number("scale") if whole else None,
        zero_point=whole.integer("zero_point") if whole else None,
    )


def _node(entry: Table, values: dict[int, Value]) -> Node:
    node = entry.needed("xnode_union")
    kind = node.label.removeprefix("XNN")
    reads = tuple(index for index in dict.fromkeys(xnnpack.read_by(node)) if index in values)
    return Node(kind, entry.integer("debug_handle"), reads, tuple(xnnpack.made_by(node)))


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
