"""What constants alone decide, computed once: quantizers and delegates want weights, not computations of weights."""

from __future__ import annotations

from typing import Any

_LARGEST_GROWTH = 1 << 20
"""Elements that a result may have more than what it is computed from."""


def fold_constants(module: Any) -> None:
    """Replace in a flat graph module, in place, every operator on constants by its result."""
    import torch

    graph, known = module.graph, {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            value = getattr(module, str(node.target))
            if isinstance(value, torch.Tensor):
                known[node] = value
            continue
        if node.op != "call_function" or not all(item in known for item in node.all_input_nodes):
            continue
        if getattr(node.target, "namespace", "aten") != "aten":
            continue
        arguments = torch.fx.map_arg((node.args, node.kwargs), lambda item: known[item])
        with torch.no_grad():
            result = node.target(*arguments[0], **arguments[1])
        given = sum(known[item].numel() for item in node.all_input_nodes if isinstance(known[item], torch.Tensor))
        if isinstance(result, torch.Tensor) and result.numel() > given + _LARGEST_GROWTH:
            continue
        known[node] = result
    _store(module, known)
    graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    for name in _unread(module):
        delattr(module, name)


def _store(module: Any, known: dict[Any, Any]) -> None:
    """Give what is computed and still read by others an attribute of its own."""
    import torch

    for node, value in known.items():
        if node.op == "get_attr" or not isinstance(value, torch.Tensor):
            continue
        if not any(user not in known for user in node.users):
            continue
        name = f"c_{node.name}"
        module.register_buffer(name, value.detach().clone().contiguous())
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(name)
        stored.meta = dict(node.meta)
        for user in [user for user in node.users if user not in known]:
            user.replace_input_with(node, stored)


def _unread(module: Any) -> list[str]:
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    return [name for name in dict(module.named_buffers(recurse=False)) if name not in read]
