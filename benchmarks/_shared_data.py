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
