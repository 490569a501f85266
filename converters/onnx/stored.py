"""The stored tensors of an ONNX model: where they are, how large they should be, and whether they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError

AGAIN = "Copy, download or convert it again, and compare its size with the original's."
_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}
_LARGEST_NAME = 200


def tensors(proto: Any) -> Iterator[Any]:
    """Every stored ``TensorProto`` of a ``ModelProto``, wherever it is: graphs in graphs, attributes, functions."""
    yield from _of_graph(proto.graph)  # its own initializers first: embed() counts on it
    for function in proto.functions:
        yield from _of_nodes(function.node)
        for item in function.attribute_proto:
            yield from _of_attribute(item)
    for training in proto.training_info:
        yield from (*_of_graph(training.initialization), *_of_graph(training.algorithm))


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for item in graph.sparse_initializer:
        yield from (item.values, item.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for item in node.attribute:
            yield from _of_attribute(item)


def _of_attribute(item: Any) -> Iterator[Any]:
    if item.HasField("t"):
        yield item.t
    yield from item.tensors
    for sparse in (*([item.sparse_tensor] if item.HasField("sparse_tensor") else []), *item.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in (*([item.g] if item.HasField("g") else []), *item.graphs):
        yield from _of_graph(graph)


def broken_text(message: Any) -> bytes | None:
    """A name in a message that is no UTF-8, if there is one: protobuf gives such as bytes, which nothing expects."""
    if message.DESCRIPTOR.name == "TensorProto":  # whose values are not copied for this
        texts = [message.name, *(text for entry in message.external_data for text in (entry.key, entry.value))]
        return next((text for text in texts if isinstance(text, bytes)), None)
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            items = (value,) if isinstance(value, str | bytes) else value
            found = next((item for item in items if isinstance(item, bytes)), None)
        elif field.type == field.TYPE_MESSAGE:
            items = (value,) if hasattr(value, "DESCRIPTOR") else value
            found = next(filter(None, map(broken_text, items)), None)
        else:
            continue
        if found:
            return found
    return None


def size_of(tensor: Any, path: Path | str) -> int:
    """Bytes that a tensor's content takes; of strings, those it has.

    Raises:
        ConversionError: It has a negative size, or a type that onnx does not know.
    """
    import onnx

    if any(size < 0 for size in tensor.dims):
        raise ConversionError(f"{path}: damaged: tensor {shown(tensor.name)} has the shape {list(tensor.dims)}.",
                              hint=AGAIN)  # fmt: skip
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(len(item) for item in tensor.string_data)
    if tensor.data_type not in onnx.TensorProto.DataType.values() or not tensor.data_type:
        raise ConversionError(f"{path}: tensor {shown(tensor.name)} has the type {tensor.data_type}, which onnx "
                              f"{onnx.__version__} does not know.", hint=AGAIN)  # fmt: skip
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    bits: int = math.prod(tensor.dims) * _BITS.get(dtype.name, 8 * dtype.itemsize)
    return -(-bits // 8)  # no division of floats: sizes of damaged files are beyond what those count


def check_size(tensor: Any, path: Path | str) -> int:
    """Bytes of a tensor, which must have as many values as its shape says where they are in the file itself.

    Raises:
        ConversionError: It has more or fewer, or as :func:`size_of`.
    """
    import onnx

    size = size_of(tensor, path)
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type == onnx.TensorProto.STRING:
        return size
    if tensor.HasField("raw_data"):
        found, wanted, unit = len(tensor.raw_data), size, "bytes"
    else:
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
        found, wanted, unit = len(getattr(tensor, field)), _entries(tensor, size), "values"
    if found != wanted:
        raise ConversionError(
            f"{path}: damaged: {shown(tensor.name)} should be {wanted} {unit} and is {found}.", hint=AGAIN
        )
    return size


def _entries(tensor: Any, size: int) -> int:
    """Length of the typed field: complex numbers are two, those of less than a byte are packed."""
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if dtype.name in _BITS:
        return size
    return int(math.prod(tensor.dims)) * (2 if dtype.kind == "c" else 1)


def calls(nodes: Any) -> Iterator[tuple[str, str]]:
    """Domain and type of every node, those in graphs inside nodes included."""
    for node in nodes:
        yield node.domain, node.op_type
        for item in node.attribute:
            for graph in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield from calls(graph.node)


def shown(text: str, *, quoted: bool = True) -> str:
    """A name from a file, short enough for a message."""
    short = text if len(text) <= _LARGEST_NAME else f"{text[:_LARGEST_NAME]}…"
    return repr(short) if quoted else short.replace("\n", " ")
