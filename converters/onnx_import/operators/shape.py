"""Shapes, copies and casts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn

from converters.onnx_import.operators import INTERNAL, RefusalError, operator, registry
from converters.onnx_import.tensors import dtype_of, typed


@operator("Shape", control=True)
def shape(node: Any, specializer: Any, scope: Any, x: Any) -> Any:
    """A constant: every shape is known."""
    sizes = list(x.tensor.shape)
    return [specializer.constant(torch.tensor(sizes[node.get("start", 0) : node.get("end")], dtype=torch.int64))]


@operator("Size", control=True)
def size(node: Any, specializer: Any, scope: Any, x: Any) -> Any:
    return [specializer.constant(torch.tensor(x.tensor.numel(), dtype=torch.int64))]


@operator("EyeLike", control=True)
def eye_like(node: Any, specializer: Any, scope: Any, x: Any) -> Any:
    code = node.get("dtype")
    rows, columns = x.tensor.shape
    ones = np.eye(rows, columns, node.get("k", 0))
    return [specializer.constant(torch.from_numpy(ones).to(x.tensor.dtype if code is None else dtype_of(code)))]


@operator("CastLike", control=True)
def cast_like(node: Any, specializer: Any, scope: Any, x: Any, like: Any) -> Any:
    cast = dataclasses.replace(node, attributes={**node.attributes, "dtype": like.tensor.dtype})
    return specializer.emit(registry()[INTERNAL, "Cast"], cast, [x])


@operator("Cast", domain=INTERNAL)
def cast_to(node: Any, x: Any) -> Any:
    return converted(x, node.get("dtype"), bool(node.get("saturate", 1)))


@operator("Cast")
def cast(node: Any, x: Any) -> Any:
    return converted(x, dtype_of(node.get("to")), bool(node.get("saturate", 1)))


def converted(x: Any, dtype: Any, saturate: bool = True) -> Any:
    """Values in another type; 8-bit floats are held within their bounds where that is asked for."""
    small = dtype.is_floating_point and torch.finfo(dtype).bits == 8
    if small and saturate and x.dtype.is_floating_point and dtype != torch.float8_e8m0fnu:
        limit = torch.finfo(dtype).max
        wide = x.float()
        return torch.clamp(wide, -limit, limit).to(dtype)
    if x.dtype.is_floating_point and torch.finfo(x.dtype).bits == 8 and dtype != torch.float32:
        return x.float().to(dtype)
    return typed(x, dtype)


@operator("BitCast")
def bit_cast(node: Any, x: Any) -> Any:
    return x.view(dtype_of(node.get("to")))


@operator("Identity", "Dropout")
def identity(node: Any, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if node.operator == "Dropout" and node.wanted > 1:
        return x, torch.ones_like(x, dtype=torch.bool if node.version >= 10 else x.dtype)
    return x


@operator("Constant")
def constant(node: Any) -> Any:
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32),
                        ("value_int", torch.int64), ("value_ints", torch.int64)):  # fmt: skip
        if name in node.attributes:
            return torch.tensor(node.get(name), dtype=dtype)
    found = node.get("value", node.get("sparse_value"))
    if not isinstance(found, torch.Tensor):
        raise RefusalError(getattr(found, "reason", "of strings").rstrip("."))
    return found


@operator("ConstantOfShape", static=(0,))
def constant_of_shape(node: Any, sizes: Any) -> Any:
    value = node.get("value")
    value = torch.zeros(1) if value is None else value
    return value.reshape(()).expand([int(size) for size in sizes]).clone()


@operator("Range", static=(0, 1, 2))
def arange(node: Any, start: Any, limit: Any, delta: Any) -> Any:
    first, last, step = (item.item() for item in (start, limit, delta))
    count = max(math.ceil((last - first) / step), 0)
    values = first + np.arange(count) * step
    return torch.from_numpy(np.asarray(values, dtype=start.dtype))


def whole(size: Any) -> Any:
    """A size as a Python number; one that stays open remains a symbol."""
    return size if isinstance(size, torch.SymInt) else int(size)


@operator("Reshape", static=(1,))
def reshape(node: Any, x: Any, sizes: Any = None) -> Any:
    wanted = [whole(size) for size in (node.get("shape") if sizes is None else sizes)]
    if not node.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if -1 in wanted and 0 in wanted:
        rest = math.prod(size for size in wanted if size != -1)
        wanted = [0 if size == -1 and rest == 0 else size for size in wanted]
    return torch.reshape(x, wanted)


@operator("Flatten")
def flatten(node: Any, x: Any) -> Any:
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return torch.reshape(x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


@operator("Squeeze", static=(1,))
def squeeze(node: Any, x: Any, axes: Any = None) -> Any:
    chosen = node.get("axes") if axes is None else axes.reshape(-1).tolist()
    if chosen is None:
        chosen = [axis for axis, size in enumerate(x.shape) if size == 1]
    places = {int(axis) % x.dim() for axis in chosen}
    if any(x.shape[axis] != 1 for axis in places):
        raise ValueError(f"axes {sorted(places)} are not all of size 1")
    return torch.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in places])


@operator("Unsqueeze", static=(1,))
def unsqueeze(node: Any, x: Any, axes: Any = None) -> Any:
    chosen = node.get("axes") if axes is None else axes.reshape(-1).tolist()
    rank = x.dim() + len(chosen)
    for axis in sorted(int(axis) % rank for axis in chosen):
        x = torch.unsqueeze(x, axis)
    return x


@operator("Transpose")
def transpose(node: Any, x: Any) -> Any:
    return torch.permute(x, node.get("perm") or list(reversed(range(x.dim()))))


@operator("Concat")
def concat(node: Any, *operands: Any) -> Any:
    return operands[0] if len(operands) == 1 else torch.cat(operands, node.get("axis", 1))


@operator("Split", static=(1,))
def split(node: Any, x: Any, sizes: Any = None) -> Any:
    axis = node.get("axis", 0)
    chosen = node.get("split") if sizes is None else [whole(size) for size in sizes]
    if not chosen:
        count = node.get("num_outputs") or len(node.outputs)
        each = -(-x.shape[axis] // count)
        chosen = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return torch.split(x, chosen, axis)


@operator("Slice", static=(1, 2, 3, 4))
def slice_(node: Any, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    starts, ends = (
        (node.get("starts"), node.get("ends")) if starts is None else (starts.tolist(), ends.tolist())
    )  # before opset 10 they were attributes
    chosen = node.get("axes") if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    cut: list[Any] = [slice(None)] * x.dim()
    turned = []
    for axis, start, end, step in zip(chosen or range(len(starts)), starts, ends, by, strict=True):
        axis = axis % x.dim()
        if any(isinstance(item, torch.SymInt) for item in (start, end, x.shape[axis])):
            if step < 0:
                raise RefusalError("it goes backwards along an axis whose size is open")
            cut[axis] = slice(start, end, step)
            continue
        places = range(*slice(start, end, step).indices(x.shape[axis]))
        if not places:
            cut[axis] = slice(0, 0)
        elif step > 0:
            cut[axis] = slice(places[0], places[-1] + 1, step)
        else:
            cut[axis] = slice(places[-1], places[0] + 1, -step)
            turned.append(axis)
    x = x[tuple(cut)]
    return torch.flip(x, turned) if turned else x


@operator("Expand", static=(1,))
def expand(node: Any, x: Any, sizes: Any) -> Any:
    wanted = torch.broadcast_shapes(tuple(x.shape), tuple(whole(size) for size in sizes))
    return x if tuple(wanted) == tuple(x.shape) else x.expand(wanted)


@operator("Tile", static=(1, 2))
def tile(node: Any, x: Any, repeats: Any, axis: Any = None) -> Any:
    if axis is not None:  # opset 1: how often along one axis
        times = [1] * x.dim()
        times[int(axis.item())] = int(repeats.item())
        return x.repeat(times)
    return x.repeat([whole(count) for count in repeats]) if x.dim() else x


@operator("Pad", static=(1, 2, 3))
def pad(node: Any, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    amounts = (node.get("pads") or node.get("paddings")) if pads is None else [int(item) for item in pads]
    fill = node.get("value", 0.0) if value is None else value.reshape(-1)[0].item()
    chosen = list(range(x.dim())) if axes is None else [int(axis) % x.dim() for axis in axes]
    before, behind = [0] * x.dim(), [0] * x.dim()
    for place, axis in enumerate(chosen):
        before[axis], behind[axis] = amounts[place], amounts[place + len(chosen)]
    cut = [slice(max(-a, 0), size - max(-b, 0)) for a, b, size in zip(before, behind, x.shape, strict=True)]
    if any(item != slice(0, size) for item, size in zip(cut, x.shape, strict=True)):
        x = x[tuple(cut)]
    before, behind = [max(item, 0) for item in before], [max(item, 0) for item in behind]
    changed = [axis for axis in range(x.dim()) if before[axis] or behind[axis]]
    if not changed:
        return x
    mode = node.get("mode", "constant")
    first = changed[0] if mode == "constant" else x.dim() - 2
    last = [item for axis in reversed(range(first, x.dim())) for item in (before[axis], behind[axis])]
    if mode == "constant":
        if x.dtype == torch.bool:
            return nn.pad(x.to(torch.uint8), last, value=int(fill)).to(torch.bool)
        return nn.pad(x, last, value=fill)
    fits = x.dim() == 4 and changed[0] >= 2 and x.dtype.is_floating_point
    if fits and mode == "edge":
        return nn.pad(x, last, mode="replicate")
    if fits and mode == "reflect" and all(max(before[a], behind[a]) < x.shape[a] for a in changed):
        return nn.pad(x, last, mode="reflect")
    for axis in changed:
        places = np.pad(np.arange(x.shape[axis]), (before[axis], behind[axis]), mode=mode)
        x = torch.index_select(x, axis, torch.from_numpy(places))
    return x


@operator("DepthToSpace")
def depth_to_space(node: Any, x: Any) -> Any:
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return nn.pixel_shuffle(x, block)
    batch, channels, height, width = x.shape
    cut = x.reshape(batch, block, block, channels // block**2, height, width)
    return cut.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // block**2, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(node: Any, x: Any) -> Any:
    block = node.get("blocksize")
    batch, channels, height, width = x.shape
    cut = x.reshape(batch, channels, height // block, block, width // block, block)
    order = (0, 1, 3, 5, 2, 4) if node.get("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return cut.permute(order).reshape(batch, channels * block**2, height // block, width // block)


@operator("Trilu", static=(1,))
def trilu(node: Any, x: Any, k: Any = None) -> Any:
    offset = 0 if k is None else int(k.item())
    limit = max(x.shape[-2:]) + 1
    offset = max(-limit, min(limit, offset))
    return torch.triu(x, offset) if node.get("upper", 1) else torch.tril(x, offset)


@operator("Col2Im", static=(1, 2))
def col2im(node: Any, x: Any, image: Any, block: Any) -> Any:
    """Every value is added to the pixel it came from."""
    sizes, kernel = [int(item) for item in image], [int(item) for item in block]
    rank = len(sizes)
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    pads = node.get("pads") or [0] * (2 * rank)
    places = np.zeros((1, 1), np.int64)  # (places in the block, blocks), in the padded image
    whole = [size + pads[axis] + pads[rank + axis] for axis, size in enumerate(sizes)]
    for axis in range(rank):
        count = (whole[axis] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
        own = np.arange(kernel[axis])[:, None] * dilations[axis] + np.arange(count)[None] * strides[axis]
        joined = places[:, None, :, None] * whole[axis] + own[None, :, None, :]
        places = joined.reshape(joined.shape[0] * joined.shape[1], -1)
    channels = x.shape[1] // math.prod(kernel)
    values = x.reshape(x.shape[0], channels, -1)
    empty = torch.zeros(x.shape[0], channels, math.prod(whole), dtype=x.dtype)
    result = empty.index_add(2, torch.from_numpy(places.reshape(-1)), values)
    result = result.reshape(x.shape[0], channels, *whole)
    cut = [slice(pads[axis], pads[axis] + size) for axis, size in enumerate(sizes)]
    return result[(slice(None), slice(None), *cut)]
