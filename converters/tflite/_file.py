"""A TFLite file as plain objects, read without an interpreter: custom and Flex operators are no obstacle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        index: Its place in the subgraph.
        name: As stored.
        dtype: NumPy name.
        shape: Sizes, 1 for dynamic ones.
        dynamic_shape: The same with -1 for dynamic ones.
        scaled: Whether it has quantization parameters.
        buffer: Index of its buffer; tensors may share one.
        stored_bytes: Length of the buffer's content, 0 for a tensor that is computed.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    dynamic_shape: tuple[int, ...]
    scaled: bool
    buffer: int
    stored_bytes: int

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating point numbers."""
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def is_weight(self) -> bool:
        """Whether it is a stored weight; integers without a scale are shapes and indices."""
        return self.stored_bytes > 0 and (self.is_float or self.scaled)

    @property
    def elements(self) -> int:
        """Number of elements, dynamic sizes taken as 1."""
        return math.prod(self.shape)

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The shape with ``None`` for dynamic sizes."""
        return tuple(None if size < 0 else size for size in self.dynamic_shape or self.shape)


@dataclass
class Operator:
    """One operator of a subgraph.

    Attributes:
        kind: Name of the builtin, or ``custom:NAME``.
        inputs: Its inputs, ``None`` for optional ones left out.
        outputs: Its outputs.
        options: The builtin's options, unpacked.
        weights: The stored weights among its inputs, those behind a DEQUANTIZE included.
        weights_dequantized: Whether there are such.
        dequantized: Indices of the inputs that come out of such a DEQUANTIZE.
    """

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: Any
    weights: list[Tensor] = field(default_factory=list)
    weights_dequantized: bool = False
    dequantized: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Model:
    """A whole file: ``raw`` is the unpacked flatbuffer, the rest is indexed by subgraph."""

    raw: Any
    subgraphs: list[list[Operator]]
    tensors: list[list[Tensor]]

    @property
    def entry(self) -> int:
        """The subgraph that runs first."""
        signatures = self.raw.signatureDefs
        return int(signatures[0].subgraphIndex) if signatures else 0

    def stored(self) -> dict[int, Tensor]:
        """One tensor for each buffer that has content."""
        return {tensor.buffer: tensor for tensor in self._all_tensors() if tensor.stored_bytes}

    def _all_tensors(self) -> Iterator[Tensor]:
        for tensors in self.tensors:
            yield from tensors


def read(path: Path) -> Model:
    """Read a file; call it within :func:`converters.facts.unchecked_reading`.

    Raises:
        ConversionError: It is no TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise ConversionError(f"{path}: no TFLite model (the identifier TFL3 is missing).")
    return indexed(schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)), len(data))


def indexed(raw: Any, file_size: int) -> Model:
    """An unpacked flatbuffer as plain objects.

    Args:
        raw: ``ModelT``.
        file_size: In bytes, of the file it is from.
    """
    from ai_edge_litert import schema_py_generated as schema

    tensors = [
        [_tensor(index, item, raw, schema, file_size) for index, item in enumerate(graph.tensors)]
        for graph in raw.subgraphs
    ]
    subgraphs = [_graph(graph, own, raw, schema) for graph, own in zip(raw.subgraphs, tensors, strict=True)]
    return Model(raw, subgraphs, tensors)


def serialized(model: Any, before: bytes) -> bytes:
    """The model as a file.

    Larger files keep their buffers behind the flatbuffer, aligned, and name them by offset. They stay there; only the
    offsets move, as the flatbuffer has grown.

    Args:
        model: ``ModelT``.
        before: The file it was read from, for the buffers outside the flatbuffer.
    """
    outside = [buffer for buffer in model.buffers if buffer.offset > 1]
    data = [before[buffer.offset : buffer.offset + buffer.size] for buffer in outside]
    end = _aligned(len(_packed(model)))  # its length does not depend on the values of the offsets
    for buffer, piece in zip(outside, data, strict=True):
        buffer.offset, end = end, _aligned(end + len(piece))
    made = bytearray(_packed(model))
    for buffer, piece in zip(outside, data, strict=True):
        made += bytes(buffer.offset - len(made)) + piece
    return bytes(made)


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _aligned(offset: int) -> int:
    """TFLite wants its buffers at multiples of 16."""
    return -(-offset // 16) * 16


def text(value: bytes | str | None) -> str:
    """A string of the flatbuffer."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def numbers(values: Any) -> tuple[int, ...]:
    """A vector of the flatbuffer, which is ``None`` when empty."""
    return () if values is None else tuple(int(value) for value in values)


def _tensor(index: int, item: Any, raw: Any, schema: Any, file_size: int) -> Tensor:
    buffer = raw.buffers[item.buffer]
    stored = 0 if buffer.data is None else len(buffer.data)
    if buffer.offset > 1:  # data behind the flatbuffer, in files over 2 GB
        stored = int(buffer.size)
        if buffer.offset + stored > file_size:
            raise ValueError(f"buffer {item.buffer} ends behind the end of the file")
    quantization = item.quantization
    return Tensor(
        index=index,
        name=text(item.name),
        dtype=_name_of(schema.TensorType, item.type).lower(),
        shape=numbers(item.shape),
        dynamic_shape=numbers(item.shapeSignature),
        scaled=quantization is not None and (quantization.scale is not None or bool(quantization.detailsType)),
        buffer=item.buffer,
        stored_bytes=stored,
    )


def _graph(graph: Any, tensors: list[Tensor], raw: Any, schema: Any) -> list[Operator]:
    dequantized: dict[int, Tensor] = {}
    found = []
    for item in graph.operators if graph.operators is not None else ():
        inputs, outputs = numbers(item.inputs), numbers(item.outputs)
        kind = _kind(raw.operatorCodes[item.opcodeIndex], schema)
        operator = Operator(
            kind,
            [_pick(tensors, index) if index != -1 else None for index in inputs],
            [_pick(tensors, index) for index in outputs],
            item.builtinOptions2 if kind == "STABLEHLO_COMPOSITE" else item.builtinOptions,
        )
        direct = [tensor for tensor in operator.inputs if tensor is not None and tensor.is_weight]
        if kind == "DEQUANTIZE" and direct:
            dequantized[outputs[0]] = direct[0]
        indirect = [dequantized[index] for index in inputs if index in dequantized]
        operator.weights = direct + indirect
        operator.weights_dequantized = bool(indirect)
        operator.dequantized = frozenset(inputs) & dequantized.keys()
        found.append(operator)
    return found


def _pick(tensors: Sequence[Tensor], index: int) -> Tensor:
    if index < 0:
        raise IndexError(f"tensor {index}")
    return tensors[index]


def _kind(code: Any, schema: Any) -> str:
    # Codes up to 126 are in the old one-byte field, whose last value sends readers to the new one.
    kind = _name_of(schema.BuiltinOperator, max(code.builtinCode, code.deprecatedBuiltinCode))
    return f"custom:{text(code.customCode)}" if kind == "CUSTOM" else kind


def _name_of(enum: type, value: int) -> str:
    for name, number in vars(enum).items():
        if number == value and not name.startswith("_"):
            return name
    raise ValueError(f"{enum.__name__} {value} is unknown")
