"""RNN, GRU and LSTM: torch's own where it computes the same, else unrolled, for their lengths are known.

Shapes are those of ONNX: data ``(time, batch, inputs)``, weights ``(directions, gates * hidden, inputs)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import RefusalError, operator

_MOST_STEPS = 5_000
"""Of a sequence: each is several operators of its own."""
Cell = Callable[[Any, list[Any]], list[Any]]
"""The products of the input with its weights at one step, and the states: the new states, the output first."""


def _activation(name: str, alpha: float | None, beta: float | None) -> Callable[[Any], Any]:
    def value(given: float | None, default: float) -> float:
        return default if given is None else given

    known: dict[str, Callable[[Any], Any]] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "softsign": nn.softsign,
        "softplus": nn.softplus,
        "affine": lambda x: value(alpha, 1.0) * x + value(beta, 0.0),
        "leakyrelu": lambda x: nn.leaky_relu(x, value(alpha, 0.01)),
        "elu": lambda x: nn.elu(x, value(alpha, 1.0)),
        "thresholdedrelu": lambda x: torch.where(x > value(alpha, 1.0), x, torch.zeros_like(x)),
        "scaledtanh": lambda x: value(alpha, 1.0) * torch.tanh(value(beta, 1.0) * x),
        "hardsigmoid": lambda x: torch.clamp(value(alpha, 0.2) * x + value(beta, 0.5), 0.0, 1.0),
    }
    if name.lower() not in known:
        raise RefusalError(f"with activation {name}")
    return known[name.lower()]


def _activations(node: Any, default: Sequence[str], direction: int) -> list[Callable[[Any], Any]]:
    names = node.get("activations") or list(default) * 2
    alphas, betas = list(node.get("activation_alpha") or []), list(node.get("activation_beta") or [])
    made = []
    for name in names:
        takes_alpha = name.lower() in ("affine", "leakyrelu", "elu", "thresholdedrelu", "scaledtanh", "hardsigmoid")
        takes_beta = name.lower() in ("affine", "scaledtanh", "hardsigmoid")
        alpha = alphas.pop(0) if takes_alpha and alphas else None
        made.append(_activation(name, alpha, betas.pop(0) if takes_beta and betas else None))
    count = len(default)
    return made[direction * count : (direction + 1) * count]


def _clipped(node: Any) -> Callable[[Any], Any]:
    limit = node.get("clip")
    return (lambda x: x) if limit is None else (lambda x: torch.clamp(x, -limit, limit))


def _run(node: Any, x: Any, lengths: Any, states: list[Any], make: Callable[[int], tuple[Any, Any, Cell]]) -> Any:
    """All directions of a recurrent layer.

    Args:
        node: For ``direction``, ``layout`` and the outputs wanted.
        x: Data.
        lengths: Of the samples, or ``None``.
        states: Initial ones, each ``(directions, batch, hidden)``.
        make: Weight and bias of the products with the input, and the cell, by direction.

    Returns:
        Outputs of all steps and the last states.
    """
    if node.get("layout", 0):
        x, states = x.transpose(0, 1), [item.transpose(0, 1) for item in states]
    if x.shape[0] > _MOST_STEPS:
        raise RefusalError(f"unrolls to {x.shape[0]} steps, more than {_MOST_STEPS}")
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    by_direction, last = [], []
    for direction in range(directions):
        weight, bias, cell = make(direction)
        backwards = node.get("direction", "forward") == "reverse" or direction == 1
        outputs, ends = _walk(
            nn.linear(x, weight, bias), lengths, [item[direction] for item in states], cell, backwards
        )
        by_direction.append(outputs)
        last.append(ends)
    together = torch.stack(by_direction, 1)  # (time, directions, batch, hidden)
    ends = [torch.stack(items) for items in zip(*last, strict=True)]
    if node.get("layout", 0):
        return together.permute(2, 0, 1, 3), *(item.transpose(0, 1) for item in ends)
    return together, *ends


def _walk(products: Any, lengths: Any, states: list[Any], cell: Cell, backwards: bool) -> tuple[Any, list[Any]]:
    """One direction. Behind the end of a sample its states stay, and its outputs are zero."""
    steps = range(products.shape[0])
    outputs: dict[int, Any] = {}
    for step in reversed(steps) if backwards else steps:
        new = cell(products[step], states)
        outputs[step] = new[0]
        if lengths is not None:
            inside = (lengths > step).unsqueeze(1)
            outputs[step] = torch.where(inside, new[0], torch.zeros_like(new[0]))
            new = [torch.where(inside, a, b) for a, b in zip(new, states, strict=True)]
        states = new
    return torch.stack([outputs[step] for step in steps]), states


def _start(node: Any, given: Any, x: Any, hidden: int, directions: int) -> Any:
    if given is not None:
        return given
    batch = x.shape[0] if node.get("layout", 0) else x.shape[1]
    shape = (batch, directions, hidden) if node.get("layout", 0) else (directions, batch, hidden)
    return torch.zeros(shape, dtype=x.dtype)


def _split(bias: Any, weight: Any, direction: int) -> tuple[Any, Any]:
    """The bias of the input's products and of the state's."""
    count = weight.shape[1]
    if bias is None:
        zero = torch.zeros(count, dtype=weight.dtype)
        return zero, zero
    return bias[direction, :count], bias[direction, count:]


def _is_plain(node: Any, default: Sequence[str], lengths: Any) -> bool:
    """Whether torch's own layers compute it."""
    count = 2 if node.get("direction", "forward") == "bidirectional" else 1
    names = [name.lower() for name in node.get("activations") or list(default) * count]
    return (
        lengths is None
        and names == [name.lower() for name in default] * count
        and node.get("clip") is None
        and not node.get("input_forget", 0)
        and node.get("direction", "forward") != "reverse"
    )


