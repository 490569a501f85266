"""Damage to ONNX files: bits, lengths, and fields that contradict each other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from _onnx_seeds import DATA
from google.protobuf.descriptor import FieldDescriptor
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

from converters.onnx.stored import tensors

Random = random.Random
_NUMBERS = (0, 1, -1, 2, 3, 7, 64, -2, 127, 1 << 20, 1 << 31, (1 << 31) - 1, -(1 << 31), 10**12, 1 << 62, (1 << 63) - 1,
            -(1 << 63))  # fmt: skip
_FLOATS = (0.0, -1.0, 1e30, -1e-30, float("inf"), float("nan"), 3.5)
_LOCATIONS = ("", ".", "..", "../secret.bin", "../../secret.bin", "/etc/passwd", "/dev/zero", "/proc/self/mem",
              "link.bin", "folder/secret.bin", "nothing.bin", "./weights.bin", "folder/../weights.bin", "model.onnx",
              "a\0b", "x" * 5000,
              "\\\\host\\share", "C:\\weights.bin", "file:///etc/passwd", "~/.profile", "weights.bin/", "//etc/passwd",
              "loop.bin")  # fmt: skip
_OPERATORS = tuple(
    "Foo Conv Reshape If Loop Scan Resize Pad Slice Gather TopK Einsum LSTM QLinearConv Col2Im ScatterND Unique "
    "NonZero Split Range OneHot GridSample STFT Attention Identity Constant Optional SequenceAt RoiAlign "
    "MaxUnpool".split()
)


def mutate(model: ModelProto, data: bytes, source: Random) -> tuple[bytes, bytes, str]:
    """Damage a model: a few fields, or its bytes.

    Args:
        model: A sound one; left as it is.
        data: Of the file beside it.
        source: Decides.

    Returns:
        The file, the one beside it, and in words what was done.
    """
    if source.random() < 0.25:
        content, what = _bytes_changed(model.SerializeToString(), source)
        return content, data, what
    changed = ModelProto()
    changed.CopyFrom(model)
    done = []
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        way = source.choice(_WAYS)
        done.append(f"{way.__name__.strip('_')}({way(changed, source)})")
    if data and source.random() < 0.2:
        data = data[: source.randrange(len(data))]
        done.append("weights cut")
    return changed.SerializeToString(), data, ", ".join(done)


def _bytes_changed(content: bytes, source: Random) -> tuple[bytes, str]:
    changed = bytearray(content)
    kind = source.choice(("flip", "flip", "flip", "cut", "insert", "remove", "repeat", "swap"))
    place, other = sorted(source.randrange(len(changed)) for _ in range(2))
    if kind == "flip":
        for _ in range(source.randint(1, 8)):
            changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    elif kind == "cut":
        del changed[place:]
    elif kind == "insert":
        changed[place:place] = source.randbytes(source.randint(1, 16))
    elif kind == "remove":
        del changed[place : place + source.randint(1, 32)]
    elif kind == "repeat":
        changed[place:place] = changed[place:other]
    else:
        changed[place : place + 8], changed[other : other + 8] = changed[other : other + 8], changed[place : place + 8]
    return bytes(changed), f"{kind} at {place}"


def _any_field(model: ModelProto, source: Random) -> str:
    """Some number or text anywhere in the message."""
    places = list(_scalars(model, ""))
    message, field, index, path = source.choice(places)
    value = _other(message, field, index, source)
    try:
        if index is None:
            setattr(message, field.name, value)
        else:
            getattr(message, field.name)[index] = value
    except (ValueError, TypeError, OverflowError):  # an enum or an int32 that does not take it
        return f"{path} left"
    return f"{path}={str(value)[:20]!r}"


def _scalars(message: Any, path: str) -> Any:
    for field, value in message.ListFields():
        here = f"{path}.{field.name}"
        repeated = field.is_repeated
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for at, item in enumerate(value if repeated else [value]):
                yield from _scalars(item, f"{here}[{at}]" if repeated else here)
        elif repeated:
            yield from ((message, field, at, f"{here}[{at}]") for at in range(min(len(value), 8)))
        else:
            yield message, field, None, here


def _other(message: Any, field: Any, index: int | None, source: Random) -> Any:
    old = getattr(message, field.name) if index is None else getattr(message, field.name)[index]
    if isinstance(old, bool | int):
        return source.choice((*_NUMBERS, old + 1, old - 1, -old, source.randrange(30)))
    if isinstance(old, float):
        return source.choice((*_FLOATS, -old))
    if isinstance(old, bytes):
        return source.choice((b"", old[: len(old) // 2], old + b"\0", source.randbytes(len(old)), b"\xff\xfe"))
    return source.choice(("", "x", "y", "\u00e9", old + old, "w", "SAME_LOWER", "../x", "a" * 3000))


def _tensor(model: ModelProto, source: Random) -> Any:
    return source.choice(list(tensors(model)) or [TensorProto()])


def _sizes(model: ModelProto, source: Random) -> str:
    tensor = _tensor(model, source)
    if tensor.dims and source.random() < 0.7:
        tensor.dims[source.randrange(len(tensor.dims))] = source.choice(_NUMBERS)
    else:
        tensor.dims.insert(0, source.choice(_NUMBERS))
    return f"{tensor.name} {list(tensor.dims)}"


def _rank(model: ModelProto, source: Random) -> str:
    """A tensor of as many elements, in another rank."""
    tensor = _tensor(model, source)
    total = 1
    for size in tensor.dims:
        total *= size
    new = source.choice(([total], [1, total], [total, 1, 1], [], [1] * 70 + [total]))
    tensor.dims[:] = new
    return f"{tensor.name} {new[:4]}"


def _dtype(model: ModelProto, source: Random) -> str:
    tensor = _tensor(model, source)
    tensor.data_type = source.choice((*range(30), 99, -1))
    return f"{tensor.name} {tensor.data_type}"


def _values(model: ModelProto, source: Random) -> str:
    """Other whole numbers in a small tensor: axes, shapes, places."""
    small = [item for item in tensors(model) if item.data_type == TensorProto.INT64 and len(item.raw_data) > 7]
    if not small:
        return "none"
    tensor = source.choice(small)
    at = 8 * source.randrange(len(tensor.raw_data) // 8)
    number = source.choice(_NUMBERS).to_bytes(8, "little", signed=True)
    tensor.raw_data = tensor.raw_data[:at] + number + tensor.raw_data[at + 8 :]
    return str(tensor.name)


def _apart(model: ModelProto, source: Random) -> str:
    """A tensor that is in another file, by some name, at some place."""
    tensor = _tensor(model, source)
    tensor.data_location = TensorProto.EXTERNAL
    if source.random() < 0.5:
        tensor.ClearField("raw_data")
    del tensor.external_data[:]
    entries = {"location": source.choice((*_LOCATIONS, DATA, DATA, DATA))}
    for key in ("offset", "length", "checksum", "basepath"):
        if source.random() < 0.4:
            entries[key] = source.choice(
                (*(str(item) for item in _NUMBERS), "", "x", "1e3", " 4", "0x10", "\u0664", "/")
            )
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return f"{entries['location'][:30]!r}"


def _graph(model: ModelProto, source: Random) -> Any:
    """The main graph, or that of a branch or loop."""
    found = [model.graph]
    for node in model.graph.node:
        found += [item.g for item in node.attribute if item.HasField("g")]
    return source.choice(found)


def _node(model: ModelProto, source: Random) -> Any:
    nodes = [*_graph(model, source).node, *(node for function in model.functions for node in function.node)]
    return source.choice(nodes or [NodeProto()])


def _operator(model: ModelProto, source: Random) -> str:
    node = _node(model, source)
    node.op_type = source.choice((*_OPERATORS, _node(model, source).op_type))
    if source.random() < 0.2:
        node.domain = source.choice(("", "own", "com.microsoft", "ai.onnx", "edgekit", "ai.onnx.ml"))
    return str(node.op_type)


def _wires(model: ModelProto, source: Random) -> str:
    """A node reads or makes another tensor: cycles, names of two things, operands too few and too many."""
    node, other = _node(model, source), _node(model, source)
    names = [*other.input, *other.output, "", "x", "y", "nothing"]
    side = source.choice((node.input, node.input, node.output))
    kind = source.choice(("change", "change", "add", "drop", "clear"))
    if kind == "add" or not side:
        side.append(source.choice(names))
    elif kind == "change":
        side[source.randrange(len(side))] = source.choice(names)
    elif kind == "drop":
        del side[source.randrange(len(side))]
    else:
        del side[:]
    return f"{kind} {node.op_type}"


def _nodes(model: ModelProto, source: Random) -> str:
    """Nodes in another order, twice, or gone."""
    graph = _graph(model, source)
    nodes = list(graph.node) or [NodeProto()]
    kind = source.choice(("shuffle", "double", "drop", "none"))
    if kind == "shuffle":
        source.shuffle(nodes)
    elif kind == "double":
        nodes.append(source.choice(nodes))
    elif kind == "drop":
        nodes.remove(source.choice(nodes))
    else:
        nodes = []
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return kind


def _attribute(model: ModelProto, source: Random) -> str:
    """An attribute of another value, type or name; negative axes and lists of other lengths among them."""
    node = _node(model, source)
    if not node.attribute:
        node.attribute.add(name=source.choice(("axis", "axes", "perm", "to", "group")), type=AttributeProto.INT, i=-9)
        return "axis=-9"
    item = source.choice(node.attribute)
    kind = source.choice(("type", "name", "drop", "value", "value", "value", "reference"))
    if kind == "type":
        item.type = source.choice((*range(15),))
    elif kind == "name":
        item.name = source.choice(("axis", "x", ""))
    elif kind == "drop":
        node.attribute.remove(item)
    elif kind == "reference":
        item.ref_attr_name = source.choice(("slope", "nothing"))
    elif item.ints:
        item.ints[source.randrange(len(item.ints))] = source.choice(_NUMBERS)
        del item.ints[source.randint(1, len(item.ints)) :]
    else:
        item.i, item.f = source.choice(_NUMBERS), source.choice(_FLOATS)
        item.s = source.choice((b"", b"\xff", b"linear", b"SAME_LOWER", b"bij,bjk", b"reverse", item.s * 2))
    return f"{kind} {node.op_type}.{item.name}"


def _border(model: ModelProto, source: Random) -> str:
    """Another shape, type, rank or kind of an input or output."""
    graph = _graph(model, source)
    side = source.choice((graph.input, graph.output))
    if not side:
        return "none"
    item = source.choice(side)
    kind = source.choice(("size", "rank", "type", "sequence", "none", "name", "double", "drop"))
    tensor = item.type.tensor_type
    if kind == "size" and tensor.shape.dim:
        source.choice(tensor.shape.dim).dim_value = source.choice(_NUMBERS)
    elif kind == "rank":
        tensor.shape.dim.add(dim_value=source.choice(_NUMBERS))
    elif kind == "type":
        tensor.elem_type = source.choice((*range(25), 99))
    elif kind == "sequence":
        item.type.sequence_type.elem_type.tensor_type.elem_type = 1
    elif kind == "none":
        item.ClearField("type")
    elif kind == "name":
        item.name = source.choice(("", "w", "y", "nothing"))
    elif kind == "double":
        side.append(type(item).FromString(item.SerializeToString()))
    else:
        side.remove(item)
    return f"{kind} {item.name}"


def _versions(model: ModelProto, source: Random) -> str:
    kind = source.choice(("ir", "opset", "opset", "none", "domain"))
    if not model.opset_import:
        model.opset_import.add()
    if kind == "ir":
        model.ir_version = source.choice((0, 1, 3, 4, 99, -1))
    elif kind == "none":
        del model.opset_import[:]
    elif kind == "domain":
        source.choice(model.opset_import).domain = source.choice(("", "ai.onnx", "else"))
    else:
        model.opset_import[0].version = source.choice((0, 1, 5, 6, 7, 9, 10, 11, 13, 21, 28, 29, 10**6, -1))
    return kind


def _calls(model: ModelProto, source: Random) -> str:
    """Functions that call each other, or themselves."""
    if not model.functions:
        return "none"
    function = source.choice(model.functions)
    kind = source.choice(("call", "name", "double", "output"))
    if kind == "call":
        function.node.add(domain="own", op_type=source.choice(("Inner", "Outer")), input=["a"], output=["z"])
    elif kind == "name":
        function.name = source.choice(("Inner", "Outer", "Relu", ""))
    elif kind == "double":
        model.functions.append(type(function).FromString(function.SerializeToString()))
    else:
        function.output[:] = source.choice((["nothing"], [], ["a"]))
    return kind


_WAYS: tuple[Callable[[ModelProto, Random], str], ...] = (
    _any_field, _any_field, _any_field, _sizes, _rank, _dtype, _values, _values, _apart, _apart, _operator, _wires,
    _wires, _nodes, _attribute, _attribute, _border, _versions, _calls,
)  # fmt: skip
