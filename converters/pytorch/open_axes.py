"""``--dynamic`` on a PyTorch model: exported again, with some axes as symbols."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters import dynamic
from converters.pytorch.reading import Network
from converters.torch_export import program as programs
from edgekit.errors import UnsupportedError, first_line
from edgekit.requests import LoadRequest
from edgekit.types import Signature

LARGEST_BATCH = 16
"""ExecuTorch plans its memory for the largest size of each open axis."""


EXAMPLE_SIZE = 7
"""Of axes that are open and would be 1: few networks have this size for another reason."""


def open_program(request: LoadRequest, network: Network, exported: Any, signature: Signature) -> Any:
    """The same network as a program with open axes; its example inputs stay the usual ones.

    Args:
        request: Has what was typed.
        network: Runs.
        exported: Its program with fixed sizes, or one that arrived with open axes.
        signature: Inputs in the order of the program's tensors.

    Raises:
        UnsupportedError: The model, or the program that arrived, fixes one of the axes.
    """
    import torch

    axes = dynamic.axes(request, signature)
    symbols = dict(zip((spec.name for spec in signature.inputs), _symbolic(exported), strict=True))
    if all(asked <= symbols[name] for name, asked in axes.items()):
        return exported
    args, kwargs, shapes = _enlarged(network, exported, signature, axes)
    try:
        opened = torch.export.export(network.run, args, kwargs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever the tracer met in user code
        raise UnsupportedError(
            f"{request.path}: torch.export cannot keep {', '.join(request.dynamic)} open: {type(error).__name__}: "
            f"{first_line(error)}",
            hint="The model computes with that size as a number; leave --dynamic out, or write it with x.shape.",
        ) from error
    opened.example_inputs = exported.example_inputs
    return opened


def save(module: Any, exported: Any, signature: Signature, request: LoadRequest, output: Path) -> None:
    """Write a flat module, with the axes of ``exported`` that are open.

    Args:
        module: As :func:`converters.torch_export.program.flatten` makes it.
        exported: What it was made from.
        signature: With the usual sizes.
        request: Has what was typed.
        output: The ``.pt2`` file.
    """
    import torch

    leaves = [leaf for leaf in programs.leaves(exported.example_inputs) if isinstance(leaf, torch.Tensor)]
    args = [programs.compact(leaf) for leaf in leaves]
    axes = dynamic.axes(request, signature)
    shapes = None
    if axes:
        shapes = tuple(_dims(axes.get(spec.name, set()), spec.shape) for spec in signature.inputs)
        args = [_enlarge(arg, axes.get(spec.name, set())) for arg, spec in zip(args, signature.inputs, strict=True)]
    programs.save(programs.export(module, tuple(args), shapes), output)


def _symbolic(exported: Any) -> list[set[int]]:
    """The open axes of each tensor among a program's inputs."""
    import torch

    user_inputs = set(exported.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in exported.graph.nodes if node.name in user_inputs]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return [{axis for axis, size in enumerate(value.shape) if not isinstance(size, int)} for value in tensors]


def _enlarged(
    network: Network, exported: Any, signature: Signature, axes: Mapping[str, set[int]]
) -> tuple[Any, Any, dict[str, Any]]:
    """Example inputs that no open axis of has size 1, which the tracer would take for a constant, and its symbols."""
    import torch
    from torch.utils import _pytree

    leaves, spec = _pytree.tree_flatten(exported.example_inputs)
    specs = iter(signature.inputs)
    enlarged: list[Any] = []
    symbols: list[dict[int, Any] | None] = []
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            enlarged.append(leaf)
            symbols.append(None)
            continue
        own = next(specs)
        enlarged.append(_enlarge(leaf, axes.get(own.name, set())))
        symbols.append(_dims(axes.get(own.name, set()), own.shape))
    args, kwargs = _pytree.tree_unflatten(enlarged, spec)
    by_place, by_name = _pytree.tree_unflatten(symbols, spec)
    names = list(inspect.signature(network.run.forward).parameters)
    return args, kwargs, {**dict(zip(names, by_place, strict=False)), **by_name}


def _enlarge(leaf: Any, open_axes: set[int]) -> Any:
    import torch

    for axis in open_axes:
        if leaf.shape[axis] == 1:
            leaf = torch.cat([leaf] * EXAMPLE_SIZE, axis)
    return leaf


def _dims(open_axes: set[int], shape: tuple[int | None, ...]) -> dict[int, Any]:
    from torch.export import Dim

    largest = {axis: LARGEST_BATCH if axis == 0 else max(2, shape[axis] or 2) for axis in open_axes}
    return {axis: Dim.DYNAMIC(min=1, max=size) for axis, size in largest.items()}