def _parameters(w: Any, r: Any, b: Any, gates: Sequence[int]) -> list[Any]:
    """Weights and biases in torch's order of gates, direction by direction."""
    size = r.shape[2]
    made = []
    for direction in range(w.shape[0]):
        own, other = _split(b, w, direction)
        for item in (w[direction], r[direction], own, other):
            made.append(torch.cat([item[size * gate : size * (gate + 1)] for gate in gates]))
    return made


def _native(
    node: Any, function: Callable[..., Any], x: Any, states: Any, parameters: list[Any], directions: int
) -> Any:
    """Run torch's own layer; its outputs in the shapes of ONNX."""
    first = bool(node.get("layout", 0))
    outputs, *ends = function(x.transpose(0, 1) if first else x, states, parameters, True, 1, 0.0, False,
                              directions == 2, False)  # fmt: skip
    steps, batch = outputs.shape[:2]
    together = outputs.reshape(steps, batch, directions, -1)
    together = together.permute(1, 0, 2, 3) if first else together.permute(0, 2, 1, 3)
    return together, *(item.transpose(0, 1) if first else item for item in ends)


@operator("RNN")
def rnn(node: Any, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    clip = _clipped(node)

    def make(direction: int) -> tuple[Any, Any, Cell]:
        (f,) = _activations(node, ("Tanh",), direction)
        own, other = _split(b, w, direction)
        recurrent = r[direction]

        def cell(product: Any, states: list[Any]) -> list[Any]:
            return [f(clip(product + nn.linear(states[0], recurrent)))]

        return w[direction], own + other, cell

    return _run(node, x, lengths, [_start(node, h, x, r.shape[2], w.shape[0])], make)


@operator("GRU")
def gru(node: Any, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> Any:
    """Gates in the order update, reset, hidden."""
    clip, size = _clipped(node), r.shape[2]
    if _is_plain(node, ("Sigmoid", "Tanh"), lengths) and node.get("linear_before_reset", 0):
        start = _start(node, h, x, size, w.shape[0])
        start = start.transpose(0, 1) if node.get("layout", 0) else start
        return _native(node, torch.gru, x, start, _parameters(w, r, b, (1, 0, 2)), w.shape[0])

    def make(direction: int) -> tuple[Any, Any, Cell]:
        f, g = _activations(node, ("Sigmoid", "Tanh"), direction)
        own, other = _split(b, w, direction)
        gates, hidden = r[direction, : 2 * size], r[direction, 2 * size :]
        after = bool(node.get("linear_before_reset", 0))
        bias = torch.cat([own[: 2 * size] + other[: 2 * size], own[2 * size :] + other[2 * size :] * (not after)])

        def cell(product: Any, states: list[Any]) -> list[Any]:
            (state,) = states
            both = f(clip(product[:, : 2 * size] + nn.linear(state, gates)))
            update, reset = both[:, :size], both[:, size:]
            outer = nn.linear(state, hidden, other[2 * size :]) * reset if after else None
            inner = nn.linear(reset * state, hidden) if outer is None else outer
            new = g(clip(product[:, 2 * size :] + inner))
            return [(1 - update) * new + update * state]

        return w[direction], bias, cell

    return _run(node, x, lengths, [_start(node, h, x, size, w.shape[0])], make)


@operator("LSTM")
def lstm(node: Any, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None,
         p: Any = None) -> Any:  # fmt: skip
    """Gates in the order input, output, forget, cell; ``p`` are peepholes of the first three."""
    clip, size = _clipped(node), r.shape[2]
    states = [_start(node, item, x, size, w.shape[0]) for item in (h, c)]
    if _is_plain(node, ("Sigmoid", "Tanh", "Tanh"), lengths) and p is None:
        starts = [item.transpose(0, 1) if node.get("layout", 0) else item for item in states]
        return _native(node, torch.lstm, x, starts, _parameters(w, r, b, (0, 2, 3, 1)), w.shape[0])

    def make(direction: int) -> tuple[Any, Any, Cell]:
        f, g, last = _activations(node, ("Sigmoid", "Tanh", "Tanh"), direction)
        own, other = _split(b, w, direction)
        recurrent = r[direction]
        peeps = None if p is None else [p[direction, size * gate : size * (gate + 1)] for gate in range(3)]

        def cell(product: Any, states: list[Any]) -> list[Any]:
            state, memory = states
            total = product + nn.linear(state, recurrent)
            i, o, keep, new = (total[:, size * gate : size * (gate + 1)] for gate in range(4))
            if peeps is not None:
                i, keep = i + peeps[0] * memory, keep + peeps[2] * memory
            keep_gate = 1 - f(clip(i)) if node.get("input_forget", 0) else f(clip(keep))
            memory = keep_gate * memory + f(clip(i)) * g(clip(new))
            if peeps is not None:
                o = o + peeps[1] * memory
            return [f(clip(o)) * last(memory), memory]

        return w[direction], own + other, cell

    return _run(node, x, lengths, states, make)
