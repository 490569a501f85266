"""Labelled data of the shared folder, prepared the way each network was trained (see its README.md)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

_NORMALISATION: dict[str, tuple[Any, Any]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": (0.5, 0.5),
    "mnist": (0.1307, 0.3081),
    "raw": (0.0, 1 / 255),
    "unit": (0.0, 1.0),
}


def _images(path: Path, normalisation: str) -> Samples:
    with np.load(path) as file:
        pixels, labels = file["x"], file["y"]
    pixels = pixels.reshape(*pixels.shape[:3], -1).astype(np.float32) / 255
    mean, deviation = (np.asarray(value, np.float32) for value in _NORMALISATION[normalisation])
    return np.ascontiguousarray(((pixels - mean) / deviation).transpose(0, 3, 1, 2)), labels


def cifar_images(shared: Path, normalisation: str) -> Samples:
    """1961 pictures that went through JPEG, NCHW."""
    return _images(shared / "_data_cifar10/cifar10_jpegq75_dev.npz", normalisation)


def cifar_lossless(shared: Path, normalisation: str) -> Samples:
    """100 pictures as they were published, NCHW."""
    return _images(shared / "_data_cifar10/cifar10_lossless_dev100.npz", normalisation)


def mnist_images(shared: Path, normalisation: str = "mnist") -> Samples:
    """The first 5000 of the test set, NCHW."""
    return _images(shared / "_data_mnist/mnist_t10k_dev_first5000.npz", normalisation)


def iris_rows(shared: Path) -> Samples:
    """All 150 flowers, in centimetres."""
    with (shared / "winml_iris/Iris.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("SepalLengthCm", "SepalWidthCm", "PetalLengthCm", "PetalWidthCm")
    species = sorted({row["Species"] for row in rows})
    values = np.array([[float(row[column]) for column in columns] for row in rows], np.float32)
    return values, np.array([species.index(row["Species"]) for row in rows], np.int64)


def key_points(shared: Path) -> Samples:
    """4450 hands, 21 points each, already normalised."""
    return _labelled_rows(shared / "hand_gesture/keypoint_classifier/keypoint.csv")


def point_histories(shared: Path) -> Samples:
    """5296 movements of a finger tip, 16 points each, already normalised."""
    return _labelled_rows(shared / "hand_gesture/point_history_classifier/point_history.csv")


def _labelled_rows(path: Path) -> Samples:
    with path.open(newline="") as file:
        rows = np.array([[float(value) for value in row] for row in csv.reader(file)], np.float32)
    order = np.random.default_rng(0).permutation(len(rows))  # the files are sorted by class
    return np.ascontiguousarray(rows[order, 1:]), rows[order, 0].astype(np.int64)


def keywords(shared: Path) -> Samples:
    """500 spoken words, their spectra rounded to 8 bits; NHWC."""
    with np.load(shared / "mlperf_tiny_kws_dscnn/kws01_dev_first500.npz") as file:
        return file["x_float"], file["y"]


def enlarged(samples: Samples, factor: int) -> Samples:
    """NCHW pictures with every pixel repeated along both sides."""
    return samples[0].repeat(factor, axis=2).repeat(factor, axis=3), samples[1]


def channels_last(labelled: dict[str, Samples]) -> dict[str, Samples]:
    """NHWC, as TFLite files and Keras models have it."""
    return {name: (np.ascontiguousarray(x.transpose(0, 2, 3, 1)), y) for name, (x, y) in labelled.items()}
