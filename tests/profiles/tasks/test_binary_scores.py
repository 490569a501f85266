"""Two classes told by one score, beside scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles import paired
from profiles.tasks import binary_scores

GENERATOR = np.random.default_rng(2)
LABELS = GENERATOR.integers(0, 2, (200, 1))
REFERENCE = (GENERATOR.standard_normal((200, 1, 1)) + 2 * LABELS[:, :, None] - 1).astype(np.float32)
OUTPUTS = np.round(REFERENCE + 0.5 * GENERATOR.standard_normal(REFERENCE.shape), 1).astype(np.float32)


def probability(scores: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-scores))
    return found


def given(
    outputs: Array = OUTPUTS, reference: Array | None = REFERENCE, labels: Any = LABELS, **settings: str
) -> TaskInput:
    before = None if reference is None else Feeds({"score": reference})
    return TaskInput(Feeds({"score": outputs}), before, Feeds({"x": np.zeros((200, 1))}), labels, settings)


def test_figures_are_those_of_scikit_learn_with_equal_scores_among_them() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    auc, accuracy = binary_scores.measure(given()).figures
    assert len(np.unique(OUTPUTS)) < 150
    assert auc.value == pytest.approx(metrics.roc_auc_score(LABELS.ravel(), OUTPUTS.ravel()))
    assert auc.reference == pytest.approx(metrics.roc_auc_score(LABELS.ravel(), REFERENCE.ravel()))
    assert accuracy.value == ((OUTPUTS.ravel() > 0) == LABELS.ravel()).mean()
    assert auc.difference_low is not None and auc.difference_high is not None and auc.difference is not None
    assert auc.difference_low < auc.difference < auc.difference_high


def test_resampled_areas_are_those_of_samples_that_come_more_than_once() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    drawn = next(paired.draws(200, 5))
    found = binary_scores.area(*binary_scores.ordered(OUTPUTS.ravel().astype(np.float64), LABELS.ravel()), drawn)
    wanted = [metrics.roc_auc_score(LABELS.ravel(), OUTPUTS.ravel(), sample_weight=weights) for weights in drawn]
    assert found == pytest.approx(wanted)


def test_probabilities_and_scores_have_their_own_thresholds() -> None:
    scores, chances = given(reference=None), given(probability(OUTPUTS), None)
    for data, words in ((scores, "a score, above 0 for class 1; class 1 above 0"), (chances, "class 1 above 0.5")):
        found = binary_scores.measure(data)
        assert found.decoding.endswith(words)
        assert found.figures[1].value == ((OUTPUTS.ravel() > 0) == LABELS.ravel()).mean()
    set_by_hand = binary_scores.measure(given(probability(OUTPUTS), None, scores="logits"))
    assert set_by_hand.decoding.endswith("class 1 above 0")


def test_two_classes_are_one_score() -> None:
    logits = np.concatenate([np.zeros_like(OUTPUTS), OUTPUTS], axis=2)
    chances = np.concatenate([1 - probability(OUTPUTS), probability(OUTPUTS)], axis=2)
    alone = binary_scores.measure(given(reference=None)).figures
    assert binary_scores.measure(given(logits, None)).figures == alone
    assert binary_scores.measure(given(chances, None)).figures[0].value == pytest.approx(alone[0].value)
    assert binary_scores.fits(given(logits)) == ""  # a classification, unless the user says otherwise


def test_what_fits() -> None:
    assert binary_scores.fits(given()) == "labels are 0 and 1 and output 'score' has one score per sample"
    assert binary_scores.fits(given(labels=LABELS + 1)) == ""
    assert binary_scores.fits(given(labels=LABELS / 2)) == ""
    assert binary_scores.fits(given(labels=None)) == ""


def test_what_is_wrong_is_said() -> None:
    spoilt = OUTPUTS.copy()
    spoilt[:2] = np.nan
    for data, finding in (
        (given(spoilt), "output 'score' of the file has NaN or infinity in 2 of 200 samples"),
        (given(labels=LABELS + 1), "labels go from 1 to 2, and must be 0 and 1"),
        (given(labels=LABELS / 2), "labels are not whole numbers, one for each sample"),
        (given(np.zeros((200, 1, 7), np.float32)), "no output has a score for each of 200 labels"),
    ):
        found = binary_scores.measure(data)
        assert found.findings == (finding,)
        assert all(figure.value is None and figure.unavailable == finding for figure in found.figures)


def test_one_class_has_no_curve() -> None:
    auc, accuracy = binary_scores.measure(given(labels=np.ones_like(LABELS))).figures
    assert auc.unavailable == "all labels are 1, and the curve needs both classes"
    assert accuracy.value is not None


def test_outputs_that_are_constant() -> None:
    found = binary_scores.measure(given(np.ones_like(OUTPUTS)))
    assert "output 'score' is constant: it is the same for all 200 samples" in found.findings
    assert "the file puts all 200 samples into class 1" in found.findings
    assert found.figures[0].value == 0.5
