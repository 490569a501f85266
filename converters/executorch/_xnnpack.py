"""What the XNNPACK delegate of a ``.pte`` runs: its graph of nodes, and the weights they use."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from converters.executorch._flatbuffer import Schema, Table
from converters.executorch._program import load_schema
from converters.facts import OperatorFacts
from converters.work import bits_of

DELEGATE = "XnnpackBackend"
_HEADER_MAGIC = b"XH00"
_DTYPES = {
    "fp32": "float32", "pfp32": "float32", "fp16": "float16", "bf16": "bfloat16", "qint8": "int8",
    "qcint8": "int8", "qdint8": "int8", "qpint8": "int8", "quint8": "uint8", "qint32": "int32",
    "qcint32": "int32", "int32": "int32", "qcint4": "int4", "qbint4": "int4",
}  # fmt: skip
_DYNAMIC = ("qdint8", "qpint8")
_MOVES = ("Convert", "Copy", "StaticConstantPad", "StaticReshape", "StaticSlice", "StaticTranspose")
_VIEWS = ("StaticReshape",)
_PICKS = ("StaticSlice",)
_CONCATENATE = "XNNConcatenate"
_FOUR_BITS = ("qcint4", "qbint4")
_SCALE_DTYPES = {2: "bfloat16", 4: "float32"}


@dataclass(frozen=True)
class _Value:
    kind: str
    dims: tuple[int, ...]
    constant: int

    @property
    def dtype(self) -> str:
        return _DTYPES[self.kind]

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def size_bytes(self) -> int:
        """Of its content, packed where its elements are half a byte."""
        return math.ceil(self.elements * (4 if self.kind in _FOUR_BITS else bits_of(self.dtype)) / 8)


@dataclass(frozen=True)
class Weight:
    """A stored tensor of a delegate.

    Attributes:
        key: What identifies its content in the file.
        dtype: NumPy name.
        elements: Their number; 0 for quantization parameters.
        stored_bytes: Size of its content.
        shape: Of it; that of its weights, for quantization parameters.
        operator: Type of the operator that reads it; empty when none does.
        name: For a reader; the key says nothing where it is a hash of the content.
    """

    key: str
    dtype: str
    elements: int
    stored_bytes: int
    shape: tuple[int, ...] = ()
    operator: str = ""
    name: str = ""


class Graph:
    """The graph in one delegate's content.

    Attributes:
        operators: Its nodes in order.
        weights: Its stored tensors, quantization parameters included.
    """

    def __init__(self, content: memoryview, name: str) -> None:
        offset, size = struct.unpack_from("<II", content, 10)
        if offset + size > len(content):
            raise IndexError(f"the graph of {name} ends behind its delegate")
        self.graph = _schema().read(content[offset : offset + size])
        self.name = name
        self.values: dict[int, _Value] = {}
        self.weights: list[Weight] = []
        self.readers: dict[str, tuple[str, str]] = {}  # type and name of the first operator, by key of what it reads
        self.stored: dict[int, list[Weight]] = {}  # of each value, with its scales
        for entry in self.graph.tables("xvalues"):
            self._add(entry.needed("xvalue_union"))
        nodes = enumerate(self.graph.tables("xnodes"))
        self.operators = [self._operator(node.needed("xnode_union"), number) for number, node in nodes]
        self.weights = [self._with_reader(weight) for weight in self.weights]

    def _add(self, entry: Table) -> None:
        value = entry
        found: list[Weight] = []
        if entry.name == "XNNQuantizedTensorValue":
            value = entry.needed("tensor_value")
            found += self._scales(entry.table("quant_params"))
        kind, index = value.choice("datatype").removeprefix("xnn_datatype_"), value.integer("id_out")
        added = _Value(kind, value.integers("dims"), value.integer("constant_buffer_idx"))
        self.values[index] = added
        if added.constant:
            key, stored = self._stored(added.constant)
            found.append(Weight(key, added.dtype, added.elements, stored, added.dims))
        self.stored[index] = found
        self.weights += found

    def _scales(self, quantization: Table | None) -> list[Weight]:
        if quantization is None or "scale_buffer_idx" not in quantization.schema.tables[quantization.name]:
            return []
        index, count = quantization.integer("scale_buffer_idx"), quantization.integer("num_scales")
        if not index:
            return []
        key, stored = self._stored(index)
        return [Weight(key, _SCALE_DTYPES[stored // count], 0, stored, (count,))]

    def _with_reader(self, weight: Weight) -> Weight:
        operator, name = self.readers.get(weight.key, ("", weight.key))
        return replace(weight, operator=operator, name=name)

    def _stored(self, index: int) -> tuple[str, int]:
        entry = self.graph.tables("constant_data")[index]
        key = entry.text("named_key") or f"{self.name}, offset {entry.integer('offset')}"
        return key, entry.integer("size")

    def _operator(self, node: Table, number: int) -> OperatorFacts:
        kind = node.label.removeprefix("XNN")
        indices = [index for index in dict.fromkeys(read_by(node)) if index in self.values]
        operands = [self.values[index] for index in indices]
        outputs = [self.values[index] for index in made_by(node)]
        stored = [value for value in operands if value.constant]
        weights = max(stored, key=lambda value: value.elements, default=None)
        data = [value for value in operands if not value.constant] + outputs
        computes, activations = _numbers(kind, data)
        read = {weight.key: weight for index in indices for weight in self.stored[index]}
        for key in read:
            self.readers.setdefault(key, (f"xnnpack::{kind}", f"{self.name}, node {number}"))
        weights_bytes = sum(weight.stored_bytes for weight in read.values())
        return OperatorFacts(
            operator=f"xnnpack::{kind}",
            name=f"{self.name}, node {number}",
            computes=computes,
            weights=weights.dtype if weights and computes != "none" else "",
            activations=activations,
            macs=self._macs(kind, node, outputs[0]),
            weights_bytes=weights_bytes,
            moved_bytes=weights_bytes + _moved(kind, data, outputs),
        )

    def _macs(self, kind: str, node: Table, output: _Value) -> int:
        if kind in ("Conv2d", "DepthwiseConv2d"):
            return output.elements * _window(node) * node.integer("group_input_channels")
        if kind == "ConvTranspose2d":
            inputs = self.values[node.integer("input1_id")].elements
            return inputs * _window(node) * node.integer("group_output_channels")
        if kind == "FullyConnected":
            # The filter may be stored either way round; its elements are in times out.
            return output.elements * self.values[node.integer("filter_id")].elements // output.dims[-1]
        if kind == "BatchMatrixMultiply":
            return output.elements * self.values[node.integer("input1_id")].dims[-1]
        if kind == "ScaledDotProductAttention":
            query, key = (self.values[node.integer(name)] for name in ("query_id", "key_id"))
            return (query.elements + output.elements) * key.dims[-2]
        return 0


def is_readable(content: memoryview) -> bool:
    """Whether a delegate's content is in the layout that :class:`Graph` reads."""
    return content[4:8] == _HEADER_MAGIC


