"""``--layout``: which axes move, and what a feeds folder holds afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters import layouts
from edgekit import feeds
from edgekit.errors import UsageError
from edgekit.feeds import Feeds
from edgekit.types import Signature, TensorSpec

IMAGE = TensorSpec("image", (1, 3, 8, 9), "float32")
SOUND = TensorSpec("sound", (1, 40, 100), "float32")
FLAT = TensorSpec("flat", (1, 7), "float32")
SIGNATURE = Signature((IMAGE, SOUND, FLAT), ())


def test_every_image_moves_and_the_rest_stays() -> None:
    found = layouts.changes(SIGNATURE, ["nhwc"], "nchw")
    shapes = [spec.shape for spec in layouts.changed(SIGNATURE, found).inputs]
    assert shapes == [(1, 8, 9, 3), (1, 100, 40), (1, 7)]


def test_one_input_by_name() -> None:
    found = layouts.changes(SIGNATURE, ["sound=NHWC"], "nchw")
    assert [spec.shape for spec in layouts.changed(SIGNATURE, found).inputs] == [(1, 3, 8, 9), (1, 100, 40), (1, 7)]


def test_the_own_layout_changes_nothing() -> None:
    assert layouts.changes(SIGNATURE, ["nchw"], "nchw") == {}


@pytest.mark.parametrize("native", layouts.NAMES)
@pytest.mark.parametrize("rank", [3, 4, 5])
def test_the_way_back_is_the_inverse(native: str, rank: int) -> None:
    (other,) = set(layouts.NAMES) - {native}
    shape = tuple(range(2, 2 + rank))
    (change,) = layouts.changes(Signature((TensorSpec("x", shape, "float32"),), ()), [other], native).values()
    values = np.arange(np.prod(shape)).reshape(shape)
    served = values.transpose(change.served)
    assert served.shape != shape
    assert np.array_equal(served.transpose(change.taken), values)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nwhc", "there are nhwc and nchw"),
        ("picture=nhwc", "image, sound, flat"),
        ("flat=nhwc", "no channel axis"),
    ],
)
def test_words_that_mean_nothing(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        layouts.changes(SIGNATURE, [word], "nchw")


def test_samples_are_transposed_and_keep_labels_and_places(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, flat = rng.random((6, 1, 3, 8, 9), np.float32), rng.random((6, 1, 7), np.float32)
    given = Feeds({"image": image, "flat": flat}, np.arange(6)[:, None], "{curly} samples")
    feeds.write_some(tmp_path / "feeds", given, np.array([4, 1, 5]))
    before = feeds.read(tmp_path / "feeds")
    origin, places = before.origin, np.array(before.places)
    layouts.change_samples(tmp_path / "feeds", layouts.changes(SIGNATURE, ["nhwc"], "nchw"))
    after = feeds.read(tmp_path / "feeds")
    assert np.array_equal(after.arrays["image"], image[[4, 1, 5]].transpose(0, 1, 3, 4, 2))
    assert np.array_equal(after.arrays["flat"], flat[[4, 1, 5]])
    assert after.labels is not None
    assert after.labels.ravel().tolist() == [4, 1, 5]
    assert after.origin == origin
    assert after.places is not None
    assert np.array_equal(after.places, places)
