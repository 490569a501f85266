"""Open sizes of an ONNX file, once it is known what they are to be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from converters.onnx._graph import Graph
from edgekit.errors import UsageError
from edgekit.types import TensorSpec

KEY = "edgekit_sizes"
"""Metadata of a program with open axes: the shapes that its inputs usually have, as JSON by name."""


def bound(graph: Graph, inputs: Sequence[TensorSpec], path: str) -> dict[str, int]:
    """What the file's names for sizes (``batch``, ``seq_len``) stand for.

    Args:
        graph: Of the file; its own inputs, as stored.
        inputs: With a size for every axis, or ``None`` for those that stay open.
        path: For messages.

    Raises:
        UsageError: One name would be two sizes, or be open here and fixed there.
    """
    found: dict[str, int] = {}
    places: dict[str, str] = {}
    still_open: dict[str, str] = {}
    for item, spec in zip(graph.inputs, inputs, strict=True):
        for axis, (dim, size) in enumerate(zip(item.type.tensor_type.shape.dim, spec.shape, strict=False)):
            name = dim.dim_param
            if name and size is None:
                still_open[name] = f"{spec.name}.{axis}"
            if not name or size is None:
                continue
            if found.setdefault(name, size) != size:
                raise UsageError(
                    f"{path}: its inputs share the size {name!r}, which would be {found[name]} and, for "
                    f"{spec.name!r}, {size}.",
                    hint="Give --input or --data sizes that agree.",
                )
            places.setdefault(name, f"{spec.name}.{axis}")
    for name in found.keys() & still_open.keys():
        raise UsageError(
            f"{path}: {still_open[name]} is to stay open, and {places[name]} is the same size, {name!r}.",
            hint=f"--dynamic {still_open[name]} --dynamic {places[name]}",
        )
    return found


def names(model: Any) -> dict[str, list[str]]:
    """What a ``ModelProto`` calls the axes of its inputs; empty for those that have no name."""
    return {item.name: [dim.dim_param for dim in item.type.tensor_type.shape.dim] for item in model.graph.input}


def usual(model: Any) -> dict[str, list[int]]:
    """The sizes of its inputs that a ``ModelProto`` of :func:`fix` with open axes is used with, else nothing."""
    found: dict[str, list[int]] = json.loads({item.key: item.value for item in model.metadata_props}.get(KEY, "{}"))
    return found


def fix(
    model: Any, inputs: Sequence[TensorSpec], names: Mapping[str, int], usual_inputs: Sequence[TensorSpec] = ()
) -> None:
    """Write sizes into a model, in place.

    Args:
        model: ``ModelProto`` whose inputs are those of ``inputs``.
        inputs: With a size for every axis, or ``None`` for those that stay open; they keep the names that they have.
        names: Of :func:`bound`: what else is called so gets the same size.
        usual_inputs: The same with a size for every axis, where some stay open: for :func:`usual`.
    """
    sized = {spec.name: spec for spec in inputs}
    for item in model.graph.input:
        spec = sized[item.name]
        shape = item.type.tensor_type.shape
        if not shape.dim:
            for _ in spec.shape:
                shape.dim.add()
        for axis, (dim, size) in enumerate(zip(shape.dim, spec.shape, strict=True)):
            if size is not None:
                dim.dim_value = size
            elif not dim.dim_param:
                dim.dim_param = "batch" if axis == 0 else f"{item.name}_{axis}"
    for item in (*model.graph.output, *model.graph.value_info):
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_value = names[dim.dim_param]
    if usual_inputs:
        entry = model.metadata_props.add()
        entry.key, entry.value = KEY, json.dumps({spec.name: spec.shape for spec in usual_inputs})
