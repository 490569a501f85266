"""Data meets a model: names, batches, dtypes, labels, and what is said when it does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit import data
from edgekit.errors import DataError
from edgekit.feeds import Feeds
from edgekit.types import Signature, TensorSpec

Array = np.ndarray
GENERATOR = np.random.default_rng(11)
IMAGES = GENERATOR.standard_normal((6, 3, 4, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def signature(**inputs: tuple[tuple[int | None, ...], str]) -> Signature:
    return Signature(tuple(TensorSpec(name, shape, dtype) for name, (shape, dtype) in inputs.items()), ())


def image(*shape: int | None, dtype: str = "float32") -> Signature:
    return signature(image=(shape or (1, 3, 4, 5), dtype))


def bound(model: Signature | None = None, **arrays: Array) -> Feeds:
    return data.bind(data.Dataset("data.npz", arrays), model or image())


def check(feeds: Feeds, labels: bool = True) -> None:
    assert feeds.count == len(IMAGES)
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES[:, None])
    assert feeds.arrays["image"].dtype == np.float32
    if labels:
        assert feeds.labels is not None
        np.testing.assert_array_equal(feeds.labels, LABELS[:, None])
    else:
        assert feeds.labels is None


# Names, batches, dynamic dimensions


def test_names_decide_and_not_the_order() -> None:
    model = signature(a=((1, 2), "float32"), b=((1, 2), "float32"))
    first, second = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    feeds = bound(model, b=second, a=first)
    assert list(feeds.arrays) == ["a", "b"]
    np.testing.assert_array_equal(feeds.arrays["b"], second[:, None])


def test_an_input_called_y_is_an_input() -> None:
    model = signature(x=((1, 2), "float32"), y=((1, 2), "float32"))
    feeds = bound(model, x=np.zeros((3, 2), np.float32), y=np.ones((3, 2), np.float32), labels=np.arange(3))
    assert feeds.arrays["y"].shape == (3, 1, 2)
    assert feeds.labels is not None
    np.testing.assert_array_equal(feeds.labels, [[0], [1], [2]])


def test_unused_arrays_are_named() -> None:
    feeds = bound(image=IMAGES, labels=LABELS, weights=LABELS, paths=np.array(["a"] * 6))
    assert feeds.origin == "6 samples of data.npz, not used: paths, weights"


def test_a_batch_takes_several_rows() -> None:
    feeds = bound(image(2, 3, 4, 5), x=IMAGES, y=LABELS)
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES.reshape(3, 2, 3, 4, 5))
    np.testing.assert_array_equal(feeds.labels, LABELS.reshape(3, 2))


def test_rows_that_fill_no_batch_are_left_out_and_counted() -> None:
    feeds = bound(image(4, 3, 4, 5), x=IMAGES, y=LABELS)
    assert feeds.arrays["image"].shape == (1, 4, 3, 4, 5)
    np.testing.assert_array_equal(feeds.labels, LABELS[None, :4])
    assert feeds.origin == "1 samples of data.npz, without the last 2 that fill no batch"


def test_whole_batches_along_the_first_axis() -> None:
    batches = IMAGES.reshape(3, 2, 3, 4, 5)
    for labels in (LABELS, LABELS.reshape(6, 1)):
        feeds = bound(image(2, 3, 4, 5), x=batches, y=labels)
        np.testing.assert_array_equal(feeds.arrays["image"], batches)
        np.testing.assert_array_equal(feeds.labels, LABELS.reshape(3, 2))


def test_fewer_rows_than_a_batch() -> None:
    with pytest.raises(DataError, match="array 'x': 6 samples are fewer than the model's batch of 8"):
        bound(image(8, 3, 4, 5), x=IMAGES)


def test_one_sample_without_a_batch_dimension() -> None:
    feeds = bound(x=IMAGES[0], y=np.array(2))
    np.testing.assert_array_equal(feeds.arrays["image"], IMAGES[:1, None])
    np.testing.assert_array_equal(feeds.labels, [[2]])


def test_a_model_without_a_batch_dimension() -> None:
    model = signature(sound=((1600,), "float32"))
    feeds = bound(model, x=np.zeros((6, 1600), np.float32), y=LABELS)
    assert feeds.arrays["sound"].shape == (6, 1600)
    np.testing.assert_array_equal(feeds.labels, LABELS[:, None])


def test_a_model_of_plain_numbers() -> None:
    feeds = bound(signature(t=((), "float32")), x=np.arange(4, dtype=np.float32))
    assert feeds.arrays["t"].shape == (4,)


def test_dynamic_dimensions_take_any_size() -> None:
    feeds = bound(signature(ids=((None, None), "int64")), x=np.zeros((6, 9), np.int64))
    assert feeds.arrays["ids"].shape == (6, 1, 9)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_floats_of_other_sizes_are_converted(dtype: str) -> None:
    feeds = bound(x=IMAGES.astype(dtype))
    assert feeds.arrays["image"].dtype == np.float32
    np.testing.assert_allclose(feeds.arrays["image"][:, 0], IMAGES, atol=2e-3)


def test_integers_of_other_sizes_are_converted_where_they_fit() -> None:
    model = signature(ids=((1, 2), "int8"))
    feeds = bound(model, x=np.full((3, 2), -100, np.int64))
    assert feeds.arrays["ids"].dtype == np.int8
    with pytest.raises(DataError, match="array 'x': int64 values that do not fit input 'ids' of int8"):
        bound(model, x=np.full((3, 2), 200, np.int64))


# What does not fit


def test_wrong_name_among_several_inputs() -> None:
    model = signature(a=((1, 2), "float32"), b=((1, 2), "float32"))
    with pytest.raises(DataError) as caught:
        bound(model, a=np.zeros((3, 2), np.float32), c=np.zeros((3, 2), np.int32))
    assert caught.value.message == (
        "--data data.npz: no array for each input. Expected a: float32[1,2], b: float32[1,2]; "
        "found a: float32[3, 2], c: int32[3, 2]."
    )
    assert caught.value.hint == "np.savez('data.npz', a=…, b=…, labels=…)"


def test_several_arrays_and_none_has_the_name() -> None:
    with pytest.raises(DataError, match=r"Expected image: float32\[1,3,4,5\]; found left: .*, right: "):
        bound(left=IMAGES, right=IMAGES)


def test_labels_alone() -> None:
    with pytest.raises(DataError, match="no array for each input"):
        bound(labels=LABELS)


def test_wrong_shape_names_expected_and_found() -> None:
    with pytest.raises(DataError) as caught:
        bound(x=np.zeros((6, 3, 8, 8), np.float32))
    assert caught.value.message == (
        "--data data.npz: array 'x': expected shape [N,3,4,5] for input 'image', found [6, 3, 8, 8]."
    )
    assert "first axis" in caught.value.hint


def test_channels_last_for_a_channels_first_model_is_told_with_the_cure() -> None:
    last = IMAGES.transpose(0, 2, 3, 1)
    with pytest.raises(DataError, match=r"found \[6, 4, 5, 3\]") as caught:
        bound(x=last)
    assert caught.value.hint == "The data is channels last and the model is not: x.transpose(0, 3, 1, 2)."
    check(bound(x=last.transpose(0, 3, 1, 2)), labels=False)


def test_channels_first_for_a_channels_last_model_is_told_with_the_cure() -> None:
    with pytest.raises(DataError) as caught:
        bound(image(1, 4, 5, 3), x=IMAGES)
    assert caught.value.hint == "The data is channels first and the model is not: x.transpose(0, 2, 3, 1)."
    bound(image(1, 4, 5, 3), x=IMAGES.transpose(0, 2, 3, 1))


def test_bytes_for_floats_tell_about_scaling() -> None:
    with pytest.raises(DataError, match="expected float32 for input 'image', found uint8") as caught:
        bound(x=np.zeros((6, 3, 4, 5), np.uint8))
    assert "/ 255" in caught.value.hint


def test_floats_for_integers() -> None:
    with pytest.raises(DataError, match="expected int64 for input 'image', found float32") as caught:
        bound(image(1, 3, 4, 5, dtype="int64"), x=IMAGES)
    assert "255" not in caught.value.hint


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    spoilt = IMAGES.copy()
    spoilt[2, 1, :2, 0] = bad
    with pytest.raises(DataError, match="array 'x': 2 values are not finite"):
        bound(x=spoilt)


def test_inputs_with_different_numbers_of_samples() -> None:
    model = signature(a=((1, 2), "float32"), b=((1, 2), "float32"))
    with pytest.raises(DataError, match=r"different numbers of samples: \{'a': 3, 'b': 4\}"):
        bound(model, a=np.zeros((3, 2), np.float32), b=np.zeros((4, 2), np.float32))


@pytest.mark.parametrize("count", [5, 7])
def test_number_of_labels(count: int) -> None:
    with pytest.raises(DataError, match=f"{count} labels for 6 samples"):
        bound(x=IMAGES, y=np.zeros(count, np.int64))
    with pytest.raises(DataError, match=f"{count} labels for 6 samples"):
        bound(image(4, 3, 4, 5), x=IMAGES, y=np.zeros(count, np.int64))


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_])
def test_one_hot_labels_are_told_with_the_cure(dtype: type) -> None:
    with pytest.raises(DataError, match=r"labels must be whole numbers of shape \[N\], found \w+\[6, 3\]") as caught:
        bound(x=IMAGES, y=np.eye(3, dtype=dtype)[LABELS])
    assert "argmax(1)" in caught.value.hint


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.astype(np.float64), LABELS.astype(np.uint8)])
def test_spellings_of_labels(labels: Array) -> None:
    check(bound(x=IMAGES, y=labels))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_to_predict_are_labels_too(dtype: type) -> None:
    wanted = GENERATOR.standard_normal((6, 2)).astype(dtype)
    for model, shape in ((image(1, 3, 4, 5), (6, 1, 2)), (image(2, 3, 4, 5), (3, 2, 2))):
        feeds = bound(model, x=IMAGES, y=wanted)
        assert feeds.labels is not None
        assert feeds.labels.dtype == dtype
        np.testing.assert_array_equal(feeds.labels, wanted.reshape(shape))
        assert "not used" not in feeds.origin


def test_one_number_to_predict_per_sample() -> None:
    feeds = bound(x=IMAGES, y=np.arange(6.0)[:, None] / 4)
    assert feeds.labels is not None
    np.testing.assert_array_equal(feeds.labels, np.arange(6.0)[:, None] / 4)


def test_another_number_of_numbers_to_predict() -> None:
    with pytest.raises(DataError, match="5 labels for 6 samples"):
        bound(x=IMAGES, y=np.arange(5.0) / 4)


def test_numbers_to_predict_that_are_not_finite_are_no_labels_and_it_is_said() -> None:
    feeds = bound(x=IMAGES, y=np.array([0.5, np.nan, 1, 2, 3, 4]))
    check(feeds, labels=False)
    assert feeds.origin == "6 samples of data.npz, not used: y"


# Random samples


def test_random_samples_repeat_and_respect_limits() -> None:
    model = signature(image=((None, 3), "float32"), ids=((1, 9), "int64"), flag=((1,), "bool"))
    first = data.random_feeds(model, 5, data.SEED, {"ids": 50})
    again = data.random_feeds(model, 5, data.SEED, {"ids": 50})
    other = data.random_feeds(model, 5, data.SEED + 1, {"ids": 50})
    assert {name: array.shape for name, array in first.arrays.items()} == {
        "image": (5, 1, 3), "ids": (5, 1, 9), "flag": (5, 1),
    }  # fmt: skip
    for name in first.arrays:
        np.testing.assert_array_equal(first.arrays[name], again.arrays[name])
    assert not np.array_equal(first.arrays["image"], other.arrays["image"])
    assert 2 < first.arrays["ids"].max() < 50
    assert first.origin == f"5 random samples, seed {data.SEED}"
