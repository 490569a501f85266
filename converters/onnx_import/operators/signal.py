"""Fourier transforms as products with matrices, which every runtime has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from converters.onnx_import.operators import operator
from converters.onnx_import.tensors import dtype_of


def _transformed(x: Any, axis: int, length: int, inverse: bool, onesided: bool) -> Any:
    """A DFT.

    Args:
        x: Real and imaginary parts on the last axis, or the real one alone.
        axis: Without the last one, from the start.
        length: Samples are cut or filled with zeros to so many.
        inverse: As ONNX has it.
        onesided: As ONNX has it.
    """
    size = x.shape[axis]
    used = min(size, length)
    if inverse and onesided:
        return _real_inverse(x, axis, length)
    count = length // 2 + 1 if onesided else length
    angles = 2 * np.pi * ((np.arange(count)[:, None] * np.arange(used)[None]) % length) / length
    angles = angles if not inverse else -angles
    scale = 1.0 / length if inverse else 1.0
    cos, sin = (torch.from_numpy(item * scale).to(x.dtype) for item in (np.cos(angles), np.sin(angles)))
    data = x.narrow(axis, 0, used).movedim(axis, -2)  # (…, used, parts)
    real = data[..., 0]
    parts = [torch.matmul(real, cos.t()), -torch.matmul(real, sin.t())]
    if x.shape[-1] == 2:
        other = data[..., 1]
        parts = [parts[0] + torch.matmul(other, sin.t()), parts[1] + torch.matmul(other, cos.t())]
    return torch.stack(parts, -1).movedim(-2, axis)


def _real_inverse(x: Any, axis: int, length: int) -> Any:
    """From the first half of a spectrum whose other half is its mirror; the result is real."""
    used = min(x.shape[axis], length // 2 + 1)
    angles = 2 * np.pi * ((np.arange(length)[:, None] * np.arange(used)[None]) % length) / length
    weight = np.full(used, 2.0)
    weight[0] = 1.0
    if length % 2 == 0 and used == length // 2 + 1:
        weight[-1] = 1.0
    cos, sin = (torch.from_numpy(item * weight / length).to(x.dtype) for item in (np.cos(angles), np.sin(angles)))
    data = x.narrow(axis, 0, used).movedim(axis, -2)
    result = torch.matmul(data[..., 0], cos.t())
    if x.shape[-1] == 2:
        result = result - torch.matmul(data[..., 1], sin.t())
    return result.unsqueeze(-1).movedim(-2, axis)


@operator("DFT", static=(1, 2))
def dft(node: Any, x: Any, length: Any = None, axis: Any = None) -> Any:
    """The axis became an input in opset 20, and its default the last before the parts."""
    place = node.get("axis", 1 if node.version < 20 else -2) if axis is None else int(axis.item())
    place = place % x.dim()
    inverse, onesided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    size = x.shape[place]
    if length is not None:
        size = int(length.item())
    elif inverse and onesided:
        size = 2 * (size - 1)
    return _transformed(x, place, size, inverse, onesided)


@operator("STFT", static=(1, 3))
def stft(node: Any, x: Any, step: Any, window: Any = None, length: Any = None) -> Any:
    size = int(length.item()) if length is not None else window.shape[0]
    data = x if x.dim() == 3 else x.unsqueeze(-1)
    frames = data.unfold(1, size, int(step.item())).transpose(2, 3)  # (batch, frames, size, parts)
    if window is not None:
        frames = frames * window.reshape(-1, 1)
    return _transformed(frames, 2, size, False, bool(node.get("onesided", 1)))


@operator("MelWeightMatrix", static=(0, 1, 2, 3, 4))
def mel_weight_matrix(node: Any, bins: Any, length: Any, rate: Any, lower: Any, upper: Any) -> Any:
    count, points = int(bins.item()), int(length.item()) // 2 + 1
    low, high = (2595 * np.log10(1 + float(item.item()) / 700) for item in (lower, upper))
    mels = low + np.arange(count + 2) * ((high - low) / (count + 2))
    places = ((int(length.item()) + 1) * (700 * (10 ** (mels / 2595) - 1)) // int(rate.item())).astype(int)
    weights = np.zeros((points, count))
    for column in range(count):
        first, centre, last = places[column : column + 3]
        if centre == first:
            weights[centre, column] = 1
        else:
            for row in range(first, centre + 1):
                weights[row, column] = (row - first) / (centre - first)
        if last > centre:
            for row in range(centre, last):
                weights[row, column] = (last - row) / (last - centre)
    return torch.from_numpy(weights).to(dtype_of(node.get("output_datatype", 1)))
