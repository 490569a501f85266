"""Cross-layer range equalization: the channels of an activation get alike ranges, and the program computes the same.

An activation has one scale for all channels in int8, so a channel with a small range gets few steps. Where a layer
feeds another through operators that scale with their input, channel ``i`` of the first layer's weight and bias is
divided by ``s[i]`` and input channel ``i`` of the second layer's weight multiplied by it (M. Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1). Weights have a scale per output
channel on every target, so the first layer loses nothing, nor does a depthwise second one: its activation is equalized
fully. Any other second layer gets part of the spread into its weights: the spread is shared evenly (G. Xiao et al.
2023, "SmoothQuant", equation 4 with alpha 0.5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from converters.torch_export.eight_bits import WEIGHTED, Simulation, attribute, fills, groups_of, is_float, walk
from converters.torch_export.simulate import compare
from edgekit.errors import ConversionError

LEAST_SQNR_DB = 100.0
"""Under which the rewritten program does not count as the same."""
_FURTHEST = 1000.0
"""The most that a channel is scaled: biases must still fit 32 bits."""
_DEAD = 1e-6
"""Share of the widest channel's range under which a channel counts as dead, and is left alone."""
# f(x * s) = f(x) * s for s > 0, channel by channel. Clamps are not: a bound does not move with its channel.
_HOMOGENEOUS = frozenset("relu leaky_relu prelu abs identity max_pool avg_pool".split())


@dataclass(frozen=True)
class Pair:
    """Two layers whose channels can be scaled against each other.

    Attributes:
        first, second: Nodes of the layers.
        between: The nodes from ``first`` to the input of ``second``, ``first`` included.
        channels: Of the output of ``first``.
    """

    first: Any
    second: Any
    between: tuple[Any, ...]
    channels: int


def equalize(module: Any, samples: Iterable[Sequence[Any]]) -> int:
    """Equalize every pair of layers of a graph module, in place.

    Args:
        module: Flat graph module, BatchNorm folded.
        samples: Inputs of the program, in order, per sample; iterated twice.

    Returns:
        The number of pairs.

    Raises:
        ConversionError: The rewritten program computes something else.
    """
    import copy

    simulation = Simulation(module, None)
    pairs = find_pairs(simulation)
    if not pairs:
        return 0
    before = Simulation(copy.deepcopy(module), None)
    ranges = _channel_ranges(simulation, pairs, samples)
    # One pass settles whole chains: no scale below depends on what another pair does to the same weight.
    for pair in pairs:
        _scale(module, pair, scales(module, pair, ranges[pair.first]))
    module.recompile()
    sqnr = compare(before.run, Simulation(module, None).run, samples)
    if sqnr < LEAST_SQNR_DB:
        raise ConversionError(
            f"Cross-layer equalization of {len(pairs)} pairs changed what the program computes (SQNR {sqnr:.1f} dB).",
            hint="Leave out --optimize.",
        )
    return len(pairs)


def find_pairs(simulation: Simulation) -> list[Pair]:
    """Layers that feed one other layer through operators that scale with their input, in order of execution."""
    found = (_pair_from(simulation, node) for node in simulation.nodes if _has_weight(simulation, node))
    return [pair for pair in found if pair is not None]


def scales(module: Any, pair: Pair, ranges: Any) -> Any:
    """The divisor of each channel.

    Args:
        module: Holds the weights.
        pair: The layers.
        ranges: Largest magnitude of each channel between them, float64 ``[channels]``.

    Returns:
        Float64 ``[channels]``; 1 for a dead channel. The widest channel keeps its range.
    """
    import torch

    spread = ranges / ranges.max()
    alive = spread > _DEAD
    if not bool(alive.any()):
        return torch.ones_like(ranges)
    spread = torch.where(alive, spread, 1.0)
    if _is_depthwise(pair.second):
        chosen = spread
    else:
        used = _input_ranges(module, pair.second, pair.channels)
        alive &= used > _DEAD * used.max()
        chosen = (spread / torch.where(alive, used, 1.0)).sqrt()
    chosen = torch.where(alive, chosen, 1.0)
    # A common factor changes nothing in int8; this one keeps the widest channel what it was.
    chosen = chosen * (spread / chosen)[alive].max() if bool(alive.any()) else chosen
    return torch.where(alive, chosen.clamp(1 / _FURTHEST, _FURTHEST), 1.0)


