"""Masks: mean intersection over union as scikit-learn has it, and where outputs hold the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit import registry
from edgekit.drift_types import TaskResult
from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import segmentation

metrics = pytest.importorskip("sklearn.metrics", reason="pip install 'edgekit[metrics]'")

COUNT, HEIGHT, WIDTH, CLASSES = 30, 12, 16, 4


def labelled() -> Array:
    """Masks ``(samples, 1, H, W)`` in stripes, with an edge that does not count."""
    generator = np.random.default_rng(0)
    masks = np.repeat(generator.integers(0, CLASSES, (COUNT, 1, HEIGHT, 4)), WIDTH // 4, axis=3)
    masks[..., 0] = 255
    return masks.astype(np.uint8)


def found(labels: Array, wrong: float = 0.2, seed: int = 1) -> Array:
    """Classes ``(samples, 1, H, W)``, some of them wrong."""
    generator = np.random.default_rng(seed)
    other = generator.integers(0, CLASSES, labels.shape)
    return np.where((generator.random(labels.shape) < wrong) | (labels == 255), other, labels).astype(np.int64)


def scores(classes: Array) -> Array:
    """Scores ``(samples, 1, classes, H, W)`` whose largest is that class."""
    noise = np.random.default_rng(2).normal(0, 0.1, (COUNT, 1, CLASSES, HEIGHT, WIDTH))
    return (np.moveaxis(np.eye(CLASSES)[classes], -1, 2) + noise * 0.5).astype(np.float32)


def task_input(output: Array, labels: Any, reference: Array | None = None, /, **settings: str) -> TaskInput:
    its = None if reference is None else Feeds({"masks": reference})
    return TaskInput(Feeds({"masks": output}), its, Feeds({"x": np.zeros((COUNT, 1, 3, 4, 4))}), labels, settings)


def figures(result: TaskResult) -> tuple[float | None, float | None]:
    return result.figures[0].value, result.figures[1].value


def expected(labels: Array, classes: Array) -> tuple[float, float]:
    counted = labels != 255
    wanted, given = labels[counted], classes[counted]
    return (
        metrics.jaccard_score(wanted, given, average="macro"),
        metrics.accuracy_score(wanted, given),
    )


@pytest.mark.parametrize("layout", ["channels first", "channels last", "class numbers", "numbers in floats"])
def test_figures_are_those_of_scikit_learn(layout: str) -> None:
    labels = labelled()
    classes = found(labels)
    output = {
        "channels first": scores(classes),
        "channels last": np.moveaxis(scores(classes), 2, -1),
        "class numbers": classes,
        "numbers in floats": classes.astype(np.float32),
    }[layout]
    result = segmentation.measure(task_input(output, labels))
    assert figures(result) == pytest.approx(expected(labels, found(labels)))
    assert 0.4 < expected(labels, classes)[0] < 0.9
    assert layout.split()[-1] in result.decoding or layout == "numbers in floats"
    assert not result.findings


def test_one_channel_is_a_threshold() -> None:
    labels = (labelled() % 2).astype(np.int64)
    classes = (found(labels) % 2).astype(np.int64)
    shares = np.where(classes[:, :, None] == 1, 0.7, 0.3).astype(np.float32)
    for output in (shares, np.log(shares / (1 - shares))):
        result = segmentation.measure(task_input(output, labels))
        assert figures(result) == pytest.approx(expected(labels, classes))
    strict = segmentation.measure(task_input(shares, labels, threshold="0.9"))
    assert strict.findings == ("every pixel of every sample is put into class 0",)


def test_recall_of_each_class_is_of_its_pixels() -> None:
    labels = labelled()
    classes = found(labels)
    result = segmentation.measure(task_input(classes, labels, found(labels, 0.1, 5)))
    recalls = metrics.recall_score(labels[labels != 255], classes[labels != 255], average=None)
    assert [one.recall for one in result.classes] == pytest.approx(recalls)
    assert sum(one.samples for one in result.classes) == int((labels != 255).sum())
    assert all(one.reference_recall is not None and one.reference_recall > 0.85 for one in result.classes)


def test_difference_from_the_reference_has_an_interval() -> None:
    labels = labelled()
    result = segmentation.measure(task_input(found(labels, 0.3), labels, found(labels, 0.1)))
    for figure in result.figures:
        assert figure.differs is True
        assert (
            figure.difference is not None and figure.difference_low is not None and figure.difference_high is not None
        )
        assert figure.difference_low < figure.difference < figure.difference_high < 0
    same = segmentation.measure(task_input(found(labels), labels, found(labels)))
    assert same.figures[0].difference == 0
    assert same.figures[0].differs is False


def test_another_label_can_be_the_one_that_does_not_count() -> None:
    labels = labelled().astype(np.int64)
    labels[labels == 255] = 9
    refused = segmentation.measure(task_input(scores(found(labelled())), labels))
    assert "labels go from 0 to 9" in refused.findings[0] and "--decode ignore=" in refused.findings[0]
    told = segmentation.measure(task_input(scores(found(labelled())), labels, ignore="9"))
    assert figures(told) == pytest.approx(expected(labelled(), found(labelled())))


def test_smaller_outputs_are_said() -> None:
    small = scores(found(labelled()))[..., ::2, ::2]
    data = task_input(small, labelled())
    assert segmentation.fits(data)
    result = segmentation.measure(data)
    assert figures(result) == (None, None)
    assert "shape [4, 6, 8]" in result.findings[0] and "12x16 pixels" in result.findings[0]


@pytest.mark.parametrize(
    ("output", "labels", "said"),
    [
        (scores(found(labelled())) * np.nan, labelled(), "NaN or infinity in 30 of 30"),
        (scores(found(labelled())), np.full_like(labelled(), 255), "all pixels are labelled 255"),
        (scores(found(labelled())), labelled().astype(np.float32), "labels are no masks"),
        (scores(found(labelled())), labelled().astype(np.int64) - 1, "labels go from -1 to 254"),
    ],
)
def test_what_is_wrong_is_said(output: Array, labels: Array, said: str) -> None:
    result = segmentation.measure(task_input(output, labels))
    assert figures(result) == (None, None)
    assert said in result.findings[0]
    assert said in result.figures[0].words


@pytest.mark.parametrize("typed", [{"channels": "middle"}, {"ignore": "none"}, {"threshold": "high"}])
def test_settings_that_mean_nothing(typed: dict[str, str]) -> None:
    one = scores(found(labelled()))[:, :, :1]
    with pytest.raises(UsageError, match="--decode"):
        segmentation.measure(task_input(one, labelled() % 2, **typed))


def test_as_many_classes_as_pixels_is_asked() -> None:
    labels = np.zeros((COUNT, 1, 5, 5), np.int64)
    output = np.random.default_rng(0).normal(size=(COUNT, 1, 5, 5, 5))
    assert "--decode channels=first|last" in segmentation.measure(task_input(output, labels)).findings[0]
    assert segmentation.measure(task_input(output, labels, channels="last")).figures[0].value is not None


def test_it_is_chosen_for_masks_and_nothing_else() -> None:
    data = task_input(scores(found(labelled())), labelled())
    assert registry.tasks()["segmentation"].fits(data)
    assert not segmentation.fits(task_input(np.zeros((COUNT, 1, 10)), np.zeros((COUNT, 1), np.int64)))
    assert not segmentation.fits(task_input(np.zeros((COUNT, 1, 10)), "input"))
