"""The files of the example: real weights, real data, small, and reproducible from the script beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import demo

LIMIT_BYTES = 300_000


@pytest.fixture(scope="module")
def folder() -> Path:
    return demo.assets()


def test_all_files_are_small(folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    assert {"model.py", "train.py", "digits.pt", "calibration.npz", "test.npz", "README.md"} <= set(sizes)
    assert sum(sizes.values()) < LIMIT_BYTES


def test_data_has_the_shape_of_the_model(folder: Path) -> None:
    calibration, test = np.load(folder / "calibration.npz"), np.load(folder / "test.npz")
    assert calibration.files == ["image"]
    assert test.files == ["image", "labels"]
    assert len(calibration["image"]) == 300
    assert len(test["image"]) == len(test["labels"]) >= 359
    for image in (calibration["image"], test["image"]):
        assert image.shape[1:] == (1, 8, 8)
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() == 1
    assert set(test["labels"]) == set(range(10))


def test_nothing_held_out_was_calibrated_with(folder: Path) -> None:
    calibration, test = np.load(folder / "calibration.npz"), np.load(folder / "test.npz")
    seen = {image.tobytes() for image in calibration["image"]}
    assert not [1 for image in test["image"] if image.tobytes() in seen]


def test_split_is_the_one_of_the_training_script(folder: Path) -> None:
    """The labels are those that scikit-learn gives to the same pictures."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    known = {
        (pixels / 16).astype(np.float32).tobytes(): label
        for pixels, label in zip(digits.images, digits.target, strict=True)
    }
    test = np.load(folder / "test.npz")
    assert [known[image.tobytes()] for image in test["image"]] == test["labels"].tolist()


def test_weights_are_as_good_as_said(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    names: dict[str, object] = {}
    exec(compile((folder / "model.py").read_text(), "model.py", "exec"), names)  # noqa: S102 - our own file
    model = names["Digits"]()  # type: ignore[operator]
    model.load_state_dict(torch.load(folder / "digits.pt", weights_only=True), strict=True)
    test = np.load(folder / "test.npz")
    with torch.no_grad():
        scores = model.eval()(torch.from_numpy(test["image"])).numpy()
    assert (scores.argmax(1) == test["labels"]).mean() >= 0.98
    assert scores.std(axis=0).min() > 0.1  # no output is dead