def set_argument(module: Any, node: Any, place: int, value: Any, suffix: str) -> None:
    """Give a layer another constant for an argument; layers that share the old one keep it.

    Args:
        module: Graph module.
        node: The layer.
        place: Of the argument.
        value: A tensor.
        suffix: For the name, where a new one is needed.
    """
    old = node.args[place] if len(node.args) > place else None
    name = f"{node.args[1].target}_{suffix}_{node.name}".replace(".", "_") if old is None else str(old.target)
    if old is not None and not _is_own(module, old):
        name = f"{name}_{suffix}_{node.name}".replace(".", "_")
        old = None
    owner, _, leaf = name.rpartition(".")
    holder = module.get_submodule(owner)
    if hasattr(holder, leaf):
        delattr(holder, leaf)  # it may be a Parameter, which takes no plain tensor
    holder.register_buffer(leaf, value.contiguous())
    if old is None:
        with module.graph.inserting_before(node):
            constant = module.graph.get_attr(name)
        constant.meta["val"] = node.args[1].meta["val"].new_empty(value.shape)
        arguments = [*node.args, *[None] * (place + 1 - len(node.args))]
        arguments[place] = constant
        node.args = tuple(arguments)
        module.graph.eliminate_dead_code()


def _is_own(module: Any, constant: Any) -> bool:
    """Whether one node alone reads the tensor behind a constant."""
    tensor = attribute(module, str(constant.target))
    readers = [
        user
        for node in module.graph.nodes
        if node.op == "get_attr" and attribute(module, str(node.target)) is tensor
        for user in node.users
    ]
    return len(readers) == 1


def _pair_from(simulation: Simulation, first: Any) -> Pair | None:
    size = first.meta["val"].dim()
    linear = simulation.kinds[first] == "linear"
    spatial = first.args[1].meta["val"].dim() - 2
    if not linear and size != spatial + 2:  # without a batch, the channels are elsewhere
        return None
    axis = size - 1 if linear else 1
    channels = int(first.meta["val"].shape[axis])
    between = [first]
    while len(between[-1].users) == 1:
        (user,) = between[-1].users
        if (
            user.op != "call_function"
            or not user.args
            or user.args[0] is not between[-1]
            or between[-1] in user.args[1:]
        ):
            return None
        if _has_weight(simulation, user):
            return _checked(simulation, Pair(first, user, tuple(between), channels), axis)
        following = _axis_after(simulation, user, axis)
        if following is None:
            return None
        axis = following
        between.append(user)
    return None


def _axis_after(simulation: Simulation, node: Any, axis: int) -> int | None:
    """Where the channels are behind an operator; ``None`` when it does not scale with its input channel by channel.

    Behind a flattening each channel is a run of neighbours on its axis.
    """
    kind = simulation.kinds[node]
    if not is_float(node.meta.get("val")):  # a pooling that returns places, too
        return None
    before, after = tuple(node.args[0].meta["val"].shape), tuple(node.meta["val"].shape)
    if kind in ("max_pool", "avg_pool"):
        # Behind the channels there must be nothing but what is pooled.
        pooled = int(re.search(r"(\d)d", str(node.target))[1])  # type: ignore[index]  # every pooling has it
        return axis if before[: axis + 1] == after[: axis + 1] and axis < len(before) - pooled else None
    if kind in _HOMOGENEOUS:
        return axis if before == after else None
    if kind == "pad":
        return axis if not fills(node, kind) and before[: axis + 1] == after[: axis + 1] else None
    if kind == "reshape" or kind in ("squeeze", "unsqueeze"):
        flat = (*before[:axis], math.prod(before[axis:]))
        trailing = after[: axis + 1] == before[: axis + 1]
        return axis if after == flat or trailing else None
    if kind == "mean":
        dims = node.args[1] if len(node.args) > 1 else None
        return axis if dims and all(dim % len(before) > axis for dim in dims) else None
    return None


def _checked(simulation: Simulation, pair: Pair, axis: int) -> Pair | None:
    """The pair, if the second layer's input channels are the first one's (each once, or in runs of neighbours)."""
    shape = tuple(pair.between[-1].meta["val"].shape)
    linear = simulation.kinds[pair.second] == "linear"
    if axis != (len(shape) - 1 if linear else 1) or shape[axis] % pair.channels:
        return None
    unbatched = not linear and len(shape) != pair.second.args[1].meta["val"].dim()
    return None if unbatched or (not linear and shape[axis] != pair.channels) else pair


