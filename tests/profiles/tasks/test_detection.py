"""Boxes: average precision as pycocotools has it, and outputs read in the many ways models write them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import registry
from edgekit.drift_types import TaskResult
from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import detection
from profiles.tasks._boxes import corners, overlaps, possible_orders, without_doubles
from profiles.tasks._coco import Boxes, match

pytest.importorskip("pycocotools", reason="pip install 'edgekit[metrics]'")

WIDTH, HEIGHT, CLASSES, COUNT = 320, 240, 3, 40
Entry = dict[str, Array]


def labelled(count: int = COUNT, classes: int = CLASSES, first: int = 0) -> list[Entry]:
    """Boxes in pixels, one to four of a picture."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        many = int(generator.integers(1, 5))
        low = generator.uniform(0, [WIDTH * 0.6, HEIGHT * 0.6], (many, 2))
        size = generator.uniform([40, 20], [WIDTH * 0.38, HEIGHT * 0.38], (many, 2))
        boxes = np.concatenate([low, low + size], axis=1)
        found.append({"boxes": boxes, "labels": generator.integers(0, classes, many) + first})
    return found


def noisy(labels: list[Entry], spread: float, seed: int = 1) -> list[Boxes]:
    """What a detector might find: labels moved a bit, some lost, some of another class, some made up."""
    generator = np.random.default_rng(seed)
    found = []
    for label in labels:
        boxes = label["boxes"] + generator.normal(0, spread, label["boxes"].shape)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        classes = np.where(
            generator.random(len(boxes)) < 0.1, generator.integers(0, CLASSES, len(boxes)), label["labels"]
        )
        more = generator.uniform(0, 100, (3, 2))
        boxes = np.concatenate([boxes, np.concatenate([more, more + generator.uniform(20, 80, (3, 2))], axis=1)])
        classes = np.concatenate([classes, generator.integers(0, CLASSES, 3)])
        scores = np.concatenate([generator.uniform(0.3, 1, len(label["boxes"])), generator.uniform(0, 0.5, 3)])
        kept = generator.random(len(boxes)) < 0.9
        found.append(Boxes(boxes[kept], classes[kept], scores[kept]))
    return found


def truth(labels: list[Entry]) -> list[Boxes]:
    return [Boxes(one["boxes"], one["labels"], np.ones(len(one["boxes"]))) for one in labels]


