"""Operators on variables that TensorFlow cannot make operators on constants, as pairs that it can.

``convert_variables_to_constants`` leaves a ResourceGather inside a function alone (TensorFlow 2.21), and what is then
half converted is no valid graph.
"""

from __future__ import annotations

from typing import Any

_PLAIN = {"ResourceGather": "GatherV2", "ResourceGatherNd": "GatherNd"}


def read_before_gathering(graph: Any) -> None:
    """Turn ResourceGather into ReadVariableOp and GatherV2, in place, functions included.

    Args:
        graph: ``GraphDef``.
    """
    _rewrite(graph.node, "", "")
    for function in graph.library.function:
        _rewrite(function.node_def, ":value:0", ":output:0")


def _rewrite(nodes: Any, value: str, axis_value: str) -> None:
    """Rewrite one list of nodes; in functions a tensor is named by the output that it is (``name:value:0``)."""
    for node in [node for node in nodes if node.op in _PLAIN]:
        read = nodes.add(name=f"{node.name}/read", op="ReadVariableOp", input=[node.input[0]])
        read.attr["dtype"].CopyFrom(node.attr["dtype"])
        dtype, indices, batch = node.attr["dtype"].type, node.attr["Tindices"].type, node.attr["batch_dims"].i
        old, controls = node.input[1], [item for item in node.input if item.startswith("^")]
        made = type(node)(name=node.name, op=_PLAIN[node.op], device=node.device, input=[read.name + value, old])
        made.attr["Tparams"].type, made.attr["Tindices"].type = dtype, indices
        if made.op == "GatherV2":
            axis = nodes.add(name=f"{node.name}/axis", op="Const")
            axis.attr["dtype"].type = indices
            axis.attr["value"].tensor.CopyFrom(_scalar(batch, indices))
            made.input.append(axis.name + axis_value)
            made.attr["Taxis"].type, made.attr["batch_dims"].i = indices, batch
        made.input.extend(controls)
        node.CopyFrom(made)


def _scalar(value: int, dtype: int) -> Any:
    import tensorflow as tf

    return tf.make_tensor_proto(value, dtype=tf.as_dtype(dtype), shape=[])
