"""Regression beside scikit-learn, and the sine of TFLite Micro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import regression

GENERATOR = np.random.default_rng(5)
LABELS = GENERATOR.normal(3, 2, (120, 1, 2))
REFERENCE = (LABELS + 0.3 * GENERATOR.standard_normal(LABELS.shape)).astype(np.float32)
OUTPUTS = (REFERENCE + 0.2 * GENERATOR.standard_normal(LABELS.shape)).astype(np.float32)


def given(outputs: Array = OUTPUTS, reference: Array | None = REFERENCE, labels: Any = LABELS) -> TaskInput:
    before = None if reference is None else Feeds({"y": reference})
    return TaskInput(Feeds({"y": outputs}), before, Feeds({"x": np.zeros((len(outputs), 1))}), labels, {})


@pytest.mark.parametrize("targets", [1, 2])
def test_figures_are_those_of_scikit_learn(targets: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, outputs, reference = (array[..., :targets] for array in (LABELS, OUTPUTS, REFERENCE))
    found = regression.measure(given(outputs, reference, labels)).figures
    for which, array in (("value", outputs), ("reference", reference)):
        flat, true = array.reshape(-1, targets), labels.reshape(-1, targets)
        wanted = [
            metrics.mean_absolute_error(true, flat),
            np.sqrt(((true - flat) ** 2).mean()),
            metrics.r2_score(true, flat),
        ]
        assert [getattr(figure, which) for figure in found] == pytest.approx(wanted)
    assert [figure.metric for figure in found] == ["mean_abs_error", "rmse", "r2"]
    assert [figure.higher_is_better for figure in found] == [False, False, True]
    for figure in found:
        assert figure.difference_low is not None and figure.difference is not None
        assert figure.difference_high is not None
        assert figure.difference_low < figure.difference < figure.difference_high


def test_worse_outputs_are_shown_to_differ() -> None:
    found = regression.measure(given())
    assert [figure.differs for figure in found.figures] == [True, True, True]
    assert "worse" in found.figures[0].words
    assert found.decoding == "output 'y' read as 2 values of each label"


def test_labels_of_one_axis_and_whole_ones() -> None:
    found = regression.measure(given(OUTPUTS[..., :1], None, np.rint(LABELS[:, 0, 0]).astype(int)))
    assert found.figures[0].value == pytest.approx(np.abs(OUTPUTS[:, 0, 0] - np.rint(LABELS[:, 0, 0])).mean())
    assert found.figures[0].difference is None


def test_labels_that_are_all_the_same_have_no_r2() -> None:
    found = regression.measure(given(OUTPUTS[..., :1], None, np.full((120, 1), 2.5)))
    assert found.figures[2].value is None
    assert found.figures[2].unavailable == "it is not defined on these samples"
    assert found.figures[1].value is not None


def test_what_fits() -> None:
    assert regression.fits(given()) == "labels are numbers with fractions and output 'y' has 2 values per sample"
    assert regression.fits(given(labels=LABELS[..., :1])) == ""
    assert regression.fits(given(labels=None)) == ""
    assert regression.fits(given(labels="input")) == ""


def test_what_is_wrong_is_said() -> None:
    spoilt, bad = OUTPUTS.copy(), LABELS.copy()
    spoilt[4, 0, 1], bad[:3, 0, 0] = np.nan, np.nan
    for data, finding in (
        (given(spoilt), "output 'y' of the file has NaN or infinity in 1 of 120 samples"),
        (given(labels=bad), "3 of 120 labels are not finite"),
        (given(labels=["a"] * 120), "labels are no numbers"),
        (given(labels=LABELS[..., :1]), "no output has 1 values for each of 120 labels"),
    ):
        found = regression.measure(data)
        assert found.findings == (finding,)
        assert all(figure.value is None and figure.unavailable == finding for figure in found.figures)
    constant = regression.measure(given(np.ones_like(OUTPUTS)))
    assert constant.findings == ("output 'y' is constant: it is the same for all 120 samples",)


@pytest.mark.shared
def test_the_sine_of_tflite_micro(shared_models: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(shared_models / "tflm_hello_world" / "hello_world_float.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    angles = np.linspace(0, 2 * np.pi, 200, dtype=np.float32).reshape(-1, 1, 1)
    outputs = []
    for angle in angles:
        interpreter.set_tensor(entry, angle)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(out).copy())
    found = regression.measure(given(np.stack(outputs), None, np.sin(angles[:, :, 0])))
    error, _, explained = found.figures
    assert error.value == pytest.approx(0.012, abs=0.002)
    assert explained.value is not None and explained.value > 0.99
