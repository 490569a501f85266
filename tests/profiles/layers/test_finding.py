"""The first layer that collapses, those that lose most, and what keeps them float."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from profiles.layers.figures import Running
from profiles.layers.finding import COLLAPSE_DB, LEAST_DB, QUANTIZED_DB, Judgement, judged, paths_of, pattern
from profiles.layers.taps import Tapped

sys.path.insert(0, str(Path(__file__).parent))
from made_up import chain, tap


def at(sqnr_db: float, steady: float = 0.0, level: float = 0.0) -> Running:
    """Figures of 16 samples with that SQNR, and with that share of noise and reference the same for all."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(16, 400)) * math.sqrt(1 - level) + rng.normal(size=400) * math.sqrt(level)
    noise = rng.normal(size=(16, 400)) * math.sqrt(1 - steady) + rng.normal(size=400) * math.sqrt(steady)
    noise *= math.sqrt((reference**2).sum() / (noise**2).sum() / 10 ** (sqnr_db / 10))
    running = Running()
    for one, other in zip(reference, reference + noise, strict=True):
        running.add(one, other)
    return running


def first(file: Sequence[Tapped], figures: dict[str, Running], quantized: bool = True) -> str | None:
    judgements = judged(file, figures, quantized)
    return next((tap.tensor for tap in file if tap.tensor in judgements and judgements[tap.tensor].collapses), None)


def test_noise_that_adds_up_is_no_collapse() -> None:
    file = chain(*["conv"] * 8)
    figures = {f"t{place}": at(38 - 3 * place) for place in range(8)}
    assert first(file, figures) is None
    found = judged(file, figures, True)
    assert found["t5"].lost_db == pytest.approx(3, abs=0.1)
    assert found["t0"].lost_db == 0  # better than anybody can expect of 8 bits


def test_the_first_collapse_is_named_and_not_what_follows() -> None:
    file = chain(*["conv"] * 5)
    figures = {name: at(db) for name, db in zip(("t0", "t1", "t2", "t3", "t4"), (38, 36, 12, 11, 11), strict=True)}
    assert first(file, figures) == "t2"
    assert not judged(file, figures, True)["t3"].collapses


def test_a_layer_is_judged_by_the_worst_of_its_inputs() -> None:
    file = [tap("good", "conv", ["input"]), tap("bad", "conv", ["input"]), tap("sum", "add", ["good", "bad"])]
    figures = {"good": at(36), "bad": at(5), "sum": at(4)}
    assert first(file, figures) == "bad"
    assert judged(file, figures, True)["sum"].lost_db == pytest.approx(1, abs=0.1)


def test_what_has_no_partner_is_looked_through() -> None:
    file = chain("conv", "quantize", "conv")
    figures = {"t0": at(30), "t2": at(29)}
    assert first(file, figures) is None
    assert judged(file, figures, True)["t2"].lost_db == pytest.approx(1, abs=0.1)


def test_float_files_are_held_to_more() -> None:
    file = chain("conv", "conv")
    figures = {"t0": at(130), "t1": at(QUANTIZED_DB - COLLAPSE_DB + 3)}
    assert first(file, figures, quantized=True) is None
    assert first(file, figures, quantized=False) == "t1"


def test_values_that_are_not_finite_are_a_collapse() -> None:
    file = chain("conv", "conv")
    broken = at(30)
    broken.not_finite = 1
    found = judged(file, {"t0": broken, "t1": at(20)}, True)
    assert found["t0"] == Judgement(QUANTIZED_DB - LEAST_DB, False, True)
    assert not found["t1"].collapses


def test_a_lost_bias_is_told_by_its_steady_error() -> None:
    """It costs no more than healthy layers lose."""
    file = chain("conv", "linear")
    assert first(file, {"t0": at(32, 0.05), "t1": at(26, 0.05)}) is None
    assert first(file, {"t0": at(32, 0.05), "t1": at(26, 0.6)}) == "t1"


def test_steady_error_says_nothing_where_the_samples_hardly_differ() -> None:
    file = chain("conv", "linear")
    assert first(file, {"t0": at(32, 0.05), "t1": at(26, 0.6, level=0.9)}) is None


def test_steady_error_that_came_in_is_no_fault_of_the_layer() -> None:
    file = chain("conv", "linear")
    assert first(file, {"t0": at(31, 0.6), "t1": at(26, 0.6)}) is None


def test_what_only_softmax_reads_is_judged_by_what_that_makes_of_it() -> None:
    """Quantizers give values far below the largest no levels: softmax makes 0 of them all."""
    file = chain("conv", "linear", "softmax")
    assert first(file, {"t0": at(34), "t1": at(3), "t2": at(34)}) is None
    assert first(file, {"t0": at(34), "t1": at(3), "t2": at(8)}) == "t1"
    assert first(chain("conv", "linear", "add"), {"t0": at(34), "t1": at(3), "t2": at(34)}) == "t1"


def test_exclude_names_the_module_that_fewest_layers_have() -> None:
    file = [tap("a", "CONV_2D", module="act+conv1"), tap("b", "CONV_2D", module="act+conv2")]
    assert [pattern(item, item, paths_of(file)) for item in file] == ["conv1", "conv2"]


def test_exclude_prefers_the_layer_to_what_was_fused_into_it() -> None:
    item = tap("a", "CONV_2D", module="activation_1+batch_norm_1+conv2d_1")
    assert pattern(item, item, paths_of([item])) == "conv2d_1"


def test_exclude_falls_back_to_the_float_file_and_to_the_kind() -> None:
    nameless = tap("a", "xnnpack::Conv2d")
    assert pattern(nameless, tap("b", "Conv2d", module="features.0"), {}) == "features.0"
    assert pattern(nameless, nameless, {}) == "conv"
    assert pattern(tap("a", "xnnpack::Convert"), tap("b", "xnnpack::Convert"), {}) == ""


def test_exclude_is_a_pattern() -> None:
    item = tap("a", "CONV_2D", module="blocks[0]")
    assert pattern(item, item, paths_of([item])) == "blocks[[]0]"
