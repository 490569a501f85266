"""Open sizes of an ONNX file, once it is known what they are to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.onnx._graph import Graph
from edgekit.errors import UsageError
from edgekit.types import TensorSpec


def bound(graph: Graph, inputs: Sequence[TensorSpec], path: str) -> dict[str, int]:
    """What the file's names for sizes (``batch``, ``seq_len``) stand for.

    Args:
        graph: Of the file; its own inputs, as stored.
        inputs: With a size for every axis.
        path: For messages.

    Raises:
        UsageError: One name would be two sizes.
    """
    found: dict[str, int] = {}
    for item, spec in zip(graph.inputs, inputs, strict=True):
        for dim, size in zip(item.type.tensor_type.shape.dim, spec.shape, strict=False):
            name = dim.dim_param
            if not name or size is None:
                continue
            if found.setdefault(name, size) != size:
                raise UsageError(
                    f"{path}: its inputs share the size {name!r}, which would be {found[name]} and, for "
                    f"{spec.name!r}, {size}.",
                    hint="Give --input or --data sizes that agree.",
                )
    return found


def fix(model: Any, inputs: Sequence[TensorSpec], names: Mapping[str, int]) -> None:
    """Write sizes into a model, in place.

    Args:
        model: ``ModelProto`` whose inputs are those of ``inputs``.
        inputs: With a size for every axis.
        names: Of :func:`bound`: what else is called so gets the same size.
    """
    sized = {spec.name: spec for spec in inputs}
    for item in model.graph.input:
        spec = sized[item.name]
        shape = item.type.tensor_type.shape
        if not shape.dim:
            for _ in spec.shape:
                shape.dim.add()
        for dim, size in zip(shape.dim, spec.shape, strict=True):
            dim.dim_value = size
    for item in (*model.graph.output, *model.graph.value_info):
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_value = names[dim.dim_param]
