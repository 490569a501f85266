"""Stored integers as the floats that they stand for, quantized in the program: litert-torch wants weights so."""

from __future__ import annotations

from typing import Any

from converters.torch_export.quantized import tidy


def unfold_weights(module: Any) -> None:
    """Store floats and quantize them in the program where it dequantizes stored integers, in place.

    The converter computes the same integers from them: every float is a whole number of steps.

    Args:
        module: Flat ``torch.fx.GraphModule``.
    """
    import torch

    calls = torch.ops.quantized_decomposed
    inverse = {
        calls.dequantize_per_channel.default: calls.quantize_per_channel.default,
        calls.dequantize_per_tensor.default: calls.quantize_per_tensor.default,
    }
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in inverse or node.args[0].op != "get_attr":
            continue
        values = torch.fx.map_arg(node.args, lambda item: getattr(module, str(item.target)))
        name = f"floats_of_{node.name}"
        module.register_buffer(name, node.target(*values).contiguous())
        with module.graph.inserting_before(node):
            floats = module.graph.get_attr(name)
            integers = module.graph.call_function(inverse[node.target], (floats, *node.args[1:]))
        for item in (floats, integers):
            item.meta = {"nn_module_stack": node.meta.get("nn_module_stack", {})}
        node.replace_input_with(node.args[0], integers)
    tidy(module)
