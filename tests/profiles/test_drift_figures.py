from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax
from scipy.stats import entropy

from edgekit.drift_types import Drift, Figure
from edgekit.feeds import Feeds
from edgekit.types import to_json
from profiles import drift_figures
from profiles.distributions import FLOOR
from profiles.metrics import drift

Floats = npt.NDArray[np.float64]
METRICS = ["max_abs", "mean_abs", "rmse", "sqnr", "psnr", "cosine", "kl", "relative"]


def compare(reference: Any, output: Any, places: Any = None) -> Drift:
    pair = Feeds({"y": np.asarray(reference)}), Feeds({"y": np.asarray(output)})
    return drift.compare(*pair, places=None if places is None else np.asarray(places))[0]


def figures(reference: Any, output: Any, places: Any = None) -> dict[str, Figure]:
    return {figure.metric: figure for figure in compare(reference, output, places).figures}


def rows(shape: tuple[int, ...]) -> Floats:
    random = np.random.default_rng(7)
    return np.asarray(softmax(random.normal(0, 3, shape), axis=-1))


def expected(reference: Floats, output: Floats, extent: float) -> dict[str, float]:
    """By the formulas, of any part of the data; ``extent`` is the range of the whole reference."""
    error = output - reference
    rmse = math.sqrt(np.mean(error**2))
    return {
        "max_abs": np.abs(error).max(),
        "mean_abs": np.abs(error).mean(),
        "rmse": rmse,
        "sqnr": 10 * math.log10(np.sum(reference**2) / np.sum(error**2)),
        "psnr": 20 * math.log10(extent / rmse),
        "cosine": np.sum(reference * output) / (np.linalg.norm(reference) * np.linalg.norm(output)),
        "relative": rmse / extent,
    }


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Outputs of any shape and size, and the same with noise in each sample."""
    shape = (draw(st.integers(1, 40)), *draw(st.lists(st.integers(1, 5), max_size=3)), draw(st.integers(2, 6)))
    values = st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
    reference = draw(arrays.arrays(np.float64, shape, elements=values))
    noise = draw(arrays.arrays(np.float64, shape, elements=st.floats(0.01, 1.0)))
    scale = draw(st.sampled_from([1e-3, 1.0, 100.0]))
    return reference, reference + scale * noise


@settings(deadline=None, max_examples=60)
@given(pairs(), st.sampled_from([1, 7, 1 << 15]))
def test_all_figures_by_their_formulas(pair: tuple[Floats, Floats], block: int) -> None:
    reference, output = pair
    extent = float(np.ptp(reference))
    if extent == 0:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "_BLOCK_ELEMENTS", block)
        found = figures(reference, output)
    assert list(found) == METRICS
    whole = expected(reference, output, extent)
    each = [expected(one, other, extent) for one, other in zip(reference, output, strict=True)]
    for metric, value in whole.items():
        figure, samples = found[metric], np.array([sample[metric] for sample in each])
        worst = samples.min() if figure.higher_is_better else samples.max()
        assert figure.value == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert figure.median == pytest.approx(np.median(samples), rel=1e-6, abs=1e-9)
        assert figure.worst == pytest.approx(worst, rel=1e-6, abs=1e-9)
        assert figure.worst_sample is not None
        assert samples[figure.worst_sample] == pytest.approx(worst, rel=1e-6, abs=1e-9)
        assert (figure.unavailable, figure.undefined) == ("", 0)


@pytest.mark.parametrize(("count", "better"), [(1, 1), (19, 19), (20, 19), (100, 95), (101, 96)])
@pytest.mark.parametrize("higher", [True, False])
def test_p95_is_a_sample_that_95_percent_are_no_worse_than(count: int, better: int, higher: bool) -> None:
    each = np.random.default_rng(count).permutation(count).astype(float)
    found = drift_figures.no_worse_than(each, higher)
    assert found in each
    assert int((each >= found).sum() if higher else (each <= found).sum()) == better


def test_p95_of_a_figure_looks_at_its_bad_end() -> None:
    reference = np.ones((100, 1, 2)) * [[[1.0, 2.0]]]
    error = np.arange(1, 101).reshape(-1, 1, 1) / 1000
    found = figures(reference, reference + error)
    assert found["max_abs"].p95 == pytest.approx(0.095)
    assert found["sqnr"].p95 == pytest.approx(10 * math.log10(2.5 / 0.095**2))
    assert (found["max_abs"].worst_sample, found["sqnr"].worst_sample) == (99, 99)


def test_the_worst_sample_has_its_place_in_the_data() -> None:
    reference = np.ones((3, 2))
    output = reference + np.array([[0.0, 0.0], [0.5, 0.0], [0.1, 0.0]])
    assert figures(reference, output)["rmse"].worst_sample == 1
    assert figures(reference, output, [70, 4, 12])["rmse"].worst_sample == 4
    places = np.array([5, 6, 7])
    own = drift.compare(Feeds({"y": reference}), Feeds({"y": output}, places=places))[0]
    assert {figure.worst_sample for figure in own.figures if figure.worst_sample is not None} == {6}


@pytest.mark.parametrize("shape", [(30, 1, 10), (30, 10), (6, 1, 4, 5, 3)])
def test_divergence_of_distributions(shape: tuple[int, ...]) -> None:
    reference = rows(shape).astype(np.float32)
    output = np.asarray(softmax(np.log(reference) + 0.3 * np.cos(np.arange(shape[-1])), axis=-1)).astype(np.float32)
    found = compare(reference, output)
    figure = found.figures[METRICS.index("kl")]
    each = entropy(reference.astype(float), output.astype(float), axis=-1).reshape(len(reference), -1)
    assert found.kind == "probabilities"
    assert (figure.unit, figure.higher_is_better) == ("nat", False)
    assert figure.value == pytest.approx(each.mean(), rel=1e-4)
    assert figure.worst == pytest.approx(each.mean(axis=1).max(), rel=1e-4)
    assert figure.worst_sample == each.mean(axis=1).argmax()


def test_divergence_of_eight_bits_from_floats() -> None:
    """Their rows sum to 1 within some 256ths, and small probabilities have become zeros."""
    output = np.round(rows((50, 1, 10)) * 256) / 256
    assert (output == 0).any()
    figure = figures(rows((50, 1, 10)), output)["kl"]
    clipped = np.maximum(output / output.sum(axis=-1, keepdims=True), FLOOR)
    reference = rows((50, 1, 10))
    assert figure.value == pytest.approx(np.mean(np.sum(reference * np.log(reference / clipped), axis=-1)), rel=1e-6)


@pytest.mark.parametrize(
    ("reference", "output", "kind", "why"),
    [
        (rows((4, 1, 3)), rows((4, 1, 3)) - 0.5, "probabilities", "the output is no probability distribution: its sm"),
        (rows((4, 1, 3)), rows((4, 1, 3)) * 2, "probabilities", "its rows sum to 2 at least and 2 at most"),
        (rows((4, 1, 3)) * 2, rows((4, 1, 3)), "scores", "the reference is no probability distribution"),
        (np.ones((4, 1, 1)), np.ones((4, 1, 1)), "values", "the reference is no probability distribution"),
        (np.eye(4, dtype=int), np.eye(4, dtype=int), "whole numbers", "the reference is no probability distribution"),
    ],
)
def test_divergence_of_what_is_no_distribution(reference: Any, output: Any, kind: str, why: str) -> None:
    found = compare(reference, output)
    figure = found.figures[METRICS.index("kl")]
    assert found.kind == kind
    assert (figure.value, figure.worst) == (None, None)
    assert why in figure.unavailable


def test_one_bad_row_far_down_ends_a_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_BLOCK_ELEMENTS", 30)
    output = rows((40, 1, 10)).copy()
    output[-1, 0, 0] = -0.2
    assert "its smallest value is -0.2" in figures(rows((40, 1, 10)), output)["kl"].unavailable


def test_identical_outputs_have_no_ratio_to_their_error() -> None:
    found = figures([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]])
    assert (found["rmse"].value, found["relative"].value, found["max_abs"].worst) == (0.0, 0.0, 0.0)
    for metric in ("sqnr", "psnr"):
        assert (found[metric].value, found[metric].worst) == (None, None)
        assert found[metric].unavailable == drift_figures.IDENTICAL
    assert {figure.worst_sample for figure in found.values()} == {None}


def test_a_sample_that_is_identical_is_the_best_one() -> None:
    """Infinitely good, which JSON has no number for."""
    found = compare([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    sqnr = found.figures[METRICS.index("sqnr")]
    assert (sqnr.median, sqnr.worst_sample) == (None, 2)
    assert sqnr.worst == sqnr.p95 == pytest.approx(10 * math.log10(61))
    json.dumps(to_json(found), allow_nan=False)


def test_samples_of_zeros_have_no_ratio_to_their_signal() -> None:
    found = figures([[0.0, 0.0], [3.0, 4.0]], [[0.1, 0.0], [3.0, 5.0]])
    assert (found["sqnr"].undefined, found["cosine"].undefined, found["rmse"].undefined) == (1, 1, 0)
    assert found["sqnr"].worst_sample == 1
    assert figures([[0.0, 0.0]], [[0.1, 0.0]])["sqnr"].unavailable == "the reference is zero everywhere"
    constant = figures([[2.0, 2.0]], [[2.0, 2.1]])
    assert constant["psnr"].unavailable == constant["relative"].unavailable
    assert "the reference is constant" in constant["psnr"].unavailable


def test_figures_are_those_of_the_values_that_are_finite() -> None:
    reference = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    output = reference + 0.5
    output[1, 1], output[2] = np.nan, np.inf
    reference[0, 2] = output[0, 2] = -np.inf  # a mask
    found = compare(reference, output, [10, 20, 30])
    assert found.finding == "4 of 9 values are not finite, in one of the two, first in sample 20"
    by_name = {figure.metric: figure for figure in found.figures}
    assert by_name["mean_abs"].value == by_name["rmse"].value == by_name["max_abs"].value == 0.5
    assert by_name["sqnr"].value == pytest.approx(10 * math.log10((1 + 4 + 16 + 36) / (4 * 0.25)))
    assert by_name["relative"].value == pytest.approx(0.5 / (6 - 1))
    assert by_name["rmse"].undefined == 1
    nothing = compare([[1.0, 2.0]], [[np.nan, np.nan]])
    assert {figure.unavailable for figure in nothing.figures} == {"no value is finite in both"}
    json.dumps(to_json(found), allow_nan=False)


def test_large_values_do_not_become_infinite() -> None:
    found = figures(np.full((2, 3), 3e38, np.float32), np.full((2, 3), -3e38, np.float32))
    assert found["max_abs"].value == pytest.approx(6e38)
    assert found["cosine"].value == pytest.approx(-1.0)


def test_whole_numbers_have_figures_too() -> None:
    found = compare(np.array([[250, 3]], np.uint8), np.array([[1, 3]], np.uint8))
    assert (found.kind, found.max_abs, found.top1_agreement) == ("whole numbers", 249.0, 0.5)


def two(a: Any, b: Any, names: tuple[str, str] = ("a", "b")) -> Feeds:
    return Feeds(dict(zip(names, (np.asarray(a), np.asarray(b)), strict=True)))


def normal(*shape: int) -> Floats:
    return np.random.default_rng(math.prod(shape)).normal(size=shape)


@pytest.mark.parametrize("names", [("a", "b"), ("first", "second")])
def test_swapped_outputs_are_named(names: tuple[str, str]) -> None:
    a, b = normal(200, 1, 4), normal(201, 1, 4)[:200]
    reference, outputs = two(a, b), two(b + 1e-4, a + 1e-4, names)
    sentences = drift.findings(reference, outputs)
    assert len(sentences) == 1
    assert f"outputs {names[0]!r} and {names[1]!r} look swapped" in sentences[0]
    assert "the first agrees with 'b' of the reference (80." in sentences[0]
    assert [item.finding for item in drift.compare(reference, outputs)] == [sentences[0]] * 2


def test_swapped_outputs_of_other_shapes_are_named() -> None:
    a, b = normal(20, 1, 4), normal(20, 1, 7)
    sentences = drift.findings(two(a, b), two(b, a))
    assert len(sentences) == 3
    assert sentences[0] == "output 'a': shape [1, 7], the reference has [1, 4]"
    assert "look swapped" in sentences[1]
    assert "(exactly)" in sentences[1]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (normal(30, 1, 4), normal(31, 1, 4)[:30]),  # both are noise
        (normal(30, 1, 4) + 100, normal(30, 1, 4) + 101),  # the reference's two are nearly the same
        (np.zeros((30, 1, 4)), np.zeros((30, 1, 4))),
    ],
)
def test_outputs_that_are_wrong_are_not_called_swapped(a: Floats, b: Floats) -> None:
    reference = two(normal(32, 1, 4)[:30] + 100, normal(32, 1, 4)[:30] + 100.001)
    assert not [said for said in drift.findings(reference, two(a, b)) if "swapped" in said]


def test_what_is_swapped_for_a_while_only_is_not_swapped() -> None:
    a, b = normal(300, 1, 4), normal(301, 1, 4)[:300]
    later = slice(100, None)
    one, other = b.copy(), a.copy()
    one[later], other[later] = -a[later], -b[later]
    assert not [said for said in drift.findings(two(a, b), two(one, other)) if "swapped" in said]


def test_outputs_are_not_swapped_where_they_are_right() -> None:
    a, b = normal(30, 1, 4), normal(31, 1, 4)[:30]
    assert drift.findings(two(a, b), two(a + 1e-3, b + 1e-3)) == []


def test_constant_outputs_are_named_where_the_reference_is_not() -> None:
    a, b = normal(30, 1, 4), np.full((30, 1, 4), 3.0)
    assert drift.findings(two(a, b), two(np.full_like(a, 0.25), b)) == [
        "output 'a': constant, the same for all 30 samples; the reference is not"
    ]
    assert drift.findings(Feeds({"y": a[:1]}), Feeds({"x": np.full((1, 1, 4), 0.25)})) == [
        "output 'y': constant, one value all over; the reference is not"
    ]


def test_values_that_are_not_finite_are_named() -> None:
    a = normal(30, 1, 4)
    broken = a.copy()
    broken[7, 0, 2] = np.inf
    assert drift.findings(Feeds({"scores": a}), Feeds({"scores": broken})) == [
        "output 'scores': 1 of 120 values are not finite, in one of the two, first in sample 7"
    ]


@pytest.mark.parametrize("count", [300, 3000])
def test_memory_does_not_follow_the_number_of_samples(count: int, tmp_path: Any) -> None:
    """Arrays of 6 and 60 MB on disk, gone through in less than three; each sample may leave some numbers."""
    shape = (count, 1, 5000)
    stored = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.float32, shape=shape)
    stored[:, 0, 0] = 1.0
    given = Feeds({"y": np.load(tmp_path / "a.npy", mmap_mode="r")})
    tracemalloc.start()
    drift.compare(given, given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000 + 200 * count
