"""Properties of the arithmetic of stored weights."""

from __future__ import annotations

import numpy as np
import pytest

from converters.onnx import _weights as weights

SHAPES = [(1, 1), (3, 5), (7, 1), (8, 3, 3, 3), (16, 1, 5), (2, 64), (33, 31)]


def _values(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    generator = np.random.default_rng(abs(hash(shape)) % 2**32)
    return (
        generator.standard_normal(shape) * generator.uniform(1e-3, 10, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    ).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_per_channel_is_off_by_half_a_step_at_most(shape: tuple[int, ...], dtype: type) -> None:
    values = _values(shape, dtype)
    for axis in range(-1, len(shape)):
        integers, scale = weights.per_channel(values, axis)
        assert (integers.dtype, integers.shape, scale.shape) == (np.int8, shape, (shape[axis],))
        steps = np.moveaxis(
            np.broadcast_to(scale.astype(np.float64), (*np.moveaxis(values, axis, -1).shape,)), -1, axis
        )
        assert (np.abs(integers * steps - values) <= steps * (0.5 + 1e-4)).all()
        assert np.abs(integers.astype(int)).max() == weights.INT8_MAX


@pytest.mark.parametrize(("groups", "shape"), [(1, (4, 6, 3, 3)), (2, (4, 3, 2)), (4, (8, 2, 3, 3)), (6, (6, 1, 5, 5))])
def test_transposed_convolutions_get_a_scale_per_output_channel(groups: int, shape: tuple[int, ...]) -> None:
    values = _values(shape, np.float32)
    integers, scale = weights.per_group_channel(values, groups)
    step = scale.reshape(*scale.shape, *[1] * (len(shape) - 2))
    assert (np.abs(integers * step - values) <= step * (0.5 + 1e-4)).all()
    full = np.broadcast_to(scale, shape[:2]).reshape(groups, shape[0] // groups, shape[1])
    largest = np.abs(values).reshape(groups, shape[0] // groups, shape[1], -1).max((1, 3))
    assert np.allclose(full, (largest / weights.INT8_MAX)[:, None], rtol=1e-5)


@pytest.mark.parametrize("block", [2, 16, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_per_block_is_no_worse_than_the_plain_scale(shape: tuple[int, ...], block: int) -> None:
    values = _values(shape, np.float32)
    for axis in range(len(shape)):
        integers, scale = weights.per_block(values, axis, block)
        count = -(-shape[axis] // block)
        assert integers.shape == shape
        assert scale.shape == (*shape[:axis], count, *shape[axis + 1 :])
        assert integers.min() >= weights.INT4_MIN
        assert integers.max() <= weights.INT4_MAX
        step = np.repeat(scale, block, axis=axis).take(range(shape[axis]), axis=axis)
        for start in range(0, shape[axis], block):
            part = [slice(None)] * len(shape)
            part[axis] = slice(start, start + block)
            chosen = values[tuple(part)]
            largest = np.abs(chosen).max(axis, keepdims=True) / weights.INT4_MAX
            plain = np.rint(chosen / largest) * largest
            error = ((integers * step - values)[tuple(part)] ** 2).sum(axis)
            assert (error <= ((plain - chosen) ** 2).sum(axis) * (1 + 1e-4) + 1e-9).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_zeros_and_tiny_weights_stay_finite(dtype: type) -> None:
    values = np.zeros((4, 40), dtype)
    values[1] = np.finfo(dtype).tiny
    values[2, 7] = 1
    for integers, scale in (weights.per_channel(values, 0), weights.per_block(values, 1, 32)):
        assert np.isfinite(scale).all()
        assert (scale > 0).all()
        assert (integers[0] == 0).all()
    assert weights.per_channel(values, 0)[0][2, 7] == weights.INT8_MAX


@pytest.mark.parametrize(("outputs", "inputs", "block"), [(3, 64, 32), (5, 33, 32), (1, 1, 16), (2, 50, 16)])
def test_nibbles_unpack_to_what_was_packed(outputs: int, inputs: int, block: int) -> None:
    integers = np.random.default_rng(0).integers(-8, 8, (outputs, inputs)).astype(np.int8)
    packed = weights.pack_nibbles(integers, block)
    count = -(-inputs // block)
    assert packed.shape == (outputs, count, block // 2)
    flat = packed.reshape(outputs, -1)
    unpacked = np.stack([flat & 15, flat >> 4], -1).reshape(outputs, -1).astype(int) - 8
    assert (unpacked[:, :inputs] == integers).all()
    assert (unpacked[:, inputs:] == 0).all()
