"""What int8 would lose on a ``torch.export`` program, and where, without converting anything.

The arithmetic is in :mod:`converters.torch_export.eight_bits`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.calibration.ranges import Collector
from converters.calibration.relevance import before_softmax
from converters.calibration.statistics import MASKED
from converters.torch_export import operators
from converters.torch_export.eight_bits import Range, Simulation, is_float, walk
from converters.torch_export.logits import logits_of
from edgekit.feeds import Feeds

__all__ = ["LayerSqnr", "Samples", "Simulation", "compare", "layer_sqnr", "output_sqnr", "ranges_of"]


class Samples:
    """Some samples of a feeds folder, as tensors in the order of the program's inputs; can be iterated repeatedly."""

    def __init__(self, feeds: Feeds, indices: Sequence[int] | None = None) -> None:
        self.feeds = feeds
        self.indices = list(range(feeds.count) if indices is None else indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        import numpy as np
        import torch

        for index in self.indices:
            arrays = (np.array(array[index], order="C") for array in self.feeds.arrays.values())
            yield tuple(torch.from_numpy(array) for array in arrays)


@dataclass(frozen=True)
class LayerSqnr:
    """What int8 did to one tensor, over all samples and all elements that are finite in float and no masks.

    Attributes:
        node: Name of the node that computes it.
        tensor: Name of the node whose values were compared: its fused activation, or ``node`` itself.
        path: Module path in the source model.
        kind: As in :mod:`converters.layers`; ``input`` of an input.
        quantized: Whether it computes in 8 bits.
        sqnr_db: ``10*log10(signal/noise)``; ``None`` where there is no signal, no noise, or a simulated value
            that is not finite.
        signal, noise: Mean squares of the float values and of the differences; the latter may be infinite.
        low, high, mean: Of the float values.
        simulated_low, simulated_high: Of the simulated values: equal when the tensor is dead.
        range: That the tensor was quantized over; ``None`` where it was not.
    """

    node: str
    tensor: str
    path: str
    kind: str
    quantized: bool
    sqnr_db: float | None
    signal: float
    noise: float
    low: float
    high: float
    mean: float
    simulated_low: float
    simulated_high: float
    range: Range | None


def layer_sqnr(
    module: Any, ranges: Mapping[str, Range], samples: Iterable[Sequence[Any]], float_nodes: Collection[str] = ()
) -> list[LayerSqnr]:
    """Compare every computed tensor of the simulated int8 run with the float run, in order of execution.

    Args:
        module: Flat graph module.
        ranges: Name of a node to range.
        samples: Inputs of the program, in order, per sample; read once, one at a time.
        float_nodes: Names of nodes that stay float.

    Returns:
        One entry per input and computing node; pure data movement and fused activations have none of their own.
    """
    plain, simulation = Simulation(module, None), Simulation(module, ranges, float_nodes)
    compared = {simulation.fused(node) or node: node for node in simulation.computing()}
    sums = {node: _Sums() for node in compared}
    logits = logits_of(module)

    for sample in samples:
        # Node by node, so that no tensor need be kept.
        for (node, reference), (_, simulated) in zip(walk(plain, sample), walk(simulation, sample), strict=True):
            if node in sums and is_float(reference):
                if node.name in logits:  # what softmax cannot tell apart is no loss
                    reference, simulated = (_within_reach(item, logits[node.name]) for item in (reference, simulated))
                # Of a mask, it is enough that it is low: those that are infinite are left out anyway.
                sums[node].add(reference.masked_fill(reference <= MASKED, -math.inf), simulated)
    return [_entry(simulation, compared[node], node, found) for node, found in sums.items() if found.count]


def _within_reach(values: Any, axis: int) -> Any:
    import torch

    return torch.from_numpy(before_softmax(values.detach().float().numpy(), axis))


def output_sqnr(
    module: Any, ranges: Mapping[str, Range], samples: Iterable[Sequence[Any]], float_nodes: Collection[str] = ()
) -> float:
    """The SQNR of the worst output in dB, over all samples; infinite when nothing differs."""
    simulation, reference = Simulation(module, ranges, float_nodes), Simulation(module, None)
    return compare(reference.run, simulation.run, samples)


def compare(
    reference: Callable[..., Sequence[Any]], other: Callable[..., Sequence[Any]], samples: Iterable[Sequence[Any]]
) -> float:
    """The SQNR of the worst output of one function against another's, in dB; infinite when nothing differs."""
    sums: list[_Sums] = []
    for sample in samples:
        pairs = list(zip(reference(*sample), other(*sample), strict=True))
        sums = sums or [_Sums() for _ in pairs]
        for found, (wanted, got) in zip(sums, pairs, strict=True):
            if is_float(wanted):
                found.add(wanted, got)
    return min((found.sqnr_or_infinite() for found in sums if found.count), default=math.inf)


def powers_of(reference: Sequence[Any], other: Sequence[Any]) -> list[tuple[float, float]]:
    """Sums of squares of signal and noise of each float output of one sample; what is not finite is left out."""
    found = []
    for wanted, got in zip(reference, other, strict=True):
        if is_float(wanted):
            sums = _Sums()
            sums.add(wanted, got)
            found.append((sums.signal, sums.noise))
    return found


def ranges_of(module: Any, samples: Iterable[Sequence[Any]], method: str = "minmax") -> dict[str, Range]:
    """Name of each node with float values to its range over the samples.

    Args:
        module: Flat graph module.
        samples: Inputs of the program, in order, per sample; read once, one at a time.
        method: Of :mod:`converters.calibration.methods`, such as ``percentile:99.9``.
    """
    from converters.calibration import methods

    _, percentile = methods.parse(method)
    collector, plain, count = Collector(logits_of(module)), Simulation(module, None), 0
    for sample in samples:
        count += 1
        for node, value in walk(plain, sample):
            if node.op in ("placeholder", "call_function") and node not in plain.constants and is_float(value):
                collector.add(node.name, value.float().numpy())
    return collector.finish("torch.export", count, "samples of the calibration data", percentile).chosen(method)


class _Sums:
    """Streaming sums over the elements of one tensor that are finite in float."""

    def __init__(self) -> None:
        self.count = 0
        self.signal = self.noise = self.total = 0.0
        self.low = self.simulated_low = math.inf
        self.high = self.simulated_high = -math.inf

    def add(self, reference: Any, simulated: Any) -> None:
        finite = reference.isfinite()
        wanted, got = reference[finite].double(), simulated[finite].double()
        if not wanted.numel():
            return
        noise = float((wanted - got).square().sum())
        self.count += wanted.numel()
        self.signal += float(wanted.square().sum())
        self.noise += noise if math.isfinite(noise) else math.inf
        self.total += float(wanted.sum())
        self.low, self.high = min(self.low, float(wanted.min())), max(self.high, float(wanted.max()))
        self.simulated_low = min(self.simulated_low, float(got.min()))
        self.simulated_high = max(self.simulated_high, float(got.max()))

    def sqnr(self) -> float | None:
        return 10 * math.log10(self.signal / self.noise) if self.signal and 0 < self.noise < math.inf else None

    def sqnr_or_infinite(self) -> float:
        if not self.noise:
            return math.inf
        return -math.inf if not self.signal or math.isinf(self.noise) else 10 * math.log10(self.signal / self.noise)


def _entry(simulation: Simulation, node: Any, tensor: Any, found: _Sums) -> LayerSqnr:
    path = operators.module_path(node)
    quantized = simulation.is_quantized(node)
    return LayerSqnr(
        node=node.name,
        tensor=tensor.name,
        path="" if node.op == "placeholder" else path,
        kind=simulation.kinds[node],
        quantized=quantized,
        sqnr_db=found.sqnr(),
        signal=found.signal / found.count,
        noise=found.noise / found.count,
        low=found.low,
        high=found.high,
        mean=found.total / found.count,
        simulated_low=found.simulated_low,
        simulated_high=found.simulated_high,
        range=(simulation.ranges or {}).get(tensor.name) if quantized else None,
    )
