"""``--layout`` on an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import layouts
from converters.graph import ONNX
from converters.onnx import loading
from edgekit.plugins import Relayout
from edgekit.types import Signature


def relayout(request: dict[str, Any], signature: dict[str, Any], program: str, native: str) -> dict[str, Any]:
    """See :func:`converters.layouts.relayout`."""
    return layouts.relayout(request, signature, program, native, _rewrite)


def _rewrite(source: Path, output: Path, signature: Signature, changes: Mapping[str, layouts.Change]) -> None:
    import onnx

    model = loading.whole(source)
    for item in model.graph.input:
        change = changes.get(item.name)
        if change is None:
            continue
        inside = f"{item.name}_as_in_source"
        for node in model.graph.node:
            node.input[:] = [inside if name == item.name else name for name in node.input]
        turned = onnx.helper.make_node(
            "Transpose", [item.name], [inside], perm=change.taken, name=f"{inside}/Transpose"
        )
        model.graph.node.insert(0, turned)
        sizes = [type(dim).FromString(dim.SerializeToString()) for dim in item.type.tensor_type.shape.dim]
        del item.type.tensor_type.shape.dim[:]
        item.type.tensor_type.shape.dim.extend(sizes[axis] for axis in change.served)
    onnx.save(model, output)


RELAYOUT = Relayout(
    form=ONNX,
    entry="converters.onnx.relayout:relayout",
    preload=(),
)
