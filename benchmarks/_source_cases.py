"""Models of every source but plain PyTorch, with data: what the table in docs/sources.md is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _huggingface_models as huggingface
import numpy as np
from _shared_data import (
    Samples,
    channels_last,
    cifar_images,
    enlarged,
    key_points,
    keywords,
    mnist_images,
    point_histories,
)

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
LEAST_RECURRENT_DB = 80.0


@dataclass(frozen=True)
class SourceCase:
    """One model.

    Attributes:
        name: As in the table.
        origin: Its format, in a word.
        model: File, folder, or ``FILE.py:NAME``.
        data: Arrays to calibrate and check with, by input name; empty where the source makes its own.
        labelled: Inputs by name, and labels; empty where there are none.
        options: What ``edgekit convert`` needs beside.
        min_float_db: Limit of the float32 files.
        shipped_int8: An int8 file of the same model, that ours must not be less accurate than.
    """

    name: str
    origin: str
    model: str
    data: dict[str, Any]
    labelled: tuple[dict[str, Any], Any] | None = None
    options: tuple[str, ...] = ()
    min_float_db: float = 100.0
    shipped_int8: Path | None = None


def all_cases(shared: Path, scratch: Path) -> list[SourceCase]:
    """Every case.

    Args:
        shared: The folder of shared models.
        scratch: An existing folder, for those that are made.
    """
    return [*_keras(shared), *_tensorflow(shared), *_tflite(shared), *_jax(), *_huggingface(scratch)]


def _keras(shared: Path) -> list[SourceCase]:
    images, classes = _nhwc(cifar_images(shared, "raw"))
    digits = _nhwc(mnist_images(shared, "unit"))
    resnet, hand = shared / "mlperf_tiny_resnet8", shared / "hand_gesture"
    points = key_points(shared)
    history = point_histories(shared)
    return [
        _labelled(
            "ResNet-8", "Keras .h5", resnet / "pretrainedResnet.h5", (images, classes), "input_1",
            shipped=resnet / "pretrainedResnet_quant.tflite",
        ),
        SourceCase(
            "VWW MobileNet", "Keras 2 .h5", str(shared / "mlperf_tiny_vww_mobilenetv1/vww_96.h5"),
            {"x": _nhwc(enlarged(cifar_images(shared, "unit"), 3))[0][:300]},
        ),
        SourceCase(
            "autoencoder", "Keras .h5", str(shared / "mlperf_tiny_ad_autoencoder/ad01.h5"), {"x": clip_windows(shared)}
        ),
        _labelled("NhanMNIST", "Keras .keras", shared / "nhan_mnist_keras/model.keras", digits, "x"),
        _labelled("hand key points", "Keras .hdf5", hand / "keypoint_classifier/keypoint_classifier.hdf5", points, "x"),
        _labelled(
            "point history", "Keras .hdf5", hand / "point_history_classifier/point_history_classifier.hdf5",
            history, "x",
        ),
    ]  # fmt: skip


def _tensorflow(shared: Path) -> list[SourceCase]:
    folder = shared / "mlperf_tiny_kws_dscnn"
    return [_labelled("DS-CNN", "SavedModel (TF 1 style)", folder / "kws_ref_model", keywords(shared), "x")]


def _tflite(shared: Path) -> list[SourceCase]:
    digits = _nhwc(mnist_images(shared, "unit"))
    mobilenet = shared / "coral_mobilenet/mobilenet_v1_0.25_224_1_default_1.tflite"
    angles = np.linspace(0, 2 * np.pi, 500, dtype=np.float32)[:, None]
    return [
        SourceCase("hello world", "TFLite", str(shared / "tflm_hello_world/hello_world_float.tflite"), {"x": angles}),
        _labelled("aieq MNIST", "TFLite", shared / "aieq_mnist/conv_fc_mnist.tflite", digits, "x"),
        SourceCase(
            "coral MobileNet, `--optimize`",
            "TFLite",
            str(mobilenet),
            {"x": _photographs(200, 224)},
            options=("--optimize",),
        ),
    ]


def _jax() -> list[SourceCase]:
    with np.load(EXAMPLES / "jax" / "digits.npz") as file:
        samples = file["image"], file["labels"]
    files = {"plain JAX": "plain.py:net", "Flax CNN": "flax_cnn.py:net", "Equinox MLP": "equinox_mlp.py:load"}
    return [_labelled(name, "JAX", EXAMPLES / "jax" / code, samples, "image") for name, code in files.items()]


def _huggingface(scratch: Path) -> list[SourceCase]:
    """Small ones with random weights; their own tokenizers and processors make the samples."""
    (scratch / "huggingface").mkdir()
    return [
        SourceCase(name, "Hugging Face", str(make(scratch / "huggingface" / name)), {}, min_float_db=LEAST_RECURRENT_DB)
        for name, make in huggingface.FOLDERS.items()
    ]


def _labelled(
    name: str, origin: str, model: Path, samples: Samples, input_name: str, shipped: Path | None = None
) -> SourceCase:
    inputs, labels = samples
    step = max(1, len(inputs) // 300)
    return SourceCase(
        name, origin, str(model), {input_name: inputs[::step]}, ({input_name: inputs}, labels), shipped_int8=shipped
    )


def _nhwc(samples: Samples) -> Samples:
    return channels_last({"": samples})[""]


def _photographs(count: int, size: int) -> Any:
    """Pieces of the two photographs that scikit-learn brings, from -1 to 1."""
    from sklearn.datasets import load_sample_images

    rng, pictures, pieces = np.random.default_rng(0), load_sample_images().images, []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        top, left = (rng.integers(0, length - size + 1) for length in picture.shape[:2])
        piece = picture[top : top + size, left : left + size]
        pieces.append(piece[:, :: rng.choice((-1, 1))])
    return np.stack(pieces).astype(np.float32) / 127.5 - 1


def clip_windows(shared: Path) -> Any:
    """The windows of the one normal clip: five frames of 128 mel bands each, as the network was trained."""
    frames = np.fromfile(
        shared / "mlperf_tiny_ad_autoencoder/normal_id_01_00000000_hist_librosa.bin", np.float32
    ).reshape(-1, 128)
    return np.concatenate([frames[start : len(frames) - 4 + start] for start in range(5)], axis=1)


def clip_score(windows: Any, outputs: Any) -> float:
    """The published score of a clip: mean squared error over all its windows."""
    return float(((windows - outputs) ** 2).mean())
