"""Properties of the statistics that calibration keeps of a tensor."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converters.calibration.ranges import Collector
from converters.calibration.statistics import BINS, KEPT_VALUES, TensorStatistics

FLOATS = st.sampled_from(["float16", "float32", "float64"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)


@st.composite
def tensors(draw: st.DrawFn, finite: bool = True) -> Any:
    """Any float tensor; of float64 only what float32 can hold."""
    dtype = np.dtype(draw(FLOATS))
    width = min(32, dtype.itemsize * 8)
    element = st.floats(width=width, allow_nan=not finite, allow_infinity=not finite)
    return draw(hnp.arrays(dtype, SHAPES, elements=element))


def taken_in(*arrays: Any) -> TensorStatistics:
    statistics = TensorStatistics()
    for array in arrays:
        statistics.add(array)
    return statistics


def exact_part(statistics: TensorStatistics) -> Any:
    """What may not depend on the order of the samples."""
    numbers = (statistics.count, statistics.zeros, statistics.not_finite, statistics.low, statistics.high)
    return *numbers, statistics.limit, statistics.histogram.tolist()


@given(st.lists(tensors(finite=False), max_size=5), st.randoms(use_true_random=False))
def test_any_order_and_any_splitting_give_the_same(arrays: list[Any], random: Any) -> None:
    together = np.concatenate([np.zeros(0, np.float32), *(array.ravel().astype(np.float32) for array in arrays)])
    shuffled = random.sample(arrays, len(arrays))
    pieces = np.split(together, sorted(random.randrange(len(together) + 1) for _ in range(3)))
    expected = exact_part(taken_in(together))
    assert exact_part(taken_in(*arrays)) == expected
    assert exact_part(taken_in(*shuffled)) == expected
    assert exact_part(taken_in(*reversed(pieces))) == expected


@given(st.lists(tensors(), max_size=4))
def test_extremes_and_sums_are_those_of_numpy(arrays: list[Any]) -> None:
    statistics = taken_in(*arrays)
    values = np.concatenate([np.zeros(0), *(array.astype(np.float32).astype(np.float64).ravel() for array in arrays)])
    assert statistics.count == values.size
    assert statistics.zeros == (values == 0).sum()
    assert statistics.zeros + statistics.histogram.sum() == values.size
    assert (statistics.histogram >= 0).all()
    assert statistics.total == pytest.approx(values.sum(), abs=1e-9 * np.abs(values).sum())
    assert statistics.squares == pytest.approx((values**2).sum())
    if values.size:
        assert (statistics.low, statistics.high) == (values.min(), values.max())


@given(tensors())
def test_each_value_lies_in_its_bin(array: Any) -> None:
    statistics = taken_in(array)
    values = array.astype(np.float32).astype(np.float64).ravel()
    values = values[values != 0]
    if not values.size:
        assert statistics.limit == 0
        return
    assert statistics.limit / 2 <= np.abs(values).max() < statistics.limit
    edges = np.append(statistics.centres - statistics.limit / BINS, statistics.limit)
    expected = np.bincount(np.searchsorted(edges, values, side="right") - 1, minlength=BINS)
    assert statistics.histogram.tolist() == expected.tolist()


@given(tensors(finite=False))
def test_what_is_not_finite_is_counted_and_ignored(array: Any) -> None:
    statistics = taken_in(array)
    finite = array[np.isfinite(array)]
    assert statistics.not_finite == array.size - finite.size
    assert exact_part(statistics)[3:] == exact_part(taken_in(finite))[3:]
    assert np.isfinite([statistics.total, statistics.squares]).all()


def test_float64_that_float32_cannot_hold_is_not_finite() -> None:
    statistics = taken_in(np.array([1e300, -1e300, 2.0]))
    assert (statistics.count, statistics.not_finite, statistics.high) == (1, 2, 2.0)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3)])
def test_empty_and_zero_tensors(shape: tuple[int, ...]) -> None:
    statistics = taken_in(np.zeros(shape, np.float32), np.zeros(0, np.float16))
    assert (statistics.low, statistics.high, statistics.limit, statistics.squares) == (0, 0, 0, 0)
    assert statistics.count == statistics.zeros == np.prod(shape)


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(0, 2 * KEPT_VALUES), st.integers(0, 9))
def test_the_kept_values_were_there(samples: int, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    arrays = [generator.standard_normal(size).astype(np.float32) for _ in range(samples)]
    kept = taken_in(*arrays).kept
    assert len(kept) <= min(KEPT_VALUES, samples * size)
    assert np.isin(kept, np.concatenate(arrays)).all()
    assert bool(len(kept)) == bool(size)


def test_the_kept_values_are_a_uniform_sample() -> None:
    statistics = taken_in(*(np.full(1000, index, np.float32) for index in range(100)))
    shares = np.bincount(statistics.kept.astype(int), minlength=100) / KEPT_VALUES
    # Hypergeometric: a share of 1 % of 16384 has a deviation of 0.08 %.
    assert np.abs(shares - 0.01).max() < 0.004


def test_memory_does_not_grow_with_the_samples() -> None:
    generator = np.random.default_rng(0)
    collector = Collector()
    sample = generator.standard_normal((64, 56, 56)).astype(np.float32)
    collector.add("warm", sample)
    tracemalloc.start()
    held = []
    for _ in range(2):
        for index in range(40):
            collector.add("x", sample * index)
        held.append(tracemalloc.get_traced_memory()[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held[1] - held[0] < 20_000
    assert peak < 4 * sample.nbytes


def test_the_collector_leaves_integers_out() -> None:
    collector = Collector()
    collector.add("ids", np.arange(3))
    collector.add("x", np.ones(3, np.float16))
    assert set(collector.tensors) == {"x"}
