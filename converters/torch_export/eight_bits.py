"""int8 as all three targets compute it, one node of a ``torch.export`` program at a time, in eager torch.

Weights of convolutions and linear layers are per output channel, symmetric, -127 to 127; activations per tensor,
affine, 256 steps over a given range, zero exact (Jacob et al. 2018, sections 2.1 and 3; Nagel et al. 2021, "A White
Paper on Neural Network Quantization", section 2). Accumulators and biases have 32 bits on every target, so their
rounding is far below a step of the output and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converters.torch_export import operators
from converters.torch_export.layers import constant_nodes, kind_of
from edgekit.errors import ConversionError

Range = tuple[float, float]

LEVELS = 255
"""Steps between the ends of an activation's range."""
_WEIGHT_LIMIT = 127
_SMALLEST_SCALE = 1.1920929e-07  # float32's epsilon: what the quantizers use in place of zero
WEIGHTED = frozenset("conv depthwise_conv conv_transpose linear".split())
"""Kinds with weights per output channel: data, weight and bias are their first three arguments."""
ACTIVATIONS = frozenset("relu clamp".split())
"""Kinds that every target fuses into the operator before."""
_FUSING = WEIGHTED | frozenset("add sub mul matmul".split())
# What moves, picks or cuts values and so keeps the quantization of its input.
_KEEPING = ACTIVATIONS | frozenset(
    "reshape transpose squeeze unsqueeze slice gather split identity cast expand repeat max_pool pad resize flip roll"
    " pixel_shuffle pixel_unshuffle channel_shuffle unfold getitem".split()
)
# Whose constant operands are data like any other; those of a normalization, say, are not.
_ARITHMETIC = frozenset("add sub mul div concat stack maximum minimum where".split())


@dataclass
class State:
    """A run in progress.

    Attributes:
        inputs: Tensors not yet asked for.
        values: Of each node that is still needed.
        quantized: Nodes whose value lies on the steps of an 8-bit tensor.
        outputs: Of the program, at the end.
    """

    inputs: Iterator[Any]
    values: dict[Any, Any] = field(default_factory=dict)
    quantized: set[Any] = field(default_factory=set)
    outputs: tuple[Any, ...] = ()


class Simulation:
    """Runs a program as int8 files compute it.

    Args:
        module: Flat graph module of a program (:mod:`converters.torch_export.program`).
        ranges: Name of a node to the range of its values; ``None`` runs in plain float.
        float_nodes: Names of nodes that stay float.

    Raises:
        ConversionError: ``float_nodes`` names a node that is not there; when running, a quantized tensor has no range.
    """

    def __init__(self, module: Any, ranges: Mapping[str, Range] | None, float_nodes: Collection[str] = ()) -> None:
        self.module = module
        self.ranges = ranges
        self.nodes = list(module.graph.nodes)
        unknown = set(float_nodes) - {node.name for node in self.nodes}
        if unknown:
            raise ConversionError(f"No node of the program is called {', '.join(sorted(unknown))}.")
        everything_float = ranges is None
        self.constants = constant_nodes(module.graph)
        self.kinds = {node: _kind(node) for node in self.nodes}
        self.float = {node for node in self.nodes if everything_float or node.name in float_nodes}
        self._moves = {n for n, kind in self.kinds.items() if kind in _KEEPING and not fills(n, kind)}
        self._weights: dict[Any, Any] = {}
        self._dead = _last_uses(self.nodes)

    def run(self, *inputs: Any) -> tuple[Any, ...]:
        """The outputs for one sample."""
        import torch

        state = State(iter(inputs))
        with torch.no_grad():
            for node in self.nodes:
                self.settle(node, self.compute(node, state), state)
                self.forget(node, state)
        return state.outputs

    def compute(self, node: Any, state: State) -> Any:
        """What a node makes of its inputs, before its output is quantized."""
        if node.op == "placeholder":
            return next(state.inputs).clone()  # an operator in place must not change the caller's tensor
        if node.op == "get_attr":
            return attribute(self.module, str(node.target))
        from torch.fx.node import map_arg

        if node.op == "output":
            state.outputs = tuple(map_arg(node.args[0], lambda item: state.values[item]))
            return None
        if node.op != "call_function":
            raise ConversionError(f"{node.op} {node.target}: this cannot be simulated in int8.")
        quantizes = self.is_quantized(node) and not self.keeps(node)

        def read(item: Any) -> Any:
            return self._read(item, node, state) if quantizes else state.values[item]

        return node.target(*map_arg(node.args, read), **map_arg(node.kwargs, read))

    def settle(self, node: Any, value: Any, state: State) -> None:
        """Quantize what a node made, where the targets do, and keep it."""
        if self.keeps(node):
            sources = node.all_input_nodes
            if sources and sources[0] in state.quantized:
                state.quantized.add(node)
            elif sources and self.fused(sources[0]) is node:
                value = self._quantize(node, value, state)
        elif self.is_quantized(node) and node.op != "output" and self.fused(node) is None:
            value = self._quantize(node, value, state)
        state.values[node] = value

    def forget(self, node: Any, state: State) -> None:
        """Let go of values that no later node reads."""
        for item in self.dead_after(node):
            state.values.pop(item, None)

    def dead_after(self, node: Any) -> Sequence[Any]:
        """Nodes whose values nothing reads after a node."""
        return self._dead.get(node, ())

    def is_quantized(self, node: Any) -> bool:
        """Whether a node computes in 8 bits, or is an input of a program that does."""
        return node not in self.float and node not in self.constants

    def keeps(self, node: Any) -> bool:
        """Whether a node moves, picks or cuts values, and so has the quantization of its input."""
        return node in self._moves and self.is_quantized(node)

    def fused(self, node: Any) -> Any:
        """The activation that belongs to a node, so that the values between are never quantized; ``None`` if none."""
        if self.kinds[node] not in _FUSING or len(node.users) != 1 or not self.is_quantized(node):
            return None
        (user,) = node.users
        alone = self.kinds[user] in ACTIVATIONS and user.args[0] is node and self.is_quantized(user)
        return user if alone else None

    def computing(self) -> list[Any]:
        """Inputs and the nodes that compute on data, in order of execution."""
        return [
            node
            for node in self.nodes
            if node.op in ("placeholder", "call_function") and node not in self.constants and node not in self._moves
        ]

    def _read(self, item: Any, node: Any, state: State) -> Any:
        """An operand of a quantized node."""
        value = state.values[item]
        if not is_float(value):
            return value
        if item not in self.constants:
            return value if item in state.quantized else self._with_range(item, value)
        kind = self.kinds[node]
        if kind in WEIGHTED and item is node.args[1]:
            return self._weight(node, value, lambda: quantized_weight(value, node, kind))
        if kind == "matmul" and item is node.args[-1] and value.dim() > 1:
            return self._weight(node, value, lambda: _symmetric(value, tuple(range(value.dim() - 1))))
        if kind in _ARITHMETIC and value.numel():
            return quantize(value, (float(value.min()), float(value.max())))
        return value

    def _weight(self, node: Any, value: Any, make: Callable[[], Any]) -> Any:
        held = self._weights.get(node)
        if held is None or held[0] is not value:
            held = self._weights[node] = (value, make())
        return held[1]

    def _quantize(self, node: Any, value: Any, state: State) -> Any:
        if not is_float(value):
            return value
        state.quantized.add(node)
        return self._with_range(node, value)

    def _with_range(self, node: Any, value: Any) -> Any:
        if self.ranges is None or node.name not in self.ranges:
            raise ConversionError(f"There is no calibrated range for {node.name} ({operators.module_path(node)}).")
        return quantize(value, self.ranges[node.name])


