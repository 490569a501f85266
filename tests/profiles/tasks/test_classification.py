"""Classification: figures beside scikit-learn's, flips, findings, and real models."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import classification

GENERATOR = np.random.default_rng(7)
LABELS = GENERATOR.integers(0, 10, (400, 1))
REFERENCE = (GENERATOR.standard_normal((400, 1, 10)) + 3 * np.eye(10)[LABELS]).astype(np.float32)
OUTPUTS = (REFERENCE + 0.5 * GENERATOR.standard_normal(REFERENCE.shape)).astype(np.float32)


def given(
    outputs: Array = OUTPUTS,
    reference: Array | None = REFERENCE,
    labels: Any = LABELS,
    settings: dict[str, str] | None = None,
    classes: tuple[str, ...] = (),
    places: Array | None = None,
) -> TaskInput:
    inputs = Feeds({"x": np.zeros((len(outputs), 1))}, places=places)
    before = None if reference is None else Feeds({"scores": reference})
    return TaskInput(Feeds({"scores": outputs}), before, inputs, labels, settings or {}, classes)


def test_figures_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    found = classification.measure(given())
    top1, top5, f1 = found.figures
    true = LABELS.ravel()
    for figure, array in (("value", OUTPUTS), ("reference", REFERENCE)):
        scores = array[:, 0]
        assert getattr(top1, figure) == pytest.approx(metrics.accuracy_score(true, scores.argmax(1)))
        assert getattr(top5, figure) == pytest.approx(metrics.top_k_accuracy_score(true, scores, k=5))
        assert getattr(f1, figure) == pytest.approx(metrics.f1_score(true, scores.argmax(1), average="macro"))
    recalls = metrics.recall_score(true, OUTPUTS[:, 0].argmax(1), average=None)
    assert [one.recall for one in found.classes] == pytest.approx(recalls)
    assert [one.samples for one in found.classes] == np.bincount(true).tolist()
    assert found.flips is not None
    wanted = metrics.confusion_matrix(REFERENCE[:, 0].argmax(1), OUTPUTS[:, 0].argmax(1))
    assert np.array(found.flips.confusion).tolist() == wanted.tolist()
    assert not found.findings
    assert found.decoding == "output 'scores' read as logits over 10 classes"


def test_flips() -> None:
    found = classification.measure(given())
    before, after, true = REFERENCE[:, 0].argmax(1), OUTPUTS[:, 0].argmax(1), LABELS.ravel()
    flips, top1 = found.flips, found.figures[0]
    assert flips is not None and top1.difference is not None
    assert flips.broken_samples == tuple(np.flatnonzero((before == true) & (after != true)))
    assert flips.repaired_samples == tuple(np.flatnonzero((before != true) & (after == true)))
    assert (flips.broken, flips.repaired) == (len(flips.broken_samples), len(flips.repaired_samples))
    assert flips.broken > flips.repaired > 0
    assert flips.other == ((before != after) & (before != true) & (after != true)).sum()
    assert top1.difference == pytest.approx((flips.repaired - flips.broken) / 400)


def test_places_are_those_in_the_data() -> None:
    places = np.arange(400)[::-1] * 2
    here, there = classification.measure(given()).flips, classification.measure(given(places=places)).flips
    assert here is not None and there is not None
    assert there.broken_samples == tuple(places[list(here.broken_samples)])


def test_batches_are_rows() -> None:
    alone = classification.measure(given())
    batched = classification.measure(
        given(OUTPUTS.reshape(100, 4, 10), REFERENCE.reshape(100, 4, 10), LABELS.reshape(100, 4))
    )
    assert batched == alone


def test_without_reference() -> None:
    found = classification.measure(given(reference=None))
    assert [figure.metric for figure in found.figures] == ["top1", "top5", "f1"]
    assert all(figure.difference is None and figure.low is not None for figure in found.figures)
    assert found.flips is None
    assert all(one.reference_recall is None for one in found.classes)


def test_few_classes_have_no_top5_and_names_are_shown() -> None:
    found = classification.measure(given(OUTPUTS[..., :3], REFERENCE[..., :3], LABELS % 3, classes=("a", "b", "c")))
    assert [figure.metric for figure in found.figures] == ["top1", "f1"]
    assert [one.name for one in found.classes] == ["a", "b", "c"]


def test_equal_scores_count_for_the_first_class() -> None:
    flat = np.zeros((10, 1, 10), np.float32)
    found = classification.measure(given(flat, None, np.arange(10)[:, None]))
    assert [figure.value for figure in found.figures[:2]] == [0.1, 0.5]


def test_a_class_in_front() -> None:
    wider = np.concatenate([np.full((400, 1, 1), -9, np.float32), OUTPUTS], axis=2)
    found = classification.measure(given(wider, None, settings={"background": "0"}))
    assert found.figures == classification.measure(given(reference=None)).figures
    assert "the first of them background" in found.decoding
    odd = classification.measure(given(wider, None))
    assert any("a class more in front: with --decode background=0" in finding for finding in odd.findings)


def test_the_background_is_a_wrong_answer() -> None:
    wider = np.concatenate([np.full((400, 1, 1), 99, np.float32), OUTPUTS], axis=2)
    found = classification.measure(given(wider, None, settings={"background": "0"}))
    assert found.figures[0].value == 0
    assert found.findings[0] == "the file puts all 400 samples into class -1"


# What is wrong is said by name


@pytest.mark.parametrize(
    ("labels", "finding"),
    [
        (LABELS + 2, "labels go from 2 to 11, output 'scores' has 10 classes, from 0"),
        (LABELS - 1, "labels go from -1 to 8, output 'scores' has 10 classes, from 0"),
        (
            LABELS + 1,
            "labels go from 1 to 10, output 'scores' has 10 classes, from 0; the labels seem to start at 1: subtract 1",
        ),
    ],
)
def test_labels_outside_the_classes(labels: Array, finding: str) -> None:
    found = classification.measure(given(labels=labels))
    assert found.findings == (finding,)
    assert all(figure.value is None and figure.unavailable == finding for figure in found.figures)


def test_labels_that_start_at_one_are_suspected() -> None:
    some = LABELS.ravel() < 9
    found = classification.measure(given(OUTPUTS[some], REFERENCE[some], LABELS[some] + 1))
    assert any(finding.startswith("labels seem to start at 1") for finding in found.findings)


def test_outputs_that_are_no_numbers() -> None:
    spoilt = OUTPUTS.copy()
    spoilt[[3, 50], 0, 2] = np.nan
    found = classification.measure(given(spoilt))
    assert found.findings == ("output 'scores' of the file has NaN or infinity in 2 of 400 samples",)
    assert found.figures[0].value is None
    found = classification.measure(given(OUTPUTS, spoilt))
    assert found.findings == (
        "output 'scores' of the reference has NaN or infinity in 2 of 400 samples: there are no differences",
    )
    assert found.figures[0].value is not None and found.figures[0].difference is None


def test_outputs_that_are_constant() -> None:
    found = classification.measure(given(np.repeat(OUTPUTS[:1], 400, axis=0)))
    assert f"the file puts all 400 samples into class {OUTPUTS[0].argmax()}" in found.findings
    assert "output 'scores' is constant: it is the same for all 400 samples" in found.findings
    assert found.figures[0].differs is True


def test_what_is_no_classification() -> None:
    for labels in (None, LABELS / 3, ["a"] * 400, np.zeros((400, 1, 4), int)):
        assert classification.fits(given(labels=labels)) == ""
        found = classification.measure(given(labels=labels))
        assert found.figures[0].unavailable == "labels are not whole numbers, one for each sample"
    assert classification.fits(given(OUTPUTS[..., :1])) == ""
    assert classification.measure(given(OUTPUTS[..., :1])).figures[0].value is None
    with pytest.raises(UsageError, match="no such output"):
        classification.measure(given(settings={"output": "other"}))


def test_why_it_fits() -> None:
    assert classification.fits(given()) == "labels are whole numbers and output 'scores' has 10 values per sample"


def test_memory_does_not_hold_the_scores(tmp_path: Path) -> None:
    count, classes = 3000, 1000
    path = tmp_path / "scores.npy"
    scores = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, 1, classes))
    labels = GENERATOR.integers(0, classes, (count, 1))
    for start in range(0, count, 500):
        scores[start : start + 500] = GENERATOR.random((500, 1, classes))
    scores.flush()
    data = given(np.load(path, mmap_mode="r"), None, labels)
    reading = classification.decoding.class_scores(data.outputs, count, {})
    assert reading is not None
    tracemalloc.start()
    try:
        classification.answers(data.outputs.arrays["scores"], reading, labels.ravel())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < scores.nbytes


# A real pair: MNIST in float and in int8, on the half of the test set that is there


@pytest.mark.shared
def test_a_trained_pair(shared_models: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    with np.load(shared_models / "_data_mnist" / "mnist_t10k_dev_first5000.npz") as data:
        images, labels = (data[name] for name in data.files[:2])
    images = images[:1000].reshape(-1, 1, 28, 28, 1).astype(np.float32) / 255

    def run(name: str) -> Array:
        interpreter = Interpreter(str(shared_models / "aieq_mnist" / name), num_threads=1)
        interpreter.allocate_tensors()
        entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        scale, zero = entry["quantization"]
        found = []
        for image in images:
            if scale:
                image = np.clip(np.rint(image / scale + zero), -128, 127).astype(np.int8)
            interpreter.set_tensor(entry["index"], image)
            interpreter.invoke()
            found.append(interpreter.get_tensor(out["index"]).astype(np.float32))
        return np.stack(found)

    reference, outputs = run("conv_fc_mnist.tflite"), run("conv_fc_mnist_srq_a8w8.tflite")
    found = classification.measure(given(outputs, reference, labels[:1000, None].astype(np.int64)))
    top1 = found.figures[0]
    assert top1.reference == pytest.approx(np.mean(reference[:, 0].argmax(1) == labels[:1000]))
    assert top1.reference is not None and top1.value is not None
    assert top1.reference > 0.93 and top1.value > 0.93
    assert not found.findings
