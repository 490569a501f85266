"""Graphs of TensorFlow as data: what an output needs, what goes in where, and what operators return.

Nothing here runs, and nothing is imported into TensorFlow: a graph is looked at before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.errors import UsageError

PREFIX = "edgekit_input_"
"""What the names of placeholders begin with that :func:`cut` puts in the place of inputs."""


VARIABLES = ("VarHandleOp", "Variable", "VariableV2")
"""Operators that are a variable."""


@dataclass(frozen=True)
class Endpoint:
    """An input or output of a graph.

    Attributes:
        name: That users know.
        tensor: ``operator:index``.
        dtype: NumPy name, or TensorFlow's where NumPy has none.
        shape: Sizes, ``None`` for open ones; ``None`` where not even the rank is known.
    """

    name: str
    tensor: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.dtype} of any rank"
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}[{sizes}]"


def split(tensor: str) -> tuple[str, int]:
    """Operator and index of ``operator:index``; also of ``operator`` and ``^operator``."""
    name, _, index = tensor.removeprefix("^").partition(":")
    return name, int(index) if index.isdigit() else 0


def dtype_name(number: int) -> str:
    """NumPy's name of a dtype, TensorFlow's where NumPy has none: ``float32``, ``string``, ``resource``."""
    import tensorflow as tf

    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return "unknown"


def is_plain(dtype: str) -> bool:
    """Whether tensors of this dtype are real numbers or flags that NumPy knows."""
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:
        return False


def sizes(shape: Any) -> tuple[int | None, ...] | None:
    """A TensorShapeProto; ``None`` where the rank is unknown."""
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)


def nodes(graph: Any) -> Iterator[tuple[Any, str]]:
    """All nodes, those of functions included, and where each stands."""
    for node in graph.node:
        yield node, node.name
    for function in graph.library.function:
        for node in function.node_def:
            yield node, f"{node.name} in {function.signature.name}"


def called(node: Any, known: Iterable[str]) -> set[str]:
    """Names of the functions that a node calls, or hands on to be called."""
    found = {node.op}
    for value in node.attr.values():
        found.update((value.func.name, *(item.name for item in value.list.func)))
    return found.intersection(known)


def pruned(graph: Any, ends: Iterable[str]) -> Any:
    """The part of a GraphDef that some operators need: a copy, with the functions it calls and no others.

    Args:
        graph: ``GraphDef``.
        ends: Names of operators.
    """
    by_name = {node.name: node for node in graph.node}
    kept, todo = set[str](), list(ends)
    while todo:
        name = todo.pop()
        if name not in kept and name in by_name:
            kept.add(name)
            todo += [split(item)[0] for item in by_name[name].input]
    made = type(graph)(versions=graph.versions)
    made.node.extend(node for node in graph.node if node.name in kept)
    functions = {function.signature.name: function for function in graph.library.function}
    used, names = set[str](), set[str]().union(*(called(node, functions) for node in made.node))
    while names:
        used |= names
        bodies = (node for name in names for node in functions[name].node_def)
        names = set[str]().union(*(called(node, functions) for node in bodies)) - used
    made.library.function.extend(item for item in graph.library.function if item.signature.name in used)
    return made


def input_node(index: int) -> str:
    """Name of the placeholder that :func:`cut` puts in the place of an input."""
    return f"{PREFIX}{index:03}"


def cut(graph: Any, inputs: Sequence[Endpoint]) -> Any:
    """A copy of a GraphDef in which placeholders (:func:`input_node`) stand for the inputs, whatever made those.

    Placeholders with a default that are no input become what they are in inference: their default.
    """
    made = type(graph)()
    made.CopyFrom(graph)
    places = {split(item.tensor): input_node(index) for index, item in enumerate(inputs)}
    operators = {name: place for (name, _), place in places.items()}
    for node in made.node:
        node.input[:] = [_redirected(item, places, operators) for item in node.input]
        if node.op == "PlaceholderWithDefault":
            node.op = "Identity"
            dtype = node.attr["dtype"].type
            node.attr.clear()
            node.attr["T"].type = dtype
    for place, item in zip(places.values(), inputs, strict=True):
        node = made.node.add(name=place, op="Placeholder")
        node.attr["dtype"].type = _enum(item.dtype)
        if item.shape is None:
            node.attr["shape"].shape.unknown_rank = True
        else:
            node.attr["shape"].shape.dim.extend(
                type(node.attr["shape"].shape).Dim(size=-1 if size is None else size) for size in item.shape
            )
    return made


def _redirected(item: str, places: dict[tuple[str, int], str], operators: dict[str, str]) -> str:
    if item.startswith("^"):
        return f"^{operators[item[1:]]}" if item[1:] in operators else item
    return places.get(split(item), item)


def _enum(dtype: str) -> int:
    import tensorflow as tf

    return int(tf.as_dtype(dtype).as_datatype_enum)


def without_identities(graph: Any, ends: Sequence[str]) -> list[str]:
    """Make the users of an Identity use what goes into it, in place; the nodes stay, of no use.

    Args:
        graph: ``GraphDef`` without control inputs.
        ends: Names of tensors.

    Returns:
        ``ends`` behind no Identity.
    """
    sources = {node.name: node.input[0] for node in graph.node if node.op == "Identity"}

    def followed(tensor: str) -> str:
        while split(tensor)[0] in sources:
            tensor = sources[split(tensor)[0]]
        name, index = split(tensor)
        return f"{name}:{index}"

    for node in graph.node:
        node.input[:] = [followed(item) for item in node.input]
    return [followed(item) for item in ends]


def source_of(tensor: str, inputs: Sequence[Endpoint]) -> str:
    """Where a tensor is after :func:`cut`: an output may be an input."""
    for index, item in enumerate(inputs):
        if split(item.tensor) == split(tensor):
            return f"{input_node(index)}:0"
    name, index = split(tensor)
    return f"{name}:{index}"


def returned(node: Any, graph: Any) -> list[str] | None:
    """The dtypes of what a node returns; ``None`` where its operator is not known."""
    from tensorflow.python.framework import op_def_registry

    own = (item.signature for item in graph.library.function if item.signature.name == node.op)
    signature = next(own, None) or op_def_registry.get(node.op)
    if signature is None:
        return None
    found: list[str] = []
    for item in signature.output_arg:
        if item.type_list_attr:
            found += [dtype_name(number) for number in node.attr[item.type_list_attr].list.type]
        else:
            number = node.attr[item.type_attr].type if item.type_attr else item.type
            found += [dtype_name(number)] * (node.attr[item.number_attr].i if item.number_attr else 1)
    return found


def existing_tensor(name: str, graph: Any, option: str) -> tuple[Any, int]:
    """The node of a tensor that a user named, and its place among what that returns.

    Raises:
        UsageError: There is none; the hint names similar ones.
    """
    import difflib

    wanted, index = split(name)
    by_name = {node.name: node for node in graph.node}
    if wanted not in by_name:
        near = difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.4)
        raise UsageError(
            f"{option} {name}: the graph has no operator of that name.",
            hint=f"Did you mean {', '.join(near)}?" if near else "edgekit inspect lists what there is.",
        )
    known = returned(by_name[wanted], graph)
    if known is not None and index >= len(known):
        raise UsageError(f"{option} {name}: {wanted} ({by_name[wanted].op}) returns {len(known)} tensors.")
    return by_name[wanted], index


def constant(operation: Any) -> Any:
    """The value of a ``tf.Operation`` of type Const, as an array."""
    import tensorflow as tf

    return tf.make_ndarray(operation.get_attr("value"))
