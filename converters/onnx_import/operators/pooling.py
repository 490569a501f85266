"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import INTERNAL, RefusalError, operator
from converters.onnx_import.operators.convolution import padded, same_padding
from converters.onnx_import.tensors import typed

_AVERAGE = {1: nn.avg_pool1d, 2: nn.avg_pool2d, 3: nn.avg_pool3d}
_MAXIMUM = {1: nn.max_pool1d, 2: nn.max_pool2d, 3: nn.max_pool3d}


def _window(node: Any, x: Any) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations, padding before and behind, and what ``ceil_mode`` adds behind."""
    kernel = list(node.get("kernel_shape"))
    rank = len(kernel)
    if rank not in _AVERAGE or x.dim() != rank + 2:
        raise RefusalError(f"over {rank} axes")
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    before, behind = same_padding(node, x.shape[2:], kernel, strides, dilations)
    more = [0] * rank
    if node.get("ceil_mode", 0) and node.get("auto_pad", "NOTSET") in ("NOTSET", ""):
        for axis in range(rank):
            size = x.shape[2 + axis] + before[axis] + behind[axis]
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            count = -(-(size - reach) // strides[axis]) + 1
            # A window that would begin in the padding behind is left out.
            if (count - 1) * strides[axis] >= x.shape[2 + axis] + before[axis]:
                count -= 1
            more[axis] = max((count - 1) * strides[axis] + reach - size, 0)
    return kernel, strides, dilations, before, behind, more


def _of_positive(node: Any, operands: Sequence[Any]) -> Any:
    """Behind a Relu, zeros around the picture never win; quantizers and delegates know them."""
    return ("PositiveMaxPool", list(operands)) if operands[0].positive and node.wanted <= 1 else None


@operator("MaxPool", rewrite=_of_positive)
def max_pool(node: Any, x: Any) -> Any:
    return _max_pool(node, x, positive=False)


@operator("PositiveMaxPool", domain=INTERNAL)
def positive_max_pool(node: Any, x: Any) -> Any:
    return _max_pool(node, x, positive=True)


def _max_pool(node: Any, x: Any, *, positive: bool) -> Any:
    kernel, strides, dilations, before, behind, more = _window(node, x)
    behind = [a + b for a, b in zip(behind, more, strict=True)]
    dtype = x.dtype
    if not dtype.is_floating_point:
        x = x.to(torch.float32)
    inside = before == behind and all(2 * a <= width for a, width in zip(before, kernel, strict=True))
    if node.wanted > 1:
        return _max_pool_with_places(node, x, dtype, kernel, strides, dilations, before, behind)
    if not inside:
        if positive:
            x = padded(x, before, behind)
        elif set(dilations) == {1} and all(a < width for a, width in zip(behind, kernel, strict=True)):
            x = _with_borders_repeated(x, before, behind)
        else:
            x = padded(x, before, behind, float("-inf"))
        before = [0] * len(kernel)
    return typed(_MAXIMUM[len(kernel)](x, kernel, strides, before, dilations), dtype)


def _with_borders_repeated(x: Any, before: Sequence[int], behind: Sequence[int]) -> Any:
    """Padding that no maximum notices: a window that reaches it has the border in it. Infinities have no int8."""
    for place, (first, last) in enumerate(zip(before, behind, strict=True)):
        axis = 2 + place
        parts = [x.narrow(axis, 0, 1)] * first + [x] + [x.narrow(axis, x.shape[axis] - 1, 1)] * last
        x = torch.cat(parts, axis) if len(parts) > 1 else x
    return x


def _max_pool_with_places(node: Any, x: Any, dtype: Any, kernel: list[int], strides: list[int],
                          dilations: list[int], before: list[int], behind: list[int]) -> Any:  # fmt: skip
    """ONNX counts places through the whole tensor, batch and channels included."""
    rank, sizes = len(kernel), list(x.shape[2:])
    wide = padded(x, before, behind, float("-inf"))
    values, places = _MAXIMUM[rank](wide, kernel, strides, 0, dilations, return_indices=True)
    parts: list[Any] = []
    whole = list(wide.shape[2:])
    for axis in reversed(range(rank)):
        parts.insert(0, torch.remainder(places, whole[axis]) - before[axis])
        places = torch.div(places, whole[axis], rounding_mode="trunc")
    order = list(range(rank))
    if node.get("storage_order", 0):
        order.reverse()
    flat = torch.zeros_like(parts[0])
    for axis in order:
        flat = flat * sizes[axis] + parts[axis]
    count = math.prod(sizes)
    planes = torch.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1], *[1] * rank) * count
    return typed(values, dtype), flat + planes


@operator("AveragePool")
def average_pool(node: Any, x: Any) -> Any:
    kernel, strides, dilations, before, behind, more = _window(node, x)
    rank, counted = len(kernel), bool(node.get("count_include_pad", 0))
    behind_all = [a + b for a, b in zip(behind, more, strict=True)]
    if (
        set(dilations) == {1}
        and before == behind_all
        and all(2 * a <= width for a, width in zip(before, kernel, strict=True))
    ):
        return _AVERAGE[rank](x, kernel, strides, before, False, counted)
    sums = _window_sums(padded(x, before, behind_all), kernel, strides, dilations)
    ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
    # Padding counts where it is asked to, but never what ceil_mode adds.
    ones = padded(padded(ones, before, behind, 1.0 if counted else 0.0), [0] * rank, more)
    return sums / _window_sums(ones, kernel, strides, dilations)


def _window_sums(x: Any, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Any:
    rank = len(kernel)
    if set(dilations) == {1}:
        return _AVERAGE[rank](x, list(kernel), list(strides)) * math.prod(kernel)
    filters = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
    convolution = {1: nn.conv1d, 2: nn.conv2d, 3: nn.conv3d}[rank]
    return convolution(x, filters, None, list(strides), 0, list(dilations), x.shape[1])


@operator("LpPool")
def lp_pool(node: Any, x: Any) -> Any:
    kernel, strides, dilations, before, behind, more = _window(node, x)
    power = node.get("p", 2)
    powers = torch.abs(x) if power == 1 else torch.pow(torch.abs(x), power)
    behind = [a + b for a, b in zip(behind, more, strict=True)]
    sums = _window_sums(padded(powers, before, behind), kernel, strides, dilations)
    return sums if power == 1 else torch.pow(sums, 1.0 / power)


def _all_axes(x: Any) -> list[int]:
    return list(range(2, x.dim()))


@operator("GlobalAveragePool")
def global_average_pool(node: Any, x: Any) -> Any:
    """A mean, except in two dimensions, where runtimes know the pooling."""
    return nn.adaptive_avg_pool2d(x, 1) if x.dim() == 4 else torch.mean(x, _all_axes(x), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(node: Any, x: Any) -> Any:
    return torch.amax(x, _all_axes(x), keepdim=True)


@operator("GlobalLpPool")
def global_lp_pool(node: Any, x: Any) -> Any:
    power = node.get("p", 2)
    return torch.pow(torch.sum(torch.pow(torch.abs(x), power), _all_axes(x), keepdim=True), 1.0 / power)


@operator("MaxUnpool", static=(2,))
def max_unpool(node: Any, x: Any, places: Any, shape: Any = None) -> Any:
    rank = x.dim() - 2
    kernel, strides = node.get("kernel_shape"), node.get("strides") or [1] * rank
    pads = node.get("pads") or [0] * (2 * rank)
    sizes = [
        (x.shape[2 + axis] - 1) * strides[axis] - pads[axis] - pads[rank + axis] + kernel[axis] for axis in range(rank)
    ]
    own = [*x.shape[:2], *sizes]
    flat = torch.zeros(math.prod(own), dtype=x.dtype).scatter(0, places.reshape(-1), x.reshape(-1)).reshape(own)
    if shape is None:
        return flat
    wanted = [int(size) for size in shape]
    # The places count in the pooled tensor's own shape; more room is at the end.
    return padded(flat, [0] * (rank + 2), [a - b for a, b in zip(wanted, own, strict=True)])


@operator("RoiAlign")
def roi_align(node: Any, x: Any, rois: Any, batch: Any) -> Any:
    """Each bin takes samples at fixed places in it, bilinearly, and averages or takes their maximum."""
    height, width = node.get("output_height", 1), node.get("output_width", 1)
    ratio, scale = node.get("sampling_ratio", 0), node.get("spatial_scale", 1.0)
    if ratio <= 0:
        raise RefusalError("an adaptive sampling_ratio depends on data")
    half = node.version >= 16 and node.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    corners = rois * scale - (0.5 if half else 0.0)
    x1, y1, x2, y2 = corners.unbind(1)
    roi_w, roi_h = x2 - x1, y2 - y1
    if not half:
        roi_w, roi_h = torch.clamp(roi_w, min=1.0), torch.clamp(roi_h, min=1.0)

    def places(start: Any, size: Any, bins: int) -> Any:
        steps = (torch.arange(bins * ratio, dtype=x.dtype) + 0.5) / (bins * ratio)
        return start[:, None] + steps[None] * size[:, None]  # (rois, bins * ratio)

    rows, columns = places(y1, roi_h, height), places(x1, roi_w, width)
    data = x[batch]  # (rois, channels, height, width)
    corners4 = _bilinear_corners(data, rows, columns)
    count = rois.shape[0]
    cut = [item.reshape(count, x.shape[1], height, ratio, width, ratio) for item in corners4]
    if node.get("mode", "avg") == "avg":
        return sum(cut).mean((3, 5))
    # As ONNX Runtime does it: the maximum of the weighted corners, not of the interpolated values.
    return torch.stack(cut).amax(0).amax((3, 5))


def _bilinear_corners(data: Any, rows: Any, columns: Any) -> list[Any]:
    """The four weighted neighbours of each sample; zeros a pixel or more outside."""
    height, width = data.shape[2:]

    def axis(places: Any, size: int) -> tuple[Any, Any, Any, Any]:
        inside = ((places >= -1.0) & (places <= size)).to(data.dtype)
        held = torch.clamp(places, 0.0, size - 1.0)
        low = torch.floor(held)
        high = torch.clamp(low + 1, max=size - 1.0)
        part = held - low
        return low.to(torch.int64), high.to(torch.int64), (1 - part) * inside, part * inside

    y = axis(rows, height)
    x = axis(columns, width)
    found = []
    for place_y, weight_y in ((y[0], y[2]), (y[1], y[3])):
        for place_x, weight_x in ((x[0], x[2]), (x[1], x[3])):
            flat = place_y[:, :, None] * width + place_x[:, None, :]
            index = flat.reshape(flat.shape[0], 1, -1).expand(-1, data.shape[1], -1)
            values = torch.gather(data.flatten(2), 2, index).reshape(
                data.shape[0], data.shape[1], rows.shape[1], columns.shape[1]
            )
            found.append(values * (weight_y[:, :, None] * weight_x[:, None, :])[:, None])
    return found
