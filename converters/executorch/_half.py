"""Weights in float16, arithmetic in float32: half the size at 65 dB and more.

XNNPACK can also compute in float16, but it rounds every partial sum to 11 bits (52.8 dB on the digits network, against
66.9 dB), and ExecuTorch then stores the weights of convolutions as float32. With float16 weights beside float32
activations XNNPACK widens the weights when the file is loaded. ExecuTorch has no option for such files, so the one
place where it writes a delegate's tensors is stepped into.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from converters.torch_export import operators
from converters.torch_export import program as programs
from converters.torch_export.quantized import tidy

_FILTERS = ("aten.convolution.default", "aten.linear.default")
_FILTER_ARGUMENT = 1


def halve_embeddings(exported: Any) -> tuple[Any, list[str]]:
    """Store the tables of embeddings, which no delegate takes, in float16; what is looked up is widened.

    Returns:
        The program, and the module paths of embeddings whose values do not fit.
    """
    import torch

    module = exported.module(check_guards=False)
    changed, left = False, []
    for node in list(module.graph.nodes):
        table = node.args[0] if str(node.target) == "aten.embedding.default" else None
        if table is None or table.op != "get_attr" or table.meta["val"].dtype != torch.float32:
            continue
        half = getattr(module, str(table.target)).detach().half()
        if not half.isfinite().all():
            left.append(operators.module_path(node))
            continue
        module.register_buffer(f"{table.target}_half", half)
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(f"{table.target}_half")
        node.replace_input_with(table, stored)
        with module.graph.inserting_after(node):
            widened = module.graph.call_function(torch.ops.aten.to.dtype, (node, torch.float32))
        node.replace_all_uses_with(widened, delete_user_cb=lambda user, widened=widened: user is not widened)
        widened.meta = dict(node.meta)
        changed = True
    if not changed:
        return exported, left
    tidy(module)
    return programs.export_like(module, exported), left


@contextmanager
def half_filters(left: list[str]) -> Iterator[None]:
    """While this is open, ExecuTorch stores the weights of delegated convolutions and linear layers in float16.

    Args:
        left: Takes the names of weights that stay float32, because their values do not fit.
    """
    from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor

    original = NodeVisitor.define_tensor

    def define_tensor(self: Any, tensor: Any, *args: Any, **kwargs: Any) -> None:
        is_quantized = kwargs.get("quant_params") is not None
        if not is_quantized and _is_filter(tensor) and _halve(self.exported_program, tensor, left):
            kwargs["force_fp32"] = False
        original(self, tensor, *args, **kwargs)

    NodeVisitor.define_tensor = define_tensor
    try:
        yield
    finally:
        NodeVisitor.define_tensor = original


def _is_filter(node: Any) -> bool:
    """Whether a node is a weight, and only that."""
    users = list(node.users)
    return node.op == "placeholder" and all(_plain(user) in _FILTERS and _uses_as_filter(user, node) for user in users)


def _uses_as_filter(user: Any, node: Any) -> bool:
    return [place for place, item in enumerate(user.args) if item is node] == [_FILTER_ARGUMENT]


def _plain(node: Any) -> str:
    """``aten.linear.default`` for an edge dialect operator."""
    return str(getattr(node.target, "_op", node.target))


def _halve(exported: Any, node: Any, left: list[str]) -> bool:
    """Make a stored float32 tensor one of float16; says whether that was done."""
    import torch

    signature = exported.graph_signature
    target = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.get(node.name)
    if target is None:
        return False
    store = exported.state_dict if target in exported.state_dict else exported.constants
    value = store[target].detach()
    half = value.half()
    if value.dtype != torch.float32 or not half.isfinite().all():
        left.extend([target] if value.dtype == torch.float32 else [])
        return bool(value.dtype == torch.float16)  # an operator that uses it too was here before
    store[target] = half
    node.meta["val"] = node.meta["val"].half()
    return True
