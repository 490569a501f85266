"""Resize in all its modes, and sampling on grids.

All is decided by shapes and constants: each axis has, for every place of the result, the places of the data it comes
from and their weights. Where torch computes the same, its own operator is used, which runtimes know.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import RefusalError, operator
from converters.onnx_import.tensors import typed

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Axis:
    """How one axis changes.

    Attributes:
        axis: Which.
        size, wanted: Before and after.
        scale: As the model gives it, or the quotient of the two.
        start, end: Of the region, in parts of the whole.
    """

    axis: int
    size: int
    wanted: int
    scale: float
    start: float
    end: float


@operator("Resize", static=(1, 2, 3))
def resize(node: Any, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    if node.version < 11:
        roi, scales = None, roi
    return _resized(node, x, roi, scales, sizes, node.get("coordinate_transformation_mode", _default_mode(node)))


@operator("Upsample", static=(1,))
def upsample(node: Any, x: Any, scales: Any = None) -> Any:
    scales = np.array(node.get("scales"), np.float32) if scales is None else scales
    return _resized(node, x, None, scales, None, "asymmetric")


def _default_mode(node: Any) -> str:
    return "asymmetric" if node.version < 11 else "half_pixel"


def _resized(node: Any, x: Any, roi: Any, scales: Any, sizes: Any, coordinates: str) -> Any:
    axes = _axes(node, x, roi, scales, sizes)
    mode = node.get("mode", "nearest")
    moving = [item for item in axes if item.size != item.wanted or coordinates == "tf_crop_and_resize"
              or item.scale != 1.0]  # fmt: skip
    if not moving:
        return x
    places = {item.axis: _coordinates(item, coordinates) for item in moving}
    if not node.get("antialias", 0):
        native = _native(node, x, moving, places, mode)
        if native is not None:
            return native
    dtype = x.dtype
    if mode != "nearest" and not dtype.is_floating_point:
        x = x.to(torch.float32)
    outside = np.zeros([1] * x.dim(), bool)
    for item in moving:
        where = places[item.axis]
        x = _nearest(node, x, item, where) if mode == "nearest" else _weighted(node, x, item, where, mode)
        shape = [1] * x.dim()
        shape[item.axis] = -1
        outside = outside | ((where < 0) | (where > item.size - 1)).reshape(shape)
    if coordinates == "tf_crop_and_resize" and outside.any():
        value = node.get("extrapolation_value", 0.0)
        x = torch.where(torch.from_numpy(outside), torch.full((), value, dtype=x.dtype), x)
    if dtype.is_floating_point:
        return typed(x, dtype)
    limits = torch.iinfo(dtype)
    return x if x.dtype == dtype else torch.clamp(torch.round(x), limits.min, limits.max).to(dtype)


def _axes(node: Any, x: Any, roi: Any, scales: Any, sizes: Any) -> list[_Axis]:
    chosen = [axis % x.dim() for axis in node.get("axes") or range(x.dim())]
    region = [0.0] * len(chosen) + [1.0] * len(chosen) if roi is None or roi.size == 0 else roi.tolist()
    if sizes is not None and sizes.size:
        wanted = [int(size) for size in sizes]
        factors = [size / x.shape[axis] for size, axis in zip(wanted, chosen, strict=True)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            one = min(factors) if policy == "not_larger" else max(factors)
            factors = [one] * len(chosen)
            wanted = [math.floor(x.shape[axis] * one + 0.5) for axis in chosen]
    else:
        factors = [float(item) for item in scales]
        crop = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        parts = [region[place + len(chosen)] - region[place] if crop else 1.0 for place in range(len(chosen))]
        wanted = [
            math.floor(x.shape[axis] * part * factor) for axis, factor, part in zip(chosen, factors, parts, strict=True)
        ]
    return [
        _Axis(axis, x.shape[axis], wanted[place], factors[place], region[place], region[place + len(chosen)])
        for place, axis in enumerate(chosen)
    ]


def _coordinates(item: _Axis, mode: str) -> Floats:
    """For every place of the result, the place in the data; in float32, as runtimes compute it."""
    x = np.arange(item.wanted, dtype=np.float32)
    scale, size, wanted = np.float32(item.scale), item.size, item.wanted
    half = np.float32(0.5)
    if mode == "asymmetric":
        return x / scale
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and wanted > 1):
        return (x + half) / scale - half
    if mode == "pytorch_half_pixel":
        return np.zeros_like(x)
    if mode == "tf_half_pixel_for_nn":
        return (x + half) / scale
    if mode == "align_corners":
        return x * np.float32(size - 1) / np.float32(wanted - 1) if wanted > 1 else np.zeros_like(x)
    if mode == "half_pixel_symmetric":
        adjustment = wanted / (item.scale * size)
        offset = np.float32(size / 2 * (1 - adjustment))
        return offset + (x + half) / scale - half
    if mode == "tf_crop_and_resize":
        first, last = item.start * (size - 1), item.end * (size - 1)
        if wanted > 1:
            return (first + x * ((last - first) / (wanted - 1))).astype(np.float32)
        return np.full_like(x, (first + last) / 2)
    raise RefusalError(f"coordinate_transformation_mode {mode}")


def _rounded(node: Any, where: Floats, size: int) -> npt.NDArray[np.int64]:
    mode = node.get("nearest_mode", "round_prefer_floor" if node.operator == "Resize" and node.version >= 11 else
                    "floor")  # fmt: skip
    rounding: dict[str, Callable[[Floats], Floats]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    places: npt.NDArray[np.int64] = np.clip(rounding[mode](where), 0, size - 1).astype(np.int64)
    return places


def _nearest(node: Any, x: Any, item: _Axis, where: Floats) -> Any:
    places = _rounded(node, where, item.size)
    if (places == np.arange(item.size)[: len(places)]).all() if len(places) == item.size else False:
        return x
    return torch.index_select(x, item.axis, torch.from_numpy(places))


def _weighted(node: Any, x: Any, item: _Axis, where: Floats, mode: str) -> Any:
    """A product with a matrix of weights along one axis."""
    matrix = torch.from_numpy(_matrix(node, item, where, mode)).to(x.dtype)
    return nn.linear(x.movedim(item.axis, -1), matrix).movedim(-1, item.axis)


def _matrix(node: Any, item: _Axis, where: Floats, mode: str) -> Floats:
    """Weights of every place of the data (columns) in every place of the result (rows)."""
    antialias, outside = bool(node.get("antialias", 0)), bool(node.get("exclude_outside", 0))
    coefficient = node.get("cubic_coeff_a", -0.75)
    reach = 1 if mode == "linear" else 2
    scale = min(item.scale, 1.0) if antialias else 1.0
    matrix = np.zeros((item.wanted, item.size))
    for row, place in enumerate(where.astype(np.float64)):
        floor = math.floor(place)
        first = math.floor(-reach / scale) + 1
        taps = np.arange(first, 2 - first) if antialias else np.arange(1 - reach, 1 + reach)
        distances = np.abs(taps - (place - floor)) * scale
        weights = np.clip(1 - distances, 0, 1) if mode == "linear" else _cubic(distances, coefficient)
        columns = floor + taps
        if antialias:
            weights = weights / weights.sum()
        if outside:
            weights = np.where((columns >= 0) & (columns < item.size), weights, 0.0)
            weights = weights / weights.sum()
        np.add.at(matrix[row], np.clip(columns, 0, item.size - 1), weights)
    return matrix


def _cubic(x: Floats, a: float) -> Floats:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _native(node: Any, x: Any, moving: list[_Axis], places: dict[int, Floats], mode: str) -> Any:
    """The operator of torch, where its coordinates are the same."""
    if x.dim() != 4 or any(item.axis < 2 for item in moving) or not x.dtype.is_floating_point:
        return None
    size = list(x.shape[2:])
    for item in moving:
        size[item.axis - 2] = item.wanted
    if mode == "nearest":
        same = all(
            (_rounded(node, places[item.axis], item.size) == np.arange(item.wanted) * item.size // item.wanted).all()
            for item in moving
        )
        return nn.interpolate(x, size, mode="nearest") if same else None
    if mode == "cubic" and (node.get("exclude_outside", 0) or node.get("cubic_coeff_a", -0.75) != -0.75):
        return None
    for corners in (False, True):
        if all(_same_as_torch(item, places[item.axis], corners, mode) for item in moving):
            kind = "bilinear" if mode == "linear" else "bicubic"
            return nn.interpolate(x, size, mode=kind, align_corners=corners)
    return None


def _same_as_torch(item: _Axis, where: Floats, corners: bool, mode: str) -> bool:
    x = np.arange(item.wanted)
    if corners:
        own = x * (item.size - 1) / (item.wanted - 1) if item.wanted > 1 else x * 0.0
    else:
        own = (x + 0.5) * item.size / item.wanted - 0.5
    if mode == "linear":  # held at the borders by both
        own, where = np.clip(own, 0, item.size - 1), np.clip(where, 0, item.size - 1)
    return bool(np.allclose(own, where, rtol=0, atol=1e-5 * max(item.size, 1) / 16))


@operator("GridSample")
def grid_sample(node: Any, x: Any, grid: Any) -> Any:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.get("mode", "linear"), node.get("mode", "linear"))
    if x.dim() not in (4, 5) or (x.dim() == 5 and mode == "bicubic"):
        raise RefusalError(f"{mode} over {x.dim() - 2} axes")
    return nn.grid_sample(x, grid, mode, node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0)))


@operator("AffineGrid", static=(1,))
def affine_grid(node: Any, theta: Any, size: Any) -> Any:
    return nn.affine_grid(theta, [int(item) for item in size], bool(node.get("align_corners", 0)))