def walk(simulation: Simulation, sample: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Run one sample and hand out each node with its value, in order."""
    import torch

    state = State(iter(sample))
    for node in simulation.nodes:
        with torch.no_grad():
            simulation.settle(node, simulation.compute(node, state), state)
        yield node, state.values[node]
        simulation.forget(node, state)


def quantize(value: Any, limits: Range) -> Any:
    """A float tensor on the 256 values that 8 bits have over a range that is widened to hold zero."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = max((high - low) / LEVELS, _SMALLEST_SCALE)
    zero = min(max(round(-low / scale), 0), LEVELS)
    return (value / scale).round_().clamp_(-zero, LEVELS - zero).mul_(scale)


def quantized_weight(weight: Any, node: Any, kind: str) -> Any:
    """A weight on 255 symmetric values per output channel."""
    if kind != "conv_transpose":
        return _symmetric(weight, tuple(range(1, weight.dim())))
    # Inputs, outputs per group, sizes; the inputs of a group are neighbours.
    groups = groups_of(node)
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return _symmetric(split, (1, *range(3, split.dim()))).reshape(weight.shape)


def groups_of(node: Any) -> int:
    """The groups of a convolution, transposed or not."""
    place = 6  # in every spelling that a normal program has
    return int(node.args[place] if len(node.args) > place else node.kwargs.get("groups", 1))


def attribute(module: Any, target: str) -> Any:
    """The tensor behind a ``get_attr`` node."""
    for part in target.split("."):
        module = getattr(module, part)
    return module


def _symmetric(weight: Any, within: tuple[int, ...]) -> Any:
    scale = (weight.abs().amax(within, keepdim=True) / _WEIGHT_LIMIT).clamp_(min=_SMALLEST_SCALE)
    return (weight / scale).round_().clamp_(-_WEIGHT_LIMIT, _WEIGHT_LIMIT).mul_(scale)


def is_float(value: Any) -> bool:
    """Whether a value is a tensor of floating-point numbers."""
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _kind(node: Any) -> str:
    if node.op == "placeholder":
        return "input"
    if node.op != "call_function":
        return str(node.op)
    return kind_of(node) if operators.is_aten(node) else str(getattr(node.target, "__name__", node.target))


def fills(node: Any, kind: str) -> bool:
    """Whether an operator that otherwise moves data makes values that its input need not hold."""
    if kind == "resize":
        return "nearest" not in str(node.target)
    if kind != "pad":
        return False
    place = 2 if "constant_pad" in str(node.target) else 3
    value = node.args[place] if len(node.args) > place else node.kwargs.get("value")
    return bool(value)


def _last_uses(nodes: Sequence[Any]) -> dict[Any, list[Any]]:
    """Node to the nodes whose values nothing after it reads."""
    last = {item: node for node in nodes for item in (node, *node.all_input_nodes)}
    dead: dict[Any, list[Any]] = {}
    for item, node in last.items():
        dead.setdefault(node, []).append(item)
    return dead
