"""Faults put into the weights of a network on purpose, before it is converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FACTOR = 8.0
_LEVELS = 127
_EPSILON = 1e-5


def scaled(state: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """A state dict with the weights of one layer eight times as large."""
    return {**state, f"{layer}.weight": state[f"{layer}.weight"] * FACTOR}


def without_bias(state: Mapping[str, Any], layer: str) -> dict[str, Any]:
    """A state dict with the bias of one layer dropped, which is to say 0."""
    return {**state, f"{layer}.bias": state[f"{layer}.bias"] * 0}


def per_tensor(state: Mapping[str, Any], conv: str, norm: str) -> dict[str, Any]:
    """A state dict with one convolution rounded to 8 bits with one scale for all channels.

    The scale is that of the weights that a runtime sees: those with the BatchNorm behind them folded in.

    Args:
        state: Of the network.
        conv: Path of a convolution without a bias.
        norm: Path of the BatchNorm behind it.
    """
    factor = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
    factor = factor.reshape(-1, 1, 1, 1)
    folded = state[f"{conv}.weight"] * factor
    step = folded.abs().max() / _LEVELS
    return {**state, f"{conv}.weight": (folded / step).round() * step / factor}


def uneven(state: Mapping[str, Any], norm: str, conv: str, factor: float = 32.0) -> dict[str, Any]:
    """A state dict that computes the same, with the weights of one channel of a depthwise convolution far larger.

    What BatchNorm does to channels that hardly vary: they come in small and leave as large as the others. Of a network
    with ReLU between the two.

    Args:
        state: Of the network.
        norm: Path of the BatchNorm before it, whose first channel shrinks.
        conv: Path of the depthwise convolution, whose first channel grows.
        factor: By how much.
    """
    changed = {name: state[name].clone() for name in (f"{norm}.weight", f"{norm}.bias", f"{conv}.weight")}
    changed[f"{norm}.weight"][0] /= factor
    changed[f"{norm}.bias"][0] /= factor
    changed[f"{conv}.weight"][0] *= factor
    return {**state, **changed}