def by_pycocotools(labels: list[Boxes], found: list[Boxes]) -> tuple[float, float]:
    """mAP and mAP50 by pycocotools alone, its accumulation and summary included."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def coco(images: list[Boxes]) -> Any:
        notes = [
            {
                "id": 0, "image_id": image, "category_id": int(number), "score": float(score), "iscrowd": 0,
                "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
                "area": float((box[2] - box[0]) * (box[3] - box[1])),
            }
            for image, one in enumerate(images)
            for box, number, score in zip(one.boxes, one.classes, one.scores, strict=True)
        ]  # fmt: skip
        made = COCO()
        made.dataset = {
            "images": [{"id": image} for image in range(len(images))],
            "categories": [{"id": number} for number in range(CLASSES)],
            "annotations": [{**note, "id": place + 1} for place, note in enumerate(notes)],
        }
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(coco(labels), coco(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0]), float(run.stats[1])


@pytest.mark.parametrize("spread", [1.0, 6.0, 20.0])
def test_average_precision_is_that_of_pycocotools(spread: float) -> None:
    labels = labelled(150)  # more than one block
    found = noisy(labels, spread)
    matches = match(truth(labels), found, len(labels))
    once = np.ones((1, len(labels)))
    expected = by_pycocotools(truth(labels), found)
    assert 0.01 < expected[0] < 0.95
    assert (matches.overall(once)[0], matches.at_half(once)[0]) == pytest.approx(expected, abs=1e-12)


def test_samples_drawn_again_count_as_copies_of_the_picture() -> None:
    labels = labelled(30)
    found = noisy(labels, 6.0)
    times = np.random.default_rng(3).integers(0, 4, len(labels))
    weighed = match(truth(labels), found, len(labels)).overall(times[None].astype(float))[0]
    places = np.repeat(np.arange(len(labels)), times)
    copied = by_pycocotools([truth(labels)[place] for place in places], [found[place] for place in places])
    assert weighed == pytest.approx(copied[0], abs=1e-12)


def test_boxes_on_a_crowd_count_neither_way() -> None:
    box = np.array([[0.0, 0, 50, 50], [100, 100, 150, 150]])
    label = Boxes(box, np.zeros(2, int), np.ones(2), np.array([True, False]))
    found = Boxes(box[[0, 0, 1]], np.zeros(3, int), np.array([0.9, 0.8, 0.7]))
    assert match([label], [found], 1).overall(np.ones((1, 1)))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("order", ["xyxy", "yxyx", "xywh", "cxcywh"])
def test_orders_of_a_box(order: str) -> None:
    wanted = np.array([[10.0, 20, 110, 50]])
    written = written_as(wanted, order)
    assert corners(written, order) == pytest.approx(wanted)
    assert order in possible_orders(np.repeat(written, 5, axis=0))


def test_boxes_of_no_size_overlap_nothing() -> None:
    point, box = np.array([[5.0, 5, 5, 5]]), np.array([[0.0, 0, 10, 10]])
    assert overlaps(point, np.concatenate([point, box])).tolist() == [[0.0, 0.0]]


def test_doubles_are_left_out_by_class() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30]])
    kept = without_doubles(boxes, np.array([0.8, 0.9, 0.7, 0.1]), np.array([0, 0, 1, 0]), 0.5, 10)
    assert kept.tolist() == [1, 2, 3]


def written_as(boxes: Array, order: str) -> Array:
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    return np.stack(
        {
            "xyxy": (left, top, right, bottom),
            "yxyx": (top, left, bottom, right),
            "xywh": (left, top, right - left, bottom - top),
            "cxcywh": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
        }[order],
        axis=-1,
    )


def table(labels: list[Entry], rows: int = 60) -> tuple[Array, Array]:
    """Boxes ``(images, rows, 4)`` and scores ``(images, rows, classes)`` with every box twice, in any order."""
    generator = np.random.default_rng(2)
    low = generator.uniform(0, 150, (len(labels), rows, 2))
    boxes = np.concatenate([low, low + generator.uniform(10, 60, low.shape)], axis=2)
    scores = generator.uniform(0, 0.05, (len(labels), rows, CLASSES))
    for image, label in enumerate(labels):
        many = len(label["boxes"])
        for again, score in ((0, 0.9), (many, 0.8)):
            boxes[image, again : again + many] = label["boxes"] + again
            scores[image, np.arange(again, again + many), label["labels"]] = score
    order = generator.permutation(rows)
    return boxes[:, order].astype(np.float32), scores[:, order].astype(np.float32)


def unit(boxes: Array) -> Array:
    found: Array = (boxes / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])).astype(np.float32)
    return found


def ssd(labels: list[Entry]) -> Mapping[str, Array]:
    """Boxes from 0 to 1, softmax with the background in front."""
    boxes, scores = table(labels)
    rest = 1 - scores.sum(axis=2, keepdims=True)
    return {"boxes": unit(boxes), "scores": np.concatenate([rest, scores], axis=2)}


def detr(labels: list[Entry]) -> Mapping[str, Array]:
    """Numbers before softmax with the background at the end, boxes by centre and size."""
    boxes, scores = table(labels)
    both = np.concatenate([scores, 1 - scores.sum(axis=2, keepdims=True)], axis=2)
    return {"pred_logits": np.log(np.clip(both, 1e-5, 1)), "pred_boxes": written_as(unit(boxes), "cxcywh")}


def post_processed(labels: list[Entry]) -> Mapping[str, Array]:
    """The four outputs of ``TFLite_Detection_PostProcess``."""
    boxes, classes, scores = np.zeros((COUNT, 10, 4)), np.zeros((COUNT, 10)), np.zeros((COUNT, 10))
    for image, label in enumerate(labels):
        many = len(label["boxes"])
        boxes[image, :many] = written_as(unit(label["boxes"]), "yxyx")
        classes[image, :many], scores[image, :many] = label["labels"], np.linspace(0.9, 0.5, many)
        boxes[image, many:], scores[image, many:] = boxes[image, :1], 0.99  # beyond the count
    count = np.array([len(label["boxes"]) for label in labels], np.float32)
    return {"a": boxes, "b": classes, "c": scores, "d": count}


def yolo_8(labels: list[Entry]) -> Mapping[str, Array]:
    boxes, scores = table(labels)
    return {"output0": np.concatenate([written_as(boxes, "cxcywh"), scores], axis=2).transpose(0, 2, 1)}


def yolo_5(labels: list[Entry]) -> Mapping[str, Array]:
    """With objectness: each row is of some class, and where there is nothing column 4 alone says so."""
    boxes, scores = table(labels)
    objectness = scores.max(axis=2, keepdims=True)
    return {"output0": np.concatenate([written_as(boxes, "cxcywh"), objectness, scores / objectness], axis=2)}


def yolo_10(labels: list[Entry]) -> Mapping[str, Array]:
    given = np.zeros((COUNT, 20, 6))
    for image, label in enumerate(labels):
        many = len(label["boxes"])
        given[image, :many] = np.column_stack([label["boxes"], np.linspace(0.9, 0.5, many), label["labels"]])
    return {"output0": given}


def task_input(outputs: Mapping[str, Array], labels: list[Entry], **more: Any) -> TaskInput:
    arrays = {name: array[:, None] for name, array in outputs.items()}
    inputs = Feeds({"image": np.zeros((len(labels), 1, 3, HEIGHT, WIDTH), np.uint8)})
    return TaskInput(Feeds(arrays), more.pop("reference", None), inputs, labels, more.pop("settings", {}), **more)


def value(result: TaskResult, metric: str = "map") -> float:
    found = next(figure for figure in result.figures if figure.metric == metric)
    assert found.value is not None, found.unavailable
    return found.value


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("model", [ssd, detr, post_processed, yolo_8, yolo_5, yolo_10])
def test_outputs_are_read_as_they_are_meant(model: Callable[[list[Entry]], Mapping[str, Array]], first: int) -> None:
    labels = labelled()
    outputs = model(labels)
    given = [{**label, "labels": label["labels"] + first} for label in labels]
    result = detection.measure(task_input(outputs, given))
    assert value(result) == pytest.approx(1.0, abs=1e-6), result
    assert f"first class is label {first}" in result.decoding
    assert not result.findings


def test_pixels_of_the_pictures_can_be_others_than_the_models() -> None:
    labels = labelled()
    larger = [{**label, "boxes": label["boxes"] * 2.5} for label in labels]
    said = detection.measure(task_input(ssd(labels), larger, settings={"label_size": "800x600"}))
    assert value(said) == pytest.approx(1.0, abs=1e-6)
    silent = detection.measure(task_input(ssd(labels), larger))
    assert silent.figures[0].value is None
    assert "boxes meet the labels badly" in silent.findings[0]


def test_what_can_be_read_in_two_ways_is_asked() -> None:
    """Boxes on the diagonal look the same with x and y exchanged."""
    side = np.random.default_rng(0).uniform(20, 100, (COUNT, 1))
    boxes = np.concatenate([side, side, side + 50, side + 50], axis=1)
    labels = [{"boxes": box[None], "labels": np.array([0])} for box in boxes]
    outputs = {"boxes": boxes[:, None].repeat(2, 1), "scores": np.array([[[0.9], [0.1]]] * COUNT)}
    asked = detection.measure(task_input(outputs, labels))
    assert asked.figures[0].value is None
    assert "--decode format=xyxy|yxyx" in asked.findings[0]
    told = detection.measure(task_input(outputs, labels, settings={"format": "xyxy"}))
    assert value(told) == pytest.approx(1.0)
    assert "set by format=xyxy" in told.decoding


def test_difference_from_the_reference_has_an_interval() -> None:
    labels = labelled()
    good, bad = ssd(labels), ssd(labels)
    damaged = {**bad, "boxes": bad["boxes"] + np.float32(0.02)}
    reference = task_input(good, labels).outputs
    result = detection.measure(task_input(damaged, labels, reference=reference))
    found = result.figures[0]
    assert found.reference == pytest.approx(1.0)
    assert found.differs is True
    assert found.difference_high is not None and found.difference_high < 0
    assert "shown to differ" in found.words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda outputs, labels: (outputs, labels[:-1]),
            "there are labels of 39 pictures, the outputs have 40 samples",
        ),
        (
            lambda outputs, labels: (outputs, [{**one, "labels": one["labels"] + 7} for one in labels]),
            "labels go from 7",
        ),
        (
            lambda outputs, labels: ({**outputs, "scores": outputs["scores"] * np.nan}, labels),
            "'scores' of the file has NaN",
        ),
        (lambda outputs, labels: ({"scores": outputs["scores"]}, labels), "no boxes were found in outputs 'scores'"),
        (lambda outputs, labels: (outputs, [{**one, "boxes": one["boxes"][:, ::-1]} for one in labels]), "ends before"),
    ],
)
def test_what_is_wrong_is_said(change: Callable[..., Any], said: str) -> None:
    outputs, labels = change(dict(ssd(labelled())), labelled())
    data = task_input(outputs, labels)
    if len(labels) < COUNT:
        data = task_input(outputs, labelled())
        data = TaskInput(data.outputs, None, data.inputs, labels, {})
    result = detection.measure(data)
    assert [figure.value for figure in result.figures] == [None, None]
    assert said in result.findings[0]
    assert said in result.figures[0].words


@pytest.mark.parametrize("typed", ["format=xxyy", "nms=2", "label_size=640", "first_label=one", "objectness=maybe"])
def test_settings_that_mean_nothing(typed: str) -> None:
    key, _, text = typed.partition("=")
    with pytest.raises(UsageError, match=typed):
        detection.measure(task_input(ssd(labelled()), labelled(), settings={key: text}))


def test_it_is_chosen_for_boxes_and_nothing_else() -> None:
    data = task_input(ssd(labelled()), labelled())
    assert registry.tasks()["detection"].fits(data)
    assert not detection.fits(TaskInput(data.outputs, None, data.inputs, np.zeros((COUNT, 1)), {}))
    assert not detection.fits(TaskInput(data.outputs, None, data.inputs, ["a line"] * COUNT, {}))


def ultraface(folder: Path, name: str) -> tuple[dict[str, Array], Array]:
    """Outputs and inputs of eight pictures."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(folder / "ultraface" / name)
    pictures = faces(8)
    runs = [session.run(None, {session.get_inputs()[0].name: picture}) for picture in pictures]
    names = [output.name for output in session.get_outputs()]
    return {key: np.stack([run[place] for run in runs]) for place, key in enumerate(names)}, np.stack(pictures)


