"""``--layout`` on a ``torch.export`` program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import layouts
from converters.graph import TORCH_EXPORT
from converters.torch_export import program as programs
from edgekit.plugins import Relayout
from edgekit.types import Signature


def relayout(request: dict[str, Any], signature: dict[str, Any], program: str, native: str) -> dict[str, Any]:
    """See :func:`converters.layouts.relayout`."""
    return layouts.relayout(request, signature, program, native, _rewrite)


def _rewrite(source: Path, output: Path, signature: Signature, changes: Mapping[str, layouts.Change]) -> None:
    """Permute at the inputs; the converters' own passes join that with the transpositions that they put there."""
    import torch

    exported = programs.load(str(source))
    module = exported.module(check_guards=False)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    args = list(programs.example_inputs(exported))
    for index, (node, spec) in enumerate(zip(placeholders, signature.inputs, strict=True)):
        change = changes.get(spec.name)
        if change is None:
            continue
        with module.graph.inserting_after(node):
            inside = module.graph.call_function(torch.ops.aten.permute.default, (node, list(change.taken)))
        node.replace_all_uses_with(inside, delete_user_cb=lambda user, own=inside: user is not own)
        args[index] = programs.compact(args[index].permute(change.served))
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    # A module of its own: the program's refuses other shapes before it runs.
    turned = torch.fx.GraphModule(module, module.graph)
    programs.save(programs.export(turned, tuple(args)), output)


RELAYOUT = Relayout(
    form=TORCH_EXPORT,
    entry="converters.torch_export.relayout:relayout",
    preload=("torch",),
)
