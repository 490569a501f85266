"""Attention masks as models build them, in few operators that every target has.

Libraries compute masks from positions: ranges are compared, combined and gathered at every run, always with the same
result. What depends on no input and on no weight is computed here, once; what then does nothing is taken out.
"""

from __future__ import annotations

from typing import Any

_MOST_ELEMENTS = 1 << 20
"""Of what is stored in place of its computation: a mask of 1024 tokens squared."""
_MAKERS = frozenset(
    "arange zeros ones full new_ones new_zeros new_full zeros_like ones_like full_like scalar_tensor unsqueeze expand"
    " view reshape squeeze add sub mul ge gt le lt eq ne __and__ __or__ bitwise_and bitwise_or bitwise_not logical_and"
    " logical_or logical_not to _to_copy slice select transpose permute cumsum tril triu where masked_fill clone"
    " contiguous lift_fresh_copy".split()
)
"""Operators that masks are made of; others may be random, or larger than what they are made from."""


def simplify(module: Any) -> None:
    """Rewrite a graph module in place; it computes the same."""
    for node in list(module.graph.nodes):
        if _name(node) == "_assert_tensor_metadata":  # all is static here, so nothing can differ
            module.graph.erase_node(node)
    known = _fold(module)
    for node in list(module.graph.nodes):
        name = _name(node)
        if name == "where":
            _store_numbers(module, node)
        elif name == "index":
            _reshape_instead(module, node, known)
        elif name in ("__and__", "bitwise_and", "logical_and"):
            _drop_true(module, node, known)
    module.graph.eliminate_dead_code()
    module.recompile()


def _fold(module: Any) -> dict[Any, Any]:
    """Compute what depends on neither input nor weight, and store what others use of it.

    Returns:
        Node to value, also of stored integers and flags.
    """
    import torch

    known: dict[Any, Any] = {}
    changed = _changed_in_place(module)
    for node in list(module.graph.nodes):
        if node in changed:
            continue
        if node.op == "get_attr":
            value = _attribute(module, str(node.target))
            if isinstance(value, torch.Tensor) and not value.is_floating_point() and value.numel() <= _MOST_ELEMENTS:
                known[node] = value
        elif _name(node) in _MAKERS and set(node.all_input_nodes) <= set(known):
            arguments, named = torch.fx.node.map_arg((node.args, node.kwargs), lambda item: known[item])
            value = node.target(*arguments, **named)
            if isinstance(value, torch.Tensor) and value.numel() <= _MOST_ELEMENTS:
                known[node] = value.detach()
    for node, value in list(known.items()):
        if node.op == "get_attr" or all(user in known for user in node.users):
            continue
        stored = _store(module, node, value)
        known[stored] = value
        node.replace_all_uses_with(stored)
    return known


def _changed_in_place(module: Any) -> set[Any]:
    """Nodes whose values an operator writes to, and what those may be views of."""
    todo = [node.args[0] for node in module.graph.nodes if _is_mutating(node)]
    found: set[Any] = set()
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += node.all_input_nodes
    return found


def _is_mutating(node: Any) -> bool:
    import torch

    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable and bool(node.args) and isinstance(node.args[0], torch.fx.Node)


def _store(module: Any, node: Any, value: Any) -> Any:
    """A node that gives a tensor, before ``node``."""
    name = f"folded_{node.name}"
    while hasattr(module, name):
        name += "_"
    module.register_buffer(name, value.clone(memory_format=_contiguous()))
    with module.graph.inserting_before(node):
        stored = module.graph.get_attr(name)
    meta = node.meta.get("val")
    if meta is not None and hasattr(meta, "fake_mode"):
        stored.meta["val"] = meta.fake_mode.from_tensor(getattr(module, name), static_shapes=True)
    return stored


def _contiguous() -> Any:
    import torch

    return torch.contiguous_format


def _store_numbers(module: Any, node: Any) -> None:
    """``where(mask, x, -3.4e38)`` with the number as a stored tensor: ExecuTorch cannot make one of it."""
    import torch

    if node.target is torch.ops.aten.where.self or len(node.args) != 3 or "val" not in node.meta:
        return
    condition, *choices = node.args
    for place, value in enumerate(choices):
        if not isinstance(value, torch.fx.Node):
            choices[place] = _store(module, node, torch.tensor(value, dtype=node.meta["val"].dtype))
    node.target, node.args = torch.ops.aten.where.self, (condition, *choices)


def _reshape_instead(module: Any, node: Any, known: dict[Any, Any]) -> None:
    """``x[rows, columns]`` that picks every element in order is a reshape."""
    import torch

    source, places = node.args
    shape = [int(size) for size in source.meta["val"].shape] if "val" in source.meta else []
    if len(places) != len(shape) or not shape or any(place not in known for place in places):
        return
    picked = torch.zeros((), dtype=torch.int64)
    for place, size in zip(places, shape, strict=True):
        picked = picked * size + known[place] % size
    count = source.meta["val"].numel()
    if picked.numel() == count and torch.equal(picked.flatten(), torch.arange(count)):
        node.target, node.args = torch.ops.aten.reshape.default, (source, list(picked.shape))


def _drop_true(module: Any, node: Any, known: dict[Any, Any]) -> None:
    """``mask & True`` is the mask, spread to the size of the result."""
    import torch

    for constant, other in (node.args, node.args[::-1]):
        value = known.get(constant)
        if value is None or value.dtype != torch.bool or not bool(value.all()) or "val" not in node.meta:
            continue
        if other not in known and other.meta["val"].dtype == torch.bool:
            node.target, node.args = torch.ops.aten.expand.default, (other, [int(n) for n in node.meta["val"].shape])
            return


def _name(node: Any) -> str:
    if node.op != "call_function" or getattr(node.target, "namespace", "") != "aten":
        return ""
    return str(node.target).split(".")[1]


def _attribute(module: Any, target: str) -> Any:
    for part in target.split("."):
        module = getattr(module, part)
    return module