def best_boxes(outputs: dict[str, Array]) -> list[Entry]:
    """The best two of each picture."""
    labels = []
    for boxes, scores in zip(outputs["boxes"][:, 0], outputs["scores"][:, 0, :, 1], strict=True):
        valid = np.where((boxes[:, 2:] > boxes[:, :2]).all(axis=1), scores, 0)
        best = without_doubles(boxes, valid, np.zeros(len(scores)), 0.3, 2)
        labels.append({"boxes": boxes[best], "labels": np.ones(2, int)})
    return labels


@pytest.mark.shared
def test_ultraface_meets_its_own_boxes(shared_models: Path) -> None:
    """No labelled faces are there: what the float model finds is taken for labels, and damage must cost."""
    outputs, pictures = ultraface(shared_models, "version-RFB-320.onnx")
    labels, inputs = best_boxes(outputs), Feeds({"input": pictures})
    same = detection.measure(TaskInput(Feeds(outputs), Feeds(outputs), inputs, labels, {}))
    assert "xyxy" in same.decoding and "column 0 is background" in same.decoding
    assert value(same) == pytest.approx(1.0)
    damaged = {**outputs, "boxes": outputs["boxes"] * np.float32(1.15)}
    worse = detection.measure(TaskInput(Feeds(damaged), Feeds(outputs), inputs, labels, {}))
    assert value(worse) < 0.7


