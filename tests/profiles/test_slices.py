"""Mixed ranges in one output: what is a finding, and what only looks like one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from profiles.metrics.slices import find, finding, outshone

Array = npt.NDArray[Any]
RANDOM = np.random.default_rng(5)


def rounded(array: Array, levels: int = 255) -> Array:
    """As a static per-tensor quantizer would write it."""
    low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
    step = (high - low) / levels
    return (np.round(array / step) * step).astype(np.float32)


def head(samples: int = 12, anchors: int = 60, classes: int = 8, box: float = 640.0) -> Array:
    """Boxes and scores as ``(samples, 1, 4 + classes, anchors)``."""
    boxes = RANDOM.uniform(0, box, (samples, 1, 4, anchors))
    scores = RANDOM.beta(0.3, 3, (samples, 1, classes, anchors))
    return np.concatenate([boxes, scores], 2).astype(np.float32)


def test_boxes_and_scores_in_one_tensor() -> None:
    reference = head()
    noise = rounded(reference) - reference
    assert 10 * np.log10((reference**2).sum() / (noise**2).sum()) > 45  # the tensor as a whole looks fine
    lost = find(reference, rounded(reference))
    assert lost is not None
    assert (lost.axis, lost.slices, lost.count) == (1, tuple(range(4, 12)), 12)
    assert lost.spans <= 1 < 600 < lost.range
    assert str(lost).startswith("mixed ranges: along axis 1, slices 4-11 of 12 vary by ")


def test_the_axis_is_found_whatever_the_layout() -> None:
    reference = np.moveaxis(head(), 2, 3)
    lost = find(reference, rounded(reference))
    assert lost is not None
    assert lost.axis == 2


def test_sixteen_bits_keep_the_scores() -> None:
    reference = head()
    assert finding(reference, rounded(reference, 65535)) == ""


def test_normalized_boxes_are_fine() -> None:
    reference = head(box=1.0)
    assert finding(reference, rounded(reference)) == ""


def test_a_vector_of_two_quantities() -> None:
    reference = np.stack([RANDOM.uniform(900, 1100, 64), RANDOM.uniform(0, 1, 64)], 1)[:, None].astype(np.float32)
    assert "axis 1, slice 1 of 2 varies by" in finding(reference, rounded(reference))


def test_a_small_variation_about_a_large_mean() -> None:
    reference = np.stack([RANDOM.uniform(0, 1e4, 64), RANDOM.uniform(5000, 5001, 64)], 1)[:, None].astype(np.float32)
    lost = find(reference, rounded(reference))
    assert lost is not None
    assert lost.slices == (1,)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 12.0])
def test_softmax_with_rare_classes(temperature: float) -> None:
    logits = RANDOM.normal(0, temperature, (128, 1, 10)) - np.arange(10) * 2.0
    scores = np.exp(logits - logits.max(2, keepdims=True))
    scores = (scores / scores.sum(2, keepdims=True)).astype(np.float32)
    assert finding(scores, rounded(scores)) == ""
    assert finding(scores * 100, rounded(scores * 100)) == "", "in percent"


def test_a_map_of_classes() -> None:
    logits = RANDOM.normal(0, 2, (4, 1, 6, 16, 16)) - np.arange(6)[:, None, None] * 3.0
    scores = np.exp(logits)
    scores = (scores / scores.sum(2, keepdims=True)).astype(np.float32)
    assert finding(scores, rounded(scores)) == ""


def test_features_behind_a_relu() -> None:
    size = RANDOM.lognormal(0, 1.2, 512)
    features = np.maximum(RANDOM.normal(-1, 1, (128, 1, 512)), 0) * size
    assert finding(features.astype(np.float32), rounded(features)) == ""


def test_a_unit_that_hardly_answers() -> None:
    features = RANDOM.normal(0, 1, (128, 1, 64))
    features[..., 17] *= 1e-4
    assert finding(features.astype(np.float32), rounded(features)) == ""


def test_slices_that_are_constant_in_float() -> None:
    reference = head(classes=4)
    reference[:, :, 4:] = 0.25
    assert finding(reference, rounded(reference)) == ""


def test_a_range_that_others_do_not_share_but_survives() -> None:
    """A file that keeps the small part float, or whose steps are finer, has nothing wrong."""
    reference = head()
    assert finding(reference, reference + RANDOM.normal(0, 0.001, reference.shape).astype(np.float32)) == ""


def test_values_that_are_not_finite_do_not_count() -> None:
    reference = head()
    output = rounded(reference)
    reference[0, 0, 0, 0] = output[0, 0, 0, 0] = np.inf
    assert "slices 4-11 of 12" in finding(reference, output)


def test_few_values_prove_nothing() -> None:
    reference = np.stack([RANDOM.uniform(0, 1000, 6), RANDOM.uniform(0, 1, 6)], 1)[:, None].astype(np.float32)
    assert finding(reference, rounded(reference)) == ""


def test_whole_numbers_and_other_shapes_are_left_alone() -> None:
    reference = head()
    assert finding(reference.astype(np.int32), rounded(reference).astype(np.int32)) == ""
    assert finding(reference, rounded(reference)[:, :, :5]) == ""


def test_most_samples_are_lost_behind_a_huge_one() -> None:
    reference = RANDOM.normal(0, 1, (64, 1, 10)).astype(np.float32)
    reference[17] *= 1e4
    noise = rounded(reference) - reference
    assert 10 * np.log10((reference**2).sum() / (noise**2).sum()) > 40
    assert finding(reference, rounded(reference)).startswith("lost for most inputs: 63 of 64 samples stay within ")
    assert finding(reference, reference + RANDOM.normal(0, 0.01, reference.shape).astype(np.float32)) == ""


def test_samples_of_all_sizes_are_no_outliers() -> None:
    reference = (RANDOM.normal(0, 1, (128, 1, 10)) * RANDOM.lognormal(0, 1.5, (128, 1, 1))).astype(np.float32)
    assert outshone(reference, rounded(reference)) == ""


def test_one_sample_in_four_that_is_large_is_a_kind_of_its_own() -> None:
    reference = RANDOM.normal(0, 0.01, (128, 1, 1)).astype(np.float32)
    reference[::4] += 100
    assert outshone(reference, rounded(reference)) == ""