@cache
def _schema() -> Schema:
    return load_schema("backends/xnnpack/serialization/schema.fbs")


def _names(node: Table) -> Iterator[str]:
    """The fields of a node that name values."""
    return (name for name in node.schema.tables[node.name] if name.endswith("_id"))


def read_by(node: Table) -> Iterator[int]:
    """Values that a node reads; the number 0 is a value like others, and is not stored."""
    names = [name for name in _names(node) if not name.startswith("output")]
    if node.label.startswith(_CONCATENATE):
        # One table serves all counts; of the numbers behind those that are meant, some files say nothing.
        names = [f"input{place}_id" for place in range(1, 1 + int(node.label.removeprefix(_CONCATENATE)))]
    return (node.integer(name) for name in names)


def made_by(node: Table) -> Iterator[int]:
    """Values that a node makes."""
    return (node.integer(name) for name in _names(node) if name.startswith("output"))


def _moved(kind: str, data: list[_Value], outputs: list[_Value]) -> int:
    """Bytes of what is not stored; what counts is defined in :mod:`converters.work`."""
    if kind in _VIEWS:
        return 0
    if kind in _PICKS:
        return 2 * sum(value.size_bytes for value in outputs)
    return sum(value.size_bytes for value in data)


def _window(node: Table) -> int:
    return node.integer("kernel_height") * node.integer("kernel_width")


def _numbers(kind: str, data: list[_Value]) -> tuple[Literal["float", "integer", "none"], str]:
    """What a node computes on, and the dtype of its data."""
    if kind in _MOVES or kind.startswith("Concatenate"):
        return "none", ""
    if any(value.kind in _DYNAMIC for value in data):
        return "integer", "dynamic"
    for value in data:
        if value.dtype.startswith(("float", "bfloat")):
            return "float", value.dtype
    return "integer", data[0].dtype
