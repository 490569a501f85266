"""An imported program with conversions, in the shape that PT2E gives programs: weights are integers again.

The importer computes what constants alone decide, stored integers and their scales included; a layer's weight whose
values are those of a stored tensor gets its integers back here. Layers on float data keep float weights, which is what
the file computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from converters.onnx_import import shared_scales
from converters.onnx_import.quantized_nodes import Stored
from converters.torch_export.layers import kind_of
from converters.torch_export.operators import module_path
from converters.torch_export.quantized import tidy

_LEAST, _MOST = -127, 127  # XNNPACK and TFLite want weights symmetric
_OUTPUTS_AXIS = {"conv": 0, "depthwise_conv": 0, "linear": 0, "conv_transpose": 1}


def finish(module: Any, weights: Sequence[Stored]) -> list[str]:
    """Bring an imported module into the shape of PT2E's, in place; returns what a user should know of it."""
    tied = shared_scales.tie(module)
    found = attach_weights(module, weights)
    give_each_reader_its_own(module)
    notes = []
    if tied:
        notes.append(
            f"{tied} activations got the scale of what they are joined with or moved to: runtimes move integers as "
            "they are."
        )
    if found.rounded:
        count = f" and {len(found.rounded) - 3} more" if len(found.rounded) > 3 else ""
        notes.append(
            "Weights are symmetric in the result, and were not in the file, so those of these layers were rounded once "
            f"more: {', '.join(found.rounded[:3])}{count}."
        )
    return notes


@dataclass
class Attached:
    """What became of the layers of a program.

    Attributes:
        kept: Layers whose weights are the file's own integers.
        rounded: Places of those whose weights had to be rounded anew, as they were not symmetric.
    """

    kept: int
    rounded: list[str]


def attach_weights(module: Any, weights: Sequence[Stored]) -> Attached:
    """Give layers on quantized data their integer weights, in place.

    Args:
        module: Flat ``torch.fx.GraphModule`` with conversions of activations.
        weights: That the file stores as integers.
    """
    known = _by_content(weights)
    found = Attached(0, [])
    for node in list(module.graph.nodes):
        axis = _OUTPUTS_AXIS.get(kind_of(node)) if node.op == "call_function" else None
        if axis is None or node.args[1].op != "get_attr" or not shared_scales.is_conversion(node.args[0], "dequantize"):
            continue
        weight = getattr(module, str(node.args[1].target))
        grid = known.get(_key(weight))
        if grid is None:
            continue
        exact = _fits(*grid, axis)
        if not exact:
            grid = _rounded(weight, axis)
            found.rounded.append(module_path(node))
        found.kept += exact
        _attach(module, node, grid)
    tidy(module)
    return found


_Grid = tuple[Any, Any, int]  # integers around zero (int16), scales as float32, axis of the scales


def _by_content(weights: Sequence[Stored]) -> dict[Any, _Grid]:
    """Integers by the floats that they stand for; matrices in both directions."""
    import torch

    found: dict[Any, _Grid] = {}
    for item in weights:
        rank = item.integers.dim()
        axis = item.axis % rank if rank else 0
        integers, scale = item.integers.to(torch.int16), item.scale.reshape(-1).to(torch.float32)
        along = [-1 if place == axis else 1 for place in range(rank)]
        if item.zero is not None:
            integers = integers - item.zero.to(torch.int16).reshape(along if item.zero.numel() > 1 else ())
        values = integers.to(torch.float32) * scale.reshape(along if scale.numel() > 1 else ())
        found[_key(values)] = (integers, scale, axis)
        if rank == 2:
            found[_key(values.t())] = (integers.t(), scale, 1 - axis)
    return found


def _key(tensor: Any) -> tuple[Any, ...]:
    import torch

    content = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
    return str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(memoryview(content)).digest()


def _fits(integers: Any, scale: Any, along: int, axis: int) -> bool:
    """Whether runtimes take them as they are."""
    in_range = bool((integers >= _LEAST).all()) and bool((integers <= _MOST).all())
    return in_range and (scale.numel() == 1 or along == axis)


def _rounded(weight: Any, axis: int) -> _Grid:
    """Symmetric integers per output, over the largest value of each."""
    import torch

    others = [place for place in range(weight.dim()) if place != axis]
    scale = (weight.abs().amax(others) / _MOST).clamp(min=torch.finfo(torch.float32).tiny)
    along = [-1 if place == axis else 1 for place in range(weight.dim())]
    integers = torch.round(weight / scale.reshape(along)).clamp(_LEAST, _MOST)
    return integers.to(torch.int16), scale, axis


def _attach(module: Any, node: Any, grid: _Grid) -> None:
    """Put stored integers and what dequantizes them in the place of a weight; a scale per channel in any case."""
    import torch

    integers, scale, axis = grid
    if scale.numel() == 1:  # kernels of ExecuTorch and TFLite want one per channel
        axis = _OUTPUTS_AXIS[kind_of(node)]
        scale = scale.expand(integers.shape[axis])
    values = {
        "integers": integers.to(torch.int8).contiguous(),
        "scales": scale.contiguous(),
        "zeros": torch.zeros(scale.numel(), dtype=torch.int64),
    }
    names = {word: f"{word}_of_{node.name}" for word in values}
    for word, value in values.items():
        module.register_buffer(names[word], value.clone())
    with module.graph.inserting_before(node):
        stored = [module.graph.get_attr(names[word]) for word in values]
        restored = module.graph.call_function(
            torch.ops.quantized_decomposed.dequantize_per_channel.default,
            (*stored, axis, _LEAST, _MOST, torch.int8),
        )
    for item in (*stored, restored):
        item.meta = {"nn_module_stack": node.meta.get("nn_module_stack", {})}
    arguments = list(node.args)
    arguments[1] = restored
    node.args = tuple(arguments)


def give_each_reader_its_own(module: Any) -> None:
    """Dequantize once per reader, in place, as PT2E does: ExecuTorch partitions operator by operator with these."""
    for node in list(module.graph.nodes):
        if not shared_scales.is_conversion(node, "dequantize_per_tensor"):
            continue
        for reader in list(node.users)[1:]:
            with module.graph.inserting_before(reader):
                own = module.graph.node_copy(node)
            reader.replace_input_with(node, own)
    module.graph.lint()
    module.recompile()
