"""The arithmetic of stored weights: NumPy alone, no file formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int8]
Scales = npt.NDArray[np.float32]

INT8_MAX = 127
INT4_MIN, INT4_MAX = -8, 7
# Times the scale that reaches the largest magnitude with 7; 7/8 is the one that reaches it with -8.
_SHRINKS = (*np.linspace(1.0, 0.65, 15), INT4_MAX / -INT4_MIN)
_LEAST = float(np.finfo(np.float32).tiny)


def per_channel(weights: Floats, axis: int) -> tuple[Integers, Scales]:
    """Symmetric 8 bits with a scale per channel: ``weights ~ integers * scale``, off by half a scale at most.

    Args:
        weights: Of any shape, finite.
        axis: That the channels are along.

    Returns:
        Integers of the same shape in -127..127, and scales of shape ``(channels,)``: the largest magnitude of each
        channel / 127, 1 where a channel is zero.
    """
    others = tuple(index for index in range(weights.ndim) if index != axis % weights.ndim)
    wide = weights.astype(np.float64)
    scale = _usable(np.abs(wide).max(axis=others, initial=0.0) / INT8_MAX)
    integers = np.rint(wide / np.expand_dims(scale.astype(np.float64), others))
    return np.clip(integers, -INT8_MAX, INT8_MAX).astype(np.int8), scale


def per_group_channel(weights: Floats, groups: int) -> tuple[Integers, Scales]:
    """The same for the weights of a transposed convolution, whose output channels are spread over two axes.

    Args:
        weights: ``(inputs, outputs per group, *kernel)``, finite.
        groups: Of the convolution; divides the inputs.

    Returns:
        Integers of the same shape, and scales of shape ``(inputs, outputs per group)``: equal within a group, or
        ``(1, outputs)`` where there is one group.
    """
    inputs, outputs = weights.shape[:2]
    grouped = weights.reshape(groups, inputs // groups, outputs, -1)
    rows = grouped.transpose(0, 2, 1, 3).reshape(groups * outputs, -1)
    integers, scale = per_channel(rows, 0)
    back = integers.reshape(groups, outputs, inputs // groups, -1).transpose(0, 2, 1, 3)
    spread = scale.reshape(groups, outputs)
    return back.reshape(weights.shape), spread if groups == 1 else np.repeat(spread, inputs // groups, axis=0)


def per_block(weights: Floats, axis: int, block: int) -> tuple[Integers, Scales]:
    """Four bits with a scale per block; each scale is the one of several with the least squared error.

    Args:
        weights: Of any shape, finite.
        axis: That the blocks are along; the last block may be shorter.
        block: Elements of a block.

    Returns:
        Integers of the same shape in -8..7, and scales of that shape with ``ceil(size / block)`` at the axis.
    """
    moved = np.moveaxis(weights.astype(np.float64), axis, -1)
    size = moved.shape[-1]
    count = -(-size // block)
    padded = np.zeros((*moved.shape[:-1], count * block))
    padded[..., :size] = moved
    blocks = padded.reshape(*moved.shape[:-1], count, block)
    widest = np.abs(blocks).max(-1) / INT4_MAX
    best, integers, scale = np.full(widest.shape, np.inf), np.zeros(blocks.shape, np.int8), _usable(widest)
    for shrink in _SHRINKS:
        tried = _usable(widest * shrink)
        step = tried.astype(np.float64)[..., None]
        found = np.clip(np.rint(blocks / step), INT4_MIN, INT4_MAX)
        error = ((found * step - blocks) ** 2).sum(-1)
        better = error < best
        best = np.where(better, error, best)
        scale = np.where(better, tried, scale)
        integers = np.where(better[..., None], found.astype(np.int8), integers)
    flat = integers.reshape(*moved.shape[:-1], count * block)[..., :size]
    return np.moveaxis(flat, -1, axis), np.moveaxis(scale, -1, axis)


def pack_nibbles(integers: Integers, block: int) -> npt.NDArray[np.uint8]:
    """Four-bit integers as ONNX Runtime's ``MatMulNBits`` stores them: 8 added, two to a byte, the first one low.

    Args:
        integers: ``(outputs, inputs)`` in -8..7.
        block: Elements of a block; even.

    Returns:
        ``(outputs, blocks, block / 2)``; what is missing of the last block stands for zero.
    """
    outputs, inputs = integers.shape
    count = -(-inputs // block)
    raised = np.full((outputs, count * block), -INT4_MIN, np.uint8)
    raised[:, :inputs] = (integers - np.int8(INT4_MIN)).astype(np.uint8)
    packed: npt.NDArray[np.uint8] = raised[:, 0::2] | (raised[:, 1::2] << 4)
    return packed.reshape(outputs, count, block // 2)


def _usable(scale: npt.NDArray[np.float64]) -> Scales:
    """As float32 that can be divided by: 1 for zero, and never subnormal, which some processors take for zero."""
    return np.where(scale > 0, np.maximum(scale, _LEAST), 1.0).astype(np.float32)
