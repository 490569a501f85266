"""The layers of a ``torch.export`` program, as rules and users name them.

A layer is one operator on data; its name is that of its node, which is the same in every load of a program file.
"""

from __future__ import annotations

from typing import Any

from converters.layers import Layer
from converters.torch_export import operators

# Operators whose kind is not their own name. Overloads and a trailing underscore (in place) are gone before.
_KINDS = {
    **dict.fromkeys(("convolution", "_convolution", "conv1d", "conv2d", "conv3d"), "conv"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "conv_transpose"),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), "matmul"),
    **dict.fromkeys(("rsub", "subtract"), "sub"),
    **dict.fromkeys(("divide", "true_divide"), "div"),
    **dict.fromkeys(("cat", "concatenate"), "concat"),
    **dict.fromkeys(("_softmax", "softmax"), "softmax"),
    **dict.fromkeys(("_log_softmax", "log_softmax"), "log_softmax"),
    **dict.fromkeys(("hardtanh", "relu6", "clamp", "clamp_min", "clamp_max", "clip"), "clamp"),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), "batch_norm"),
    "_prelu_kernel": "prelu",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "constant_pad_nd": "pad",
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten", "view_copy"), "reshape"),
    **dict.fromkeys(("permute", "t", "transpose", "swapaxes", "movedim"), "transpose"),
    **dict.fromkeys(("select", "narrow"), "slice"),
    **dict.fromkeys(("index", "index_select", "take_along_dim"), "gather"),
    **dict.fromkeys(("chunk", "split_with_sizes", "unbind"), "split"),
    **dict.fromkeys(("to", "_to_copy", "type_as"), "cast"),
    **dict.fromkeys(("clone", "detach", "alias", "contiguous", "dropout", "lift_fresh_copy"), "identity"),
}
_PREFIXES = {"upsample_": "resize", "_upsample_": "resize", "max_pool": "max_pool", "reflection_pad": "pad",
             "replication_pad": "pad", "avg_pool": "avg_pool", "adaptive_avg_pool": "avg_pool",
             "_adaptive_avg_pool": "avg_pool", "adaptive_max_pool": "max_pool"}  # fmt: skip
# Place of the weight among the arguments of the kinds that have one. Constants of other kinds, such as the factor of a
# BatchNorm that became a multiplication, make no layer with weights: @first and @last mean what people mean by them.
_WEIGHT_ARGUMENT = {"conv": 1, "depthwise_conv": 1, "conv_transpose": 1, "linear": 1, "embedding": 0}
_GROUPS_ARGUMENT = {"convolution": 8, "_convolution": 8}
_DEFAULT_GROUPS_ARGUMENT = 6
_NO_PATH = "(top)"  # what operators.module_path says of the outermost module


def layers_of(program: Any) -> list[Layer]:
    """The operators of a program on data, producers before consumers.

    What is computed from constants alone is left out, and so is what nobody uses, such as an assertion.

    Args:
        program: ``torch.export.ExportedProgram``, or the ``torch.fx.GraphModule`` that its ``module()`` gives; the
            names are the same.

    Returns:
        Layers; ``Layer.name`` is the name of the node (:func:`nodes_of`).
    """
    graph = _graph(program)
    constants = constant_nodes(graph)
    outputs = set(next(node for node in graph.nodes if node.op == "output").all_input_nodes)
    made_by: dict[Any, tuple[int, ...]] = {}  # what each node comes from, seen through what is no layer
    found: list[Layer] = []
    for node in graph.nodes:
        sources = tuple(dict.fromkeys(place for item in node.all_input_nodes for place in made_by.get(item, ())))
        if node.op != "call_function" or node in constants or not operators.is_aten(node) or not node.users:
            made_by[node] = sources
            continue
        made_by[node] = (len(found),)
        found.append(_layer(node, sources, constants, outputs))
    return found


def nodes_of(program: Any) -> dict[str, Any]:
    """The nodes of a program by name: the way from a layer back to what it stands for."""
    return {node.name: node for node in _graph(program).nodes}


def constant_nodes(graph: Any) -> set[Any]:
    """Nodes that no input of the model reaches."""
    found: set[Any] = set()
    for node in graph.nodes:
        computed = node.op in ("call_function", "call_module") and set(node.all_input_nodes) <= found
        if node.op == "get_attr" or computed:
            found.add(node)
    return found


def kind_of(node: Any) -> str:
    """What an operator does, in edgekit's one word for all formats."""
    name = _base(node)
    kind = _KINDS.get(name) or next((word for start, word in _PREFIXES.items() if name.startswith(start)), name)
    if name in ("convolution", "_convolution") and _argument(node, 6, "transposed", False):
        return "conv_transpose"
    if kind == "conv" and _is_depthwise(node):
        return "depthwise_conv"
    return kind.lower()


def _graph(program: Any) -> Any:
    """The graph over attributes; that of an exported program has its parameters as inputs."""
    return (program.module(check_guards=False) if hasattr(program, "graph_signature") else program).graph


def _layer(node: Any, sources: tuple[int, ...], constants: set[Any], outputs: set[Any]) -> Layer:
    path, kind = operators.module_path(node), kind_of(node)
    picked = {user for user in node.users if not operators.is_aten(user)}  # elements of a tuple
    return Layer(
        path="" if path == _NO_PATH else path,
        kind=kind,
        operator=str(node.target),
        name=node.name,
        inputs=sources,
        weighted=_is_weighted(node, kind, constants),
        is_output=bool(outputs & {node, *picked}),
    )


def _is_weighted(node: Any, kind: str, constants: set[Any]) -> bool:
    if kind in ("lstm", "gru"):
        return True
    if kind == "matmul":
        return any(item in constants for item in node.all_input_nodes)
    return kind in _WEIGHT_ARGUMENT and node.args[_WEIGHT_ARGUMENT[kind]] in constants


def _is_depthwise(node: Any) -> bool:
    name = _base(node)
    groups = _argument(node, _GROUPS_ARGUMENT.get(name, _DEFAULT_GROUPS_ARGUMENT), "groups", 1)
    if groups == 1:
        return False
    weight = node.args[1]
    while weight.op == "call_module":  # an observer
        weight = weight.args[0]
    return int(weight.meta["val"].shape[1]) == 1  # outputs, inputs per group, sizes


def _argument(node: Any, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _base(node: Any) -> str:
    """``relu`` of ``aten.relu_.default``."""
    parts = (str(node.target) if node.op == "call_function" else node.op).split(".")
    return parts[min(1, len(parts) - 1)].rstrip("_")
