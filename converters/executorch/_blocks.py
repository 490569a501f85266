"""Linear layers with 4-bit weights per block of 32, whose inputs are quantized to 8 bits per row at run time (8da4w).

ExecuTorch calls them so; it is the one way to 4-bit weights that XNNPACK computes right (see ``REFUSED`` in
:mod:`converters.executorch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.executorch._pt2e import DYNAMIC
from converters.torch_export import program as programs
from converters.torch_export.quantized import tidy

INT4 = "int4-weights"
BLOCK = 32
"""Weights that share a scale; XNNPACK takes multiples of 32."""

_LINEAR = "aten.linear.default"


def quantize(exported: Any, schemes: Mapping[str, str]) -> tuple[Any, set[str], set[str]]:
    """Quantize linear layers.

    Args:
        exported: ``torch.export.ExportedProgram``, flat.
        schemes: Of each operator by name of its node: ``int4-weights``, or ``int8-dynamic`` for 8-bit weights with a
            scale per output channel; other operators are left alone.

    Returns:
        The program, the names of the nodes that were quantized, and of those that were not because blocks do not
        divide their inner size.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerAxis, PerGroup, quantize_

    module = exported.module(check_guards=False)
    configs = {
        INT4: Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(BLOCK)),
        DYNAMIC: Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0)),
    }
    done: set[str] = set()
    left: set[str] = set()
    for node in list(module.graph.nodes):
        scheme = schemes.get(node.name)
        if str(node.target) != _LINEAR or scheme not in configs or node.args[1].op != "get_attr":
            continue
        if scheme == INT4 and node.args[1].meta["val"].shape[1] % BLOCK:
            left.add(node.name)
            continue
        layer = _as_module(module, node)
        quantize_(layer, configs[scheme])
        _call(module, node, layer)
        done.add(node.name)
    tidy(module)
    return programs.export_like(module, exported), done, left


def _as_module(module: Any, node: Any) -> Any:
    """A linear layer of torch with the weights of a node."""
    import torch

    weight, bias = (_stored(module, node, place) for place in (1, 2))
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias, requires_grad=False)
    return layer.eval()


def _stored(module: Any, node: Any, place: int) -> Any:
    item = node.args[place] if len(node.args) > place else None
    return None if item is None else getattr(module, str(item.target)).detach().clone()


def _call(module: Any, node: Any, layer: Any) -> None:
    """Let a module take the place of a node."""
    name = f"{node.name}_blocks"
    module.add_submodule(name, layer)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, (node.args[0],))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)
