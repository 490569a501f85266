"""Properties of the ranges that calibration chooses, and of the file it leaves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converters.calibration import methods, ranges
from converters.calibration.ranges import Collector
from converters.calibration.relevance import before_softmax, softmax_reach
from converters.calibration.statistics import BINS, TensorStatistics
from edgekit.errors import ConversionError, UsageError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=8)
MAGNITUDES = st.sampled_from([1e-30, 1e-6, 1.0, 300.0, 1e30])


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Edge cases, and distributions such as layers have: normal, ReLU, heavy tails, one outlier, constant."""
    if draw(st.booleans()):
        dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64"])))
        element = st.floats(width=min(32, dtype.itemsize * 8), allow_nan=False, allow_infinity=False)
        return draw(hnp.arrays(dtype, SHAPES, elements=element))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    values = generator.standard_normal(draw(st.integers(1, 3000)))
    kind = draw(st.sampled_from(["normal", "relu", "cubed", "outlier", "negative", "constant"]))
    if kind == "relu":
        values = np.maximum(values, 0)
    elif kind == "cubed":
        values = values**3
    elif kind == "outlier":
        values[0] = 60
    elif kind == "negative":
        values = -np.abs(values) - 1
    elif kind == "constant":
        values[:] = values[0]
    return (values * draw(MAGNITUDES)).astype(np.float32)


def statistics_of(array: Any) -> TensorStatistics:
    statistics = TensorStatistics()
    statistics.add(array)
    return statistics


def quantized(values: Any, given_range: tuple[float, float], levels: int) -> Any:
    """Quantize and dequantize, the plain way."""
    low, high = given_range
    if high <= low:
        return np.zeros_like(values)
    step = (high - low) / levels
    zero = round(-low / step)
    return (np.clip(np.rint(values / step) + zero, 0, levels) - zero) * step


@settings(max_examples=60)
@given(tensors())
def test_ranges_hold_zero_and_lie_within_the_extremes(array: Any) -> None:
    statistics = statistics_of(array)
    for low, high in methods.ranges(statistics).values():
        assert min(statistics.low, 0) <= low <= 0 <= high <= max(statistics.high, 0)
        assert np.isfinite([low, high]).all()
        assert low < high or statistics.limit == 0


@given(tensors())
def test_minmax_is_that_of_numpy(array: Any) -> None:
    values = array.astype(np.float32).ravel()
    expected = (min(0.0, float(values.min())), max(0.0, float(values.max()))) if values.size else (0.0, 0.0)
    assert methods.minmax(statistics_of(array)) == expected


@settings(max_examples=60)
@given(tensors())
def test_mse_and_auto_are_never_worse_than_minmax(array: Any) -> None:
    statistics = statistics_of(array)
    found = methods.ranges(statistics)
    errors = {name: methods.error(item, statistics) for name, item in found.items()}
    assert errors["mse"] <= errors["minmax"]
    assert errors[methods.best(found, statistics)] <= errors["minmax"]


@given(tensors(), st.lists(st.floats(50.001, 100), min_size=2, max_size=5))
def test_percentile_is_monotone_and_ends_with_the_extremes(array: Any, percentiles: list[float]) -> None:
    statistics = statistics_of(array)
    found = [methods.by_percentile(statistics, percentile) for percentile in sorted(percentiles)]
    for (low, high), (wider_low, wider_high) in itertools.pairwise(found):
        assert wider_low <= low
        assert high <= wider_high
    assert methods.by_percentile(statistics, 100) == methods.minmax(statistics)


@settings(max_examples=50)
@given(st.integers(1, 5000), st.floats(50.1, 99.9), st.integers(0, 99))
def test_percentile_is_that_of_numpy_within_a_bin(size: int, percentile: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    statistics = statistics_of(values)
    low, high = methods.by_percentile(statistics, percentile)
    width = 2 * statistics.limit / BINS

    def between(found: float, share: float, clip: Callable[[float, float], float]) -> bool:
        # On the edge of two values, rounding of the share decides between them.
        ends = [clip(0, np.quantile(values, share + by, method="inverted_cdf")) for by in (-1e-9, 1e-9)]
        return bool(ends[0] - width <= found <= ends[1] + width)

    assert between(high, percentile / 100, max)
    assert between(low, 1 - percentile / 100, min)


@settings(max_examples=100)
@given(tensors(), st.floats(0.05, 1), st.floats(0.05, 1), st.sampled_from([15, 255, 65535]))
def test_the_error_is_that_of_quantizing(array: Any, lower: float, upper: float, levels: int) -> None:
    values = array.astype(np.float32).astype(np.float64).ravel()
    statistics = statistics_of(array)
    low, high = methods.minmax(statistics)
    chosen = (low * lower, high * upper)
    if values.size > 1024:  # then rounding is measured on a part
        values = statistics.kept.astype(np.float64)
        statistics = statistics_of(np.zeros(0))
        for part in np.array_split(values, 4):
            statistics.add(part)
    expected = float(((quantized(values, chosen, levels) - values) ** 2).mean()) if values.size else 0.0
    # A clipped value is known to half a bin: its part of the error is (distance +- bin / 2) squared.
    bin_width = 2 * statistics.limit / BINS
    tolerance = bin_width * expected**0.5 + bin_width**2 / 4 + 1e-9 * expected
    assert abs(methods.error(chosen, statistics, levels) - expected) <= tolerance


@pytest.mark.parametrize("least", [-np.inf, 0.0])
def test_entropy_cuts_an_outlier_off(least: float) -> None:
    values = np.maximum(np.random.default_rng(0).standard_normal(100_000).astype(np.float32), least)
    low, high = methods.by_entropy(statistics_of(np.append(values, [40.0])))
    assert max(least, -5) <= low <= 0
    assert 2 < high < 10


@pytest.mark.parametrize("text", ["percentile:50", "percentile:101", "percentile:x", "minmax:3", "median", "", ":"])
def test_methods_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError):
        methods.parse(text)


