"""Bias correction: what int8 shifts the mean of a layer's output by is taken off its bias.

M. Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2; the
expectations are measured on samples (their appendix D). The program no longer computes quite the same in float, so the
result is for quantized files alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from converters.torch_export.eight_bits import WEIGHTED, Range, Simulation, State, attribute, is_float, walk
from converters.torch_export.equalize import set_argument

_BUDGET_BYTES = 512 * 1024**2
"""For the live tensors of all samples that go through the program together."""


def correct_biases(
    module: Any, ranges: Mapping[str, Range], samples: Iterable[Sequence[Any]], float_nodes: Collection[str] = ()
) -> int:
    """Correct the bias of every convolution and linear layer that computes in 8 bits, in place.

    The samples go through the program side by side, one node after the other: so each layer is corrected for what the
    corrected layers before it still leave. Where their tensors would not fit the memory, fewer samples are used.

    Args:
        module: Flat graph module; a layer without a bias gets one.
        ranges: Name of a node to range.
        samples: Inputs of the program, in order, per sample; read once.
        float_nodes: Names of nodes that stay float.

    Returns:
        The number of layers corrected.
    """
    import torch

    simulation = Simulation(module, ranges, float_nodes)
    layers = {node for node in simulation.nodes if _can_correct(simulation, node)}
    if not layers:
        return 0
    chosen = _within_budget(simulation, samples)
    means = _float_means(module, layers, chosen)
    states = [State(iter(sample)) for sample in chosen]
    shifts: dict[Any, Any] = {}
    with torch.no_grad():
        for node in simulation.nodes:
            values = [simulation.compute(node, state) for state in states]
            if node in layers:
                shift = torch.stack([_channel_means(simulation, node, value) for value in values]).mean(0) - means[node]
                shifts[node] = torch.where(shift.isfinite(), shift, 0.0)
                by = _like_channels(simulation, node, shifts[node], values[0])
                values = [value - by for value in values]
            for state, value in zip(states, values, strict=True):
                simulation.settle(node, value, state)
                simulation.forget(node, state)
    for node, shift in shifts.items():
        _subtract(module, node, shift)
    module.recompile()
    return len(shifts)


def _can_correct(simulation: Simulation, node: Any) -> bool:
    if simulation.kinds[node] not in WEIGHTED or not simulation.is_quantized(node):
        return False
    bias = node.args[2] if len(node.args) > 2 else None
    batched = simulation.kinds[node] == "linear" or node.meta["val"].dim() == node.args[1].meta["val"].dim()
    return batched and node.args[1].op == "get_attr" and (bias is None or bias.op == "get_attr")


def _within_budget(simulation: Simulation, samples: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """The first samples whose tensors fit the memory together; one at least."""
    chosen: list[Sequence[Any]] = []
    most = 1
    for sample in samples:
        if not chosen:
            most = max(1, _BUDGET_BYTES // max(1, _live_bytes(simulation)))
        if len(chosen) == most:
            break
        chosen.append(sample)
    return chosen


def _live_bytes(simulation: Simulation) -> int:
    """Most bytes of computed tensors that are needed at the same time, for one sample."""
    held: dict[Any, int] = {}
    most = 0
    for node in simulation.nodes:
        value = node.meta.get("val")
        if node.op in ("placeholder", "call_function") and is_float(value):
            held[node] = int(value.numel()) * int(value.element_size())
        most = max(most, sum(held.values()))
        for item in simulation.dead_after(node):
            held.pop(item, None)
    return most


def _float_means(module: Any, layers: Collection[Any], samples: Sequence[Sequence[Any]]) -> dict[Any, Any]:
    """Mean per channel of each layer's output in float, float64 ``[channels]``."""
    plain = Simulation(module, None)
    sums: dict[Any, Any] = {}
    for sample in samples:
        for node, value in walk(plain, sample):
            if node in layers:
                sums[node] = sums.get(node, 0.0) + _channel_means(plain, node, value)
    return {node: total / len(samples) for node, total in sums.items()}


def _channel_means(simulation: Simulation, node: Any, value: Any) -> Any:
    axis = -1 if simulation.kinds[node] == "linear" else 1
    return value.movedim(axis, 0).flatten(1).double().mean(1) if value.dim() > 1 else value.double()


def _like_channels(simulation: Simulation, node: Any, shift: Any, value: Any) -> Any:
    """The shift in a shape and dtype that subtracts from the layer's output."""
    linear = simulation.kinds[node] == "linear"
    return shift.to(value.dtype) if linear else shift.reshape(-1, *[1] * (value.dim() - 2)).to(value.dtype)


def _subtract(module: Any, node: Any, shift: Any) -> None:
    weight = attribute(module, str(node.args[1].target))
    old = node.args[2] if len(node.args) > 2 else None
    bias = 0.0 if old is None else attribute(module, str(old.target)).detach().double()
    set_argument(module, node, 2, (bias - shift).to(weight.dtype), "corrected")
