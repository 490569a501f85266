"""Models that others have made, as they came: float TFLite and ONNX files, Keras models, a SavedModel."""

from __future__ import annotations

from pathlib import Path

from _cases import Case
from _shared_data import (
    Samples,
    channels_last,
    cifar_images,
    cifar_lossless,
    enlarged,
    iris_rows,
    key_points,
    keywords,
    mnist_images,
    point_histories,
)

from edgekit import registry

_FROM_TENSORFLOW = ("tflite", "onnx")
_LARGEST_CALIBRATION = 512
"""As many as edgekit draws by default."""


def cases(shared: Path, scratch: Path) -> list[Case]:
    """The files of the shared folder that have labelled data, and one network without.

    Args:
        shared: The folder of shared models.
        scratch: An existing folder, for copies of TFLite files that are older than what LiteRT's own quantizer reads.
    """
    return [*_files(shared, scratch), *_tensorflow(shared)] if shared.is_dir() else []


def _files(shared: Path, scratch: Path) -> list[Case]:
    half = {"jpeg": cifar_images(shared, "half"), "lossless": cifar_lossless(shared, "half")}
    raw = {"jpeg": cifar_images(shared, "raw"), "lossless": cifar_lossless(shared, "raw")}
    resnet = shared / "mlperf_tiny_resnet8/pretrainedResnet.tflite"
    hands = shared / "hand_gesture/keypoint_classifier/keypoint_classifier.tflite"
    digits = shared / "aieq_mnist/conv_fc_mnist.tflite"
    return [
        _file("mlperf-resnet8", resnet, channels_last(raw), _in_order(resnet, scratch)),
        _file("key-points", hands, {"key points": key_points(shared)}, _in_order(hands, scratch)),
        _file("aieq-mnist", digits, channels_last({"mnist": mnist_images(shared, "unit")})),
        _file("zoo-mnist", shared / "mnist_onnx/mnist.onnx", {"mnist": mnist_images(shared, "raw")}),
        _file("winml-cifar-onnx", shared / "winml_cifar10/ImageClassifier.onnx", half),
        _file("winml-iris-onnx", shared / "winml_iris/Network.onnx", {"iris": iris_rows(shared)}),
    ]


def _tensorflow(shared: Path) -> list[Case]:
    raw = {"jpeg": cifar_images(shared, "raw"), "lossless": cifar_lossless(shared, "raw")}
    mnist = channels_last({"mnist": mnist_images(shared, "unit")})
    hands = shared / "hand_gesture"
    history = hands / "point_history_classifier/point_history_classifier.hdf5"
    return [
        _model("keras-resnet8", shared / "mlperf_tiny_resnet8/pretrainedResnet.h5", channels_last(raw)),
        _model("keras-mnist", shared / "nhan_mnist_keras/model.keras", mnist),
        _model("keras-points", hands / "keypoint_classifier/keypoint_classifier.hdf5", {"points": key_points(shared)}),
        _model("keras-history", history, {"history": point_histories(shared)}),
        _model("tf-keywords", shared / "mlperf_tiny_kws_dscnn/kws_ref_model", {"words": keywords(shared)}),
        _wake_words(shared),
    ]


def _wake_words(shared: Path) -> Case:
    """MobileNet that tells whether there is a person; pictures of its size are made of smaller ones."""
    pictures, _ = channels_last({"all": enlarged(cifar_images(shared, "unit"), 3)})["all"]
    path = shared / "mlperf_tiny_vww_mobilenetv1/vww_96.h5"
    return Case(
        "keras-vww", path, (), "", pictures[::10], {}, lambda: None, check=pictures[5::10], targets=_FROM_TENSORFLOW
    )


def _file(name: str, path: Path, labelled: dict[str, Samples], float_file: Path | None = None) -> Case:
    """A float file, which is compared with what edgekit makes of it in its own format."""
    target = path.suffix.removeprefix(".")
    calibration = _calibration(labelled)
    return Case(
        name, path, (), "", calibration, labelled, lambda: None, targets=(target,), float_file=float_file or path
    )


def _model(name: str, path: Path, labelled: dict[str, Samples]) -> Case:
    return Case(name, path, (), "", _calibration(labelled), labelled, lambda: None, targets=_FROM_TENSORFLOW)


def _calibration(labelled: dict[str, Samples]) -> object:
    inputs = next(iter(labelled.values()))[0]
    step = max(1, min(10, len(inputs) // 50))
    return inputs[::step][:_LARGEST_CALIBRATION]


def _in_order(source: Path, scratch: Path) -> Path:
    """The copy that edgekit itself works on: LiteRT's quantizer wants a signature and operator codes of today."""
    made = scratch / source.name
    made.write_bytes(registry.function("converters.tflite.reading:open_source")(source, None).program())
    return made