def test_methods_that_do() -> None:
    assert methods.parse("percentile:99.9") == ("percentile", 99.9)
    assert {methods.parse(name)[0] for name in methods.METHODS} == set(methods.METHODS)


names = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())


@settings(max_examples=30)
@given(arrays=st.dictionaries(names, tensors(), max_size=4), percentile=st.floats(60, 100))
def test_a_ranges_file_comes_back_as_it_was(
    arrays: dict[str, Any], percentile: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    collector = Collector()
    for name, array in arrays.items():
        collector.add(name, array)
    made = collector.finish("TFLite", 3, "3 samples of x.npz", percentile)
    path = tmp_path_factory.mktemp("ranges") / "r.json"
    ranges.write(path, made)
    back = ranges.read(path)
    assert ranges.read(path) == back
    assert set(back.tensors) == set(arrays)
    for method in methods.METHODS:
        assert {name: tuple(item) for name, item in back.chosen(method).items()} == made.chosen(method)
        assert back.chosen(method, bits=16) == back.chosen("minmax")


def collected() -> ranges.Ranges:
    collector = Collector()
    collector.add("x", np.arange(5, dtype=np.float32))
    return collector.finish("ONNX", 1, "somewhere", 99.99)


def damaged(change: str) -> str:
    """A ranges file after an accident or an edit."""
    content = json.loads(json.dumps(_written()))
    tensor = content["tensors"]["x"]
    if change == "version":
        content["version"] = 99
    elif change == "format":
        content["format"] = "something else"
    elif change == "no tensors' methods":
        del tensor["methods"]
    elif change == "method missing":
        del tensor["methods"]["mse"]
    elif change == "auto unknown":
        tensor["auto"] = "median"
    elif change == "range of one":
        tensor["methods"]["minmax"] = [0.0]
    elif change == "range of words":
        tensor["methods"]["minmax"] = ["low", "high"]
    elif change == "range upside down":
        tensor["methods"]["minmax"] = [1.0, -1.0]
    elif change == "range not finite":
        tensor["methods"]["minmax"] = [0.0, float("nan")]
    elif change == "a list":
        return json.dumps([content])
    elif change == "cut short":
        return json.dumps(content)[:-30]
    elif change == "empty":
        return ""
    return json.dumps(content)


def _written() -> Any:
    from edgekit.types import to_json

    return {"format": ranges.FORMAT, "version": ranges.VERSION, **to_json(collected())}


CHANGES = [
    "version", "format", "no tensors' methods", "method missing", "auto unknown", "range of one", "range of words",
    "range upside down", "range not finite", "a list", "cut short", "empty",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_ranges_file_is_refused_by_name(change: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(damaged(change))
    with pytest.raises(ConversionError, match=r"ranges\.json"):
        ranges.read(path)


def test_an_undamaged_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(damaged(""))
    assert ranges.read(path).chosen("minmax") == {"x": (0.0, 4.0)}


def test_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(ConversionError):
        ranges.read(tmp_path / "none.json")
    with pytest.raises(UsageError):
        ranges.needed(None, "int8")


def test_logits_out_of_softmax_reach_take_no_room() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (50, 10)).astype(np.float32)
    logits[:, 0] = -500
    plain, aware = Collector(), Collector({"logits": -1})
    for row in logits:
        plain.add("logits", row[None])
        aware.add("logits", row[None])
    (low, _), (lifted, high) = (
        item.finish("form", 50, "", 99.9).tensors["logits"].methods["minmax"] for item in (plain, aware)
    )
    assert low == -500
    assert lifted > -softmax_reach(10) - 3 * 5
    assert high == logits.max()
    clipped = np.maximum(logits, lifted)
    before, after = (np.exp(item - item.max(1, keepdims=True)) for item in (logits, clipped))
    assert np.abs(before / before.sum(1, keepdims=True) - after / after.sum(1, keepdims=True)).max() < 2**-9


def test_infinite_logits_are_left_to_the_rules_of_masks() -> None:
    values = np.array([[-np.inf, 1.0, np.inf], [-np.inf, -np.inf, -np.inf]], np.float32)
    assert np.array_equal(before_softmax(values, -1), values)
