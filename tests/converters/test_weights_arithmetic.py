"""Properties of the arithmetic that turns weights into 8 and 4 bits, over shapes, groups, strides and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converters.onnx import _weights as arithmetic

LEAST = float(np.finfo(np.float32).tiny)


@st.composite
def tensors(draw: st.DrawFn, shape: Any = None) -> Any:
    """Finite weights of any dtype and memory layout; of float64 what float32 can hold."""
    dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64"])))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=7)) if shape is None else shape
    if draw(st.booleans()):
        element = st.floats(width=min(32, dtype.itemsize * 8), allow_nan=False, allow_infinity=False)
        array = draw(hnp.arrays(dtype, shape, elements=element))
    else:
        generator = np.random.default_rng(draw(st.integers(0, 99)))
        spread = np.exp(generator.standard_normal(shape[:1] + (1,) * (len(shape) - 1)))  # channels differ
        array = (generator.standard_normal(shape) * spread * draw(st.sampled_from([1e-3, 1.0, 30.0]))).astype(dtype)
    layout = draw(st.sampled_from(["C", "F", "every other", "backwards"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "every other":
        wider = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), dtype)
        wider[..., ::2] = array
        return wider[..., ::2]
    return array[::-1] if layout == "backwards" else array


def one_channel(values: Any) -> tuple[Any, float]:
    """Eight symmetric bits for the values of one channel, the plain way."""
    wide = np.asarray(values, np.float64)
    largest = np.abs(wide).max()
    scale = np.float32(max(largest / 127, LEAST)) if largest else np.float32(1)
    return np.clip(np.rint(wide / np.float64(scale)), -127, 127), float(scale)


@given(tensors(), st.data())
def test_each_channel_is_quantized_on_its_own(weights: Any, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-weights.ndim, weights.ndim - 1))
    before = weights.copy()
    integers, scales = arithmetic.per_channel(weights, axis)
    assert (integers.dtype, scales.dtype) == (np.int8, np.float32)
    assert (integers.shape, scales.shape) == (weights.shape, (weights.shape[axis],))
    for channel, scale in enumerate(scales):
        expected, expected_scale = one_channel(weights.take(channel, axis))
        assert scale == np.float32(expected_scale)
        assert np.array_equal(integers.take(channel, axis), expected)
    assert np.array_equal(weights, before)


@given(tensors(), st.data())
def test_a_weight_is_off_by_half_a_scale_at_most(weights: Any, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, weights.ndim - 1))
    integers, scales = arithmetic.per_channel(weights, axis)
    assert (scales >= LEAST).all()
    assert np.isfinite(scales).all()
    wide = scales.astype(np.float64).reshape([-1 if index == axis else 1 for index in range(weights.ndim)])
    error = np.abs(integers * wide - weights.astype(np.float64))
    # The scale itself is rounded to float32, which 127 steps add up.
    assert (error <= wide * (0.5 + 127 * 2**-24)).all()
    assert not integers[weights == 0].any()


@given(tensors(), st.data(), st.integers(1, 9))
def test_scaling_by_a_power_of_two_changes_scales_alone(weights: Any, data: st.DataObject, power: int) -> None:
    wide = weights.astype(np.float64)
    largest = np.abs(wide).max()
    assume(largest == 0 or (largest < 1e25 and np.abs(wide[wide != 0]).min() > 1e-25))
    axis = data.draw(st.integers(0, weights.ndim - 1))
    integers, scales = arithmetic.per_channel(wide, axis)
    larger, larger_scales = arithmetic.per_channel(wide * 2.0**power, axis)
    assert np.array_equal(integers, larger)
    zero = np.abs(wide).max(axis=tuple(index for index in range(wide.ndim) if index != axis), initial=0) == 0
    assert np.array_equal(np.where(zero, 1, scales * np.float32(2.0**power)), larger_scales)


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.sampled_from([(1,), (3,), (2, 2), (3, 1)]), st.data()
)
def test_groups_of_a_transposed_convolution(
    groups: int, per_group: int, outputs: int, kernel: tuple[int, ...], data: st.DataObject
) -> None:
    inputs = groups * per_group
    weights = data.draw(tensors((inputs, outputs, *kernel)))
    integers, scales = arithmetic.per_group_channel(weights, groups)
    assert integers.shape == weights.shape
    assert scales.shape == ((1, outputs) if groups == 1 else (inputs, outputs))
    spread = np.broadcast_to(scales, (inputs, outputs))
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        for output in range(outputs):
            expected, scale = one_channel(weights[rows, output])
            assert np.array_equal(integers[rows, output], expected)
            assert (spread[rows, output] == np.float32(scale)).all()


def plain_block(values: Any) -> float:
    """Squared error of four bits with the scale that reaches the largest magnitude with 7."""
    largest = np.abs(values).max()
    scale = np.float64(np.float32(max(largest / 7, LEAST))) if largest else 1.0
    return float(((np.clip(np.rint(values / scale), -8, 7) * scale - values) ** 2).sum())


@settings(max_examples=60)
@given(tensors(), st.data(), st.sampled_from([1, 2, 4, 5, 16, 32]))
def test_blocks_have_scales_of_their_own(weights: Any, data: st.DataObject, block: int) -> None:
    axis = data.draw(st.integers(-weights.ndim, weights.ndim - 1))
    integers, scales = arithmetic.per_block(weights, axis, block)
    size = weights.shape[axis]
    count = -(-size // block)
    expected = list(weights.shape)
    expected[axis] = count
    assert (integers.dtype, scales.dtype) == (np.int8, np.float32)
    assert (integers.shape, list(scales.shape)) == (weights.shape, expected)
    assert integers.min() >= -8
    assert integers.max() <= 7
    assert (scales >= LEAST).all()
    wide, found, steps = (
        np.moveaxis(item, axis, -1).astype(np.float64).reshape(-1, item.shape[axis])
        for item in (weights, integers, scales)
    )
    for row, row_found, row_steps in zip(wide, found, steps, strict=True):
        for index in range(count):
            part = slice(index * block, (index + 1) * block)
            error = ((row_found[part] * row_steps[index] - row[part]) ** 2).sum()
            assert error <= plain_block(row[part]) * (1 + 1e-12)
            # Alone, a block gets the same.
            alone, (scale,) = arithmetic.per_block(row[part], 0, block)
            assert np.array_equal(alone, row_found[part])
            assert scale == np.float32(row_steps[index])


@given(st.integers(1, 5), st.integers(1, 40), st.sampled_from([2, 16, 32]), st.integers(0, 99))
def test_packed_nibbles_come_apart_again(outputs: int, inputs: int, block: int, seed: int) -> None:
    integers = np.random.default_rng(seed).integers(-8, 8, (outputs, inputs)).astype(np.int8)
    packed = arithmetic.pack_nibbles(integers, block)
    count = -(-inputs // block)
    assert (packed.shape, packed.dtype) == ((outputs, count, block // 2), np.uint8)
    apart = np.stack([packed & 15, packed >> 4], -1).reshape(outputs, count * block).astype(int) - 8
    assert np.array_equal(apart[:, :inputs], integers)
    assert not apart[:, inputs:].any()


@pytest.mark.parametrize("shape", [(3, 0), (0, 3)])
def test_weights_without_elements(shape: tuple[int, int]) -> None:
    integers, scales = arithmetic.per_channel(np.zeros(shape, np.float32), 0)
    assert integers.shape == shape
    assert (scales == 1).all()