def _has_weight(simulation: Simulation, node: Any) -> bool:
    """Whether a node is a layer with a stored weight, and a stored bias or none."""
    if simulation.kinds[node] not in WEIGHTED or node.args[1].op != "get_attr":
        return False
    bias = node.args[2] if len(node.args) > 2 else None
    return bias is None or bias.op == "get_attr"


def _is_depthwise(node: Any) -> bool:
    weight, groups = node.args[1].meta["val"], groups_of(node)
    return bool(groups > 1 and weight.shape[0] % groups == 0 and weight.shape[1] == 1 and not _is_transposed(node))


def _is_transposed(node: Any) -> bool:
    return "conv_transpose" in str(node.target)


def _channel_ranges(simulation: Simulation, pairs: Sequence[Pair], samples: Iterable[Sequence[Any]]) -> dict[Any, Any]:
    """Largest magnitude per channel of what each first layer hands on (its fused activation's output), float64."""
    import torch

    watched = {_quantized_tensor(simulation, pair): pair for pair in pairs}
    ranges = {pair.first: torch.zeros(pair.channels, dtype=torch.float64) for pair in pairs}
    for sample in samples:
        for node, value in walk(simulation, sample):
            if node in watched:
                pair = watched[node]
                channels = value.movedim(-1, 0) if simulation.kinds[pair.first] == "linear" else value.movedim(1, 0)
                largest = channels.flatten(1).abs().amax(1).double()
                ranges[pair.first] = torch.maximum(ranges[pair.first], largest.nan_to_num(0.0, 0.0))
    return ranges


def _quantized_tensor(simulation: Simulation, pair: Pair) -> Any:
    """The first tensor between the layers that has 8 bits: behind a ReLU, before any other operator."""
    following = pair.between[1] if len(pair.between) > 1 else None
    return following if following is not None and simulation.kinds[following] == "relu" else pair.first


def _input_ranges(module: Any, node: Any, channels: int) -> Any:
    """Largest share of its output channel's range that each input channel's weights have, float64 ``[channels]``."""
    weight = attribute(module, str(node.args[1].target)).double().abs()
    groups = groups_of(node) if "conv" in str(node.target) else 1
    if _is_transposed(node):  # inputs, outputs per group, sizes
        split = weight.reshape(groups, -1, weight.shape[1], math.prod(weight.shape[2:])).amax(-1)
        share = split / split.amax(1, keepdim=True).clamp(min=1e-30)
        return share.amax(2).reshape(-1)
    # Outputs, inputs per group, sizes; behind a flattening, a channel has several neighbouring inputs.
    inputs = channels // groups
    split = weight.reshape(groups, weight.shape[0] // groups, inputs, -1).amax(-1)
    share = split / split.amax(2, keepdim=True).clamp(min=1e-30)
    return share.amax(1).reshape(-1)


def _scale(module: Any, pair: Pair, by: Any) -> None:
    first, second = pair.first, pair.second
    weight = attribute(module, str(first.args[1].target))
    set_argument(module, first, 1, (weight.double() / _of_outputs(first, weight, by)).to(weight.dtype), "equalized")
    if len(first.args) > 2 and first.args[2] is not None:
        bias = attribute(module, str(first.args[2].target))
        set_argument(module, first, 2, (bias.double() / by).to(bias.dtype), "equalized")
    weight = attribute(module, str(second.args[1].target))
    set_argument(module, second, 1, (weight.double() * _of_inputs(second, weight, by)).to(weight.dtype), "equalized")


def _of_outputs(node: Any, weight: Any, by: Any) -> Any:
    """Factors per output channel in a shape that multiplies the weight."""
    if not _is_transposed(node):
        return by.reshape(-1, *[1] * (weight.dim() - 1))
    groups = groups_of(node)
    rows = by.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return rows.reshape(*rows.shape, *[1] * (weight.dim() - 2))


def _of_inputs(node: Any, weight: Any, by: Any) -> Any:
    """Factors per input channel in a shape that multiplies the weight."""
    if _is_transposed(node):
        return by.reshape(-1, *[1] * (weight.dim() - 1))
    if "conv" not in str(node.target):
        return by.repeat_interleave(weight.shape[1] // by.numel()).reshape(1, -1)
    groups = groups_of(node)
    rows = by.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return rows.reshape(*rows.shape, *[1] * (weight.dim() - 2))
