"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import RefusalError, operator

_CONVOLUTIONS = {1: nn.conv1d, 2: nn.conv2d, 3: nn.conv3d}
_TRANSPOSED = {1: nn.conv_transpose1d, 2: nn.conv_transpose2d, 3: nn.conv_transpose3d}


def same_padding(node: Any, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
                 dilations: Sequence[int]) -> tuple[list[int], list[int]]:  # fmt: skip
    """Padding before and behind each axis, as ``auto_pad`` or ``pads`` say.

    Args:
        node: A convolution or pooling.
        sizes: Of the data, without batch and channels.
        kernel: Of the window, by axis.
        strides: By axis.
        dilations: By axis.
    """
    kind = node.get("auto_pad", "NOTSET")
    rank = len(kernel)
    if kind in ("NOTSET", ""):
        pads = node.get("pads") or [0] * (2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    if kind == "VALID":
        return [0] * rank, [0] * rank
    before, behind = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        count = -(-size // stride)
        total = max((count - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        more, less = total - total // 2, total // 2
        before.append(less if kind == "SAME_UPPER" else more)
        behind.append(more if kind == "SAME_UPPER" else less)
    return before, behind


def padded(x: Any, before: Sequence[int], behind: Sequence[int], value: float = 0.0) -> Any:
    """Data with constant padding on its last axes; what is negative is cut off."""
    if any(item < 0 for item in (*before, *behind)):
        cut = [slice(max(-a, 0), size - max(-b, 0)) for a, b, size in
               zip(before, behind, x.shape[-len(before) :], strict=True)]  # fmt: skip
        x = x[(..., *cut)]
        before, behind = [max(item, 0) for item in before], [max(item, 0) for item in behind]
    if not any(before) and not any(behind):
        return x
    pads = [item for pair in zip(reversed(before), reversed(behind), strict=True) for item in pair]
    return nn.pad(x, pads, value=value)


@operator("Conv")
def conv(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    """Symmetric padding stays inside the convolution, where runtimes want it."""
    rank = x.dim() - 2
    if rank not in _CONVOLUTIONS:
        raise RefusalError(f"over {rank} axes")
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    before, behind = same_padding(node, x.shape[2:], weight.shape[2:], strides, dilations)
    # What is common to both sides stays inside as well, so that only a line or two are copied.
    inside = [min(pair) for pair in zip(before, behind, strict=True)] if before == behind else [0] * rank
    before, behind = ([a - b for a, b in zip(side, inside, strict=True)] for side in (before, behind))
    x = padded(x, before, behind)
    return _CONVOLUTIONS[rank](x, weight, bias, strides, inside, dilations, node.get("group", 1))


@operator("ConvTranspose")
def conv_transpose(node: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = x.dim() - 2
    if rank not in _TRANSPOSED:
        raise RefusalError(f"over {rank} axes")
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    extra = node.get("output_padding") or [0] * rank
    kernel = weight.shape[2:]
    full = [
        stride * (size - 1) + (width - 1) * dilation + 1
        for size, stride, width, dilation in zip(x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    before, behind = _transposed_padding(node, x, full, extra, strides)
    wanted = [size + more - a - b for size, more, a, b in zip(full, extra, before, behind, strict=True)]
    # torch takes one padding for both sides: the smaller, and its output padding fills what is less on the other.
    inside = [max(min(a, b), 0) for a, b in zip(before, behind, strict=True)]
    trailing = [size + 2 * a - whole for size, a, whole in zip(wanted, inside, full, strict=True)]
    limits = [max(stride, dilation) for stride, dilation in zip(strides, dilations, strict=True)]
    simple = all(a == b for a, b in zip(before, inside, strict=True)) and all(
        0 <= more < limit for more, limit in zip(trailing, limits, strict=True)
    )
    group = node.get("group", 1)
    if simple:
        return _TRANSPOSED[rank](x, weight, bias, strides, inside, trailing, group, dilations)
    result = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, group, dilations)
    # Outside of the full result there are zeros; the bias is everywhere.
    result = padded(
        result,
        [-item for item in before],
        [a + size - whole for a, size, whole in zip(before, wanted, full, strict=True)],
    )
    return result if bias is None else result + bias.reshape(1, -1, *[1] * rank)


def _transposed_padding(
    node: Any, x: Any, full: Sequence[int], extra: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    rank, kind = len(full), node.get("auto_pad", "NOTSET")
    shape = node.get("output_shape")
    if shape:
        shape = shape[-rank:]
    elif kind in ("SAME_UPPER", "SAME_LOWER"):
        shape = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    else:
        pads = node.get("pads") or [0] * (2 * rank)
        return ([0] * rank, [0] * rank) if kind == "VALID" else (list(pads[:rank]), list(pads[rank:]))
    totals = [whole + more - size for whole, more, size in zip(full, extra, shape, strict=True)]
    less, more = [item // 2 for item in totals], [item - item // 2 for item in totals]
    return (less, more) if kind == "SAME_UPPER" else (more, less)


@operator("DeformConv")
def deform_conv(node: Any, x: Any, weight: Any, offset: Any, bias: Any = None, mask: Any = None) -> Any:
    """Samples are taken bilinearly at moved places, then multiplied as a matrix."""
    if x.dim() != 4:
        raise RefusalError(f"over {x.dim() - 2} axes")
    batch, channels, height, width = x.shape
    strides, dilations = node.get("strides") or [1, 1], node.get("dilations") or [1, 1]
    pads, groups = node.get("pads") or [0] * 4, node.get("offset_group", 1)
    rows, columns = weight.shape[2:]
    out_h, out_w = offset.shape[2:]
    offset = offset.reshape(batch, groups, rows * columns, 2, out_h, out_w)
    steps = torch.arange(rows * columns)
    base_y = (torch.arange(out_h) * strides[0] - pads[0]).reshape(1, -1, 1) + (
        torch.div(steps, columns, rounding_mode="trunc") * dilations[0]
    ).reshape(-1, 1, 1)
    base_x = (torch.arange(out_w) * strides[1] - pads[1]).reshape(1, 1, -1) + (
        torch.remainder(steps, columns) * dilations[1]
    ).reshape(-1, 1, 1)
    places_y, places_x = offset[:, :, :, 0] + base_y, offset[:, :, :, 1] + base_x
    grid = torch.stack([(2 * places_x + 1) / width - 1, (2 * places_y + 1) / height - 1], -1)
    grid = grid.reshape(batch * groups, rows * columns * out_h, out_w, 2)
    parts = x.reshape(batch * groups, channels // groups, height, width)
    taken = nn.grid_sample(parts, grid, "bilinear", "zeros", align_corners=False)
    taken = taken.reshape(batch, groups, channels // groups, rows * columns, out_h, out_w)
    if mask is not None:
        taken = taken * mask.reshape(batch, groups, 1, rows * columns, out_h, out_w)
    group = node.get("group", 1)
    taken = taken.reshape(batch, group, channels // group * rows * columns, out_h * out_w)
    filters = weight.reshape(group, weight.shape[0] // group, -1)
    result = torch.matmul(filters, taken).reshape(batch, weight.shape[0], out_h, out_w)
    return result if bias is None else result + bias.reshape(1, -1, 1, 1)
