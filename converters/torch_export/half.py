"""A program in half precision inside and float32 outside."""

from __future__ import annotations

from typing import Any

from converters.torch_export import program as programs


def to_half(exported: Any) -> Any:
    """Store weights and compute in float16; inputs are cast on the way in and outputs on the way out.

    Args:
        exported: ``torch.export.ExportedProgram`` with float32 inputs and outputs.

    Returns:
        The exported float16 program, with the same signature.
    """
    import torch

    module = exported.module(check_guards=False)
    module.half()
    for node in list(module.graph.nodes):
        if node.op == "placeholder" and _is_float32(node):
            with module.graph.inserting_after(node):
                cast = module.graph.call_function(torch.ops.aten.to.dtype, (node, torch.float16))
            node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)
        elif node.op == "call_function":
            # Operators that name a dtype would bring float32 back in.
            node.args = tuple(_half_dtype(item) for item in node.args)
            node.kwargs = {key: _half_dtype(item) for key, item in node.kwargs.items()}
        elif node.op == "output":
            _cast_outputs(module, node)
    module.recompile()
    return programs.export(module, programs.example_inputs(exported))


def _cast_outputs(module: Any, output: Any) -> None:
    import torch

    def cast(item: Any) -> Any:
        if not _is_float32(item):  # as it was in the float32 program
            return item
        with module.graph.inserting_before(output):
            return module.graph.call_function(torch.ops.aten.to.dtype, (item, torch.float32))

    output.args = (torch.fx.map_arg(output.args[0], cast),)


def _is_float32(node: Any) -> bool:
    import torch

    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _half_dtype(item: Any) -> Any:
    import torch

    return torch.float16 if item is torch.float32 else item