@pytest.mark.shared
def test_offsets_from_anchors_are_no_boxes(shared_models: Path) -> None:
    """This ONNX file of UltraFace was exported without the step that makes boxes of its outputs."""
    outputs, pictures = ultraface(shared_models, "version-slim-320_simplified.onnx")
    result = detection.measure(TaskInput(Feeds(outputs), None, Feeds({"input": pictures}), best_boxes(outputs), {}))
    assert result.figures[0].value is None
    assert "offsets from anchors" in result.findings[0]


def faces(count: int) -> list[Array]:
    """Two ovals with eyes and a mouth on grey: enough for a face detector to look somewhere."""
    generator = np.random.default_rng(4)
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    pictures = []
    for _ in range(count):
        picture = generator.normal(90, 5, (3, HEIGHT, WIDTH))
        for left in (40, 190):
            x, y, size = left + generator.uniform(0, 50), generator.uniform(70, 150), generator.uniform(25, 45)
            inside = ((across - x) / size) ** 2 + ((down - y) / (1.3 * size)) ** 2 < 1
            picture[:, inside] = np.array([[210.0], [170], [140]])
            for dx, dy, radius in ((-0.4, -0.3, 0.13), (0.4, -0.3, 0.13), (0, 0.6, 0.2)):
                spot = (across - x - dx * size) ** 2 + (down - y - dy * size) ** 2 < (radius * size) ** 2
                picture[:, spot] = 40
        pictures.append(((picture[None] - 127) / 128).astype(np.float32))
    return pictures
