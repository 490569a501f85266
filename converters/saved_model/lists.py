"""Loops with fixed sizes: of what they carry along, and of the elements of lists that they read and fill.

A SavedModel says ``[?, 8]`` in attributes and constants of its own, in ``tf.TensorArray`` and so in every RNN of Keras,
which no inference of shapes reaches; and TFLite takes only lists whose elements have a fixed size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from converters.saved_model import graphs

_LOOPS = ("While", "StatelessWhile")
_SIZE_AT = {"TensorListReserve": 0, "TensorListFromTensor": 1, "TensorListStack": 1, "TensorListGetItem": 2}
"""Which input of an operator is the size of an element."""


def fix_sizes(graph: Any) -> None:
    """Write sizes to the loops of a graph and to their lists, in place, where they can be inferred.

    Args:
        graph: ``GraphDef`` with inputs of fixed sizes and no control inputs.
    """
    import tensorflow as tf

    loops = [node for node in graph.node if node.op in _LOOPS]
    used = [node.attr["body"].func.name for node in loops]
    bodies = {item.signature.name: item for item in graph.library.function}
    for loop, name in zip(loops, used, strict=True):
        if used.count(name) > 1:  # their sizes may differ
            continue
        with tf.Graph().as_default() as made:  # each time anew: what one loop returns goes into the next
            tf.graph_util.import_graph_def(graph, name="")
            operation = made.get_operation_by_name(loop.name)
            read = _read(graph, loop, operation.inputs)
            _fix_body(bodies[name], loop, read)
            inside, shapes = _inferred(bodies[name], operation)
        _set_shapes(loop, shapes)
        for place, shape in (read | _filled(inside)).items():
            _set_outside(graph, loop, place, shape)


def _read(graph: Any, loop: Any, tensors: Sequence[Any]) -> dict[int, list[int]]:
    """Which inputs of a loop are lists made of a tensor, and the sizes of their elements."""
    nodes = {node.name: node for node in graph.node}
    found = {}
    for place, tensor in enumerate(tensors):
        if nodes[graphs.split(loop.input[place])[0]].op == "TensorListFromTensor":
            whole = tensor.op.inputs[0].shape
            if whole.is_fully_defined():
                found[place] = whole.as_list()[1:]
    return found


def _fix_body(body: Any, loop: Any, sizes: Mapping[int, list[int]]) -> None:
    """Write sizes to what takes elements out of lists, and forget shapes that were noted for others."""
    places = {argument.name: place for place, argument in enumerate(body.signature.input_arg)}
    body.attr.pop("_input_shapes", None)
    for noted in (*body.arg_attr.values(), *body.node_def):
        noted.attr.pop("_output_shapes", None)
    for node in list(body.node_def):
        if node.op == "TensorListGetItem" and (shape := sizes.get(places.get(node.input[0], -1))) is not None:
            _set(body.node_def, node, shape, ":output:0")
    # TensorFlow remembers functions by name, for the whole process: another content needs another name.
    body.signature.name += f"_{hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()[:8]}"
    loop.attr["body"].func.name = body.signature.name


def _inferred(body: Any, operation: Any) -> tuple[Any, list[Any]]:
    """The body as a graph with shapes, and those that what the loop carries has in every round.

    Args:
        body: ``FunctionDef``.
        operation: ``tf.Operation`` of the loop.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    shapes = [tensor.shape for tensor in operation.inputs]
    while True:
        inside = function_def_to_graph(body, input_shapes=shapes)
        # A loop may let its tensors grow: then their first size is not their size, and the noted one stands.
        rounds = zip(shapes, inside.outputs, operation.outputs, strict=True)
        kept = [shape if _same(shape, made.shape) else noted.shape for shape, made, noted in rounds]
        if all(_same(shape, before) for shape, before in zip(kept, shapes, strict=True)):
            return inside, shapes
        shapes = kept


def _same(shape: Any, other: Any) -> bool:
    return str(shape) == str(other)


def _set_shapes(loop: Any, shapes: Sequence[Any]) -> None:
    noted = loop.attr["output_shapes"].list
    del noted.shape[:]
    noted.shape.extend(shape.as_proto() for shape in shapes)


def _filled(inside: Any) -> dict[int, list[int]]:
    """Which inputs of a loop are lists that it fills, and the sizes of what it puts into them."""
    arguments = {tensor.op.name: place for place, tensor in enumerate(inside.inputs)}
    found = {}
    for item in inside.get_operations():
        if item.type == "TensorListSetItem":
            place, shape = arguments.get(item.inputs[0].op.name), item.inputs[2].shape
            if place is not None and shape.is_fully_defined():
                found[place] = shape.as_list()
    return found


def _set_outside(graph: Any, loop: Any, place: int, shape: list[int]) -> None:
    """Write a size to what makes the list, and to what stacks it after the loop."""
    nodes = {node.name: node for node in graph.node}
    users = [node for node in graph.node if node.input and graphs.split(node.input[0]) == (loop.name, place)]
    for node in (nodes[graphs.split(loop.input[place])[0]], *users):
        if node.op in _SIZE_AT:
            _set(graph.node, node, shape, "")


def _set(nodes: Any, node: Any, shape: list[int], output: str) -> None:
    import numpy as np
    import tensorflow as tf

    size = nodes.add(name=f"{node.name}/element_shape_fixed", op="Const")
    size.attr["dtype"].type = tf.int32.as_datatype_enum
    size.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(shape, np.int32)))
    node.input[_SIZE_AT[node.op]] = size.name + output
    if node.op != "TensorListGetItem":  # whose sizes are always int32
        node.attr["shape_type"].type = tf.int32.as_datatype_enum
