"""Pictures become inputs: what is said about them, and the numbers that a model sees."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgekit import data, feeds, pictures
from edgekit.errors import DataError, UsageError
from edgekit.preprocessing import PRESETS, parse
from edgekit.types import Signature, TensorSpec

Image = pytest.importorskip("PIL.Image", reason="needs the extra images")
Array = np.ndarray
GENERATOR = np.random.default_rng(3)


def noise(height: int, width: int, channels: int = 3) -> Array:
    return GENERATOR.integers(0, 256, (height, width, channels), dtype=np.uint8)


def saved(folder: Path, *pixels: Array) -> pictures.Pictures:
    """Lossless pictures in a folder."""
    files, sizes = [], {}
    for index, array in enumerate(pixels):
        file = folder / f"{index}.png"
        Image.fromarray(array.squeeze()).save(file)
        files.append(str(file))
        size = f"{array.shape[0]}x{array.shape[1]}"
        sizes[size] = sizes.get(size, 0) + 1
    return pictures.Pictures(tuple(files), None, sizes, {"RGB": len(files)})


def seen(found: pictures.Pictures, preprocess: str, *shape: int | None, dtype: str = "float32") -> Array:
    """What a model with one input of that shape is fed."""
    given = pictures.Pictures(found.files, preprocess, found.sizes, found.modes)
    signature = Signature((TensorSpec("image", shape, dtype),), ())
    return data.bind(data.Dataset("pictures", {}, pictures=given), signature).arrays["image"][:]


# What was typed


def test_presets_and_pairs() -> None:
    imagenet = parse("imagenet")
    assert (imagenet.mean, imagenet.std, imagenet.scale) == (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255,
    )  # fmt: skip
    full = parse("resize=256 crop=224x192 scale=1/255 mean=0.5 std=0.25,0.5,1 order=bgr layout=nhwc interp=bicubic")
    assert (full.resize, full.crop, full.scale, full.mean, full.std) == (
        (256,), (224, 192), 1 / 255, (0.5,), (0.25, 0.5, 1.0),
    )  # fmt: skip
    assert (full.bgr, full.layout, full.interpolation, full.size) == (True, "nhwc", "bicubic", (224, 192))


@pytest.mark.parametrize("typed", ["unit scale=1", "scale=1 unit"])
def test_pairs_stand_over_the_preset(typed: str) -> None:
    assert parse(typed).scale == 1.0


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("imagnet", "'imagnet' means nothing here", "Did you mean imagenet?"),
        ("unit raw", "unit and raw contradict each other", "Name one"),
        ("unit size=3", "'size' means nothing here", "Settings: resize="),
        ("resize=256 crop=224", "does not say what becomes of the values", "signed (-1 to 1)"),
        ("unit crop=", "'' is not a size in pixels", "crop=224"),
        ("unit crop=0", "'0' is not a size in pixels", "crop=224"),
        ("unit crop=2x3x4", "'2x3x4' is not a size", "crop=224"),
        ("unit mean=a,b,c", "'a' is not a number", "mean=0.485"),
        ("unit mean=1,2", "2 numbers; one, or one per channel", "mean=0.485"),
        ("unit std=0", "nothing can be divided by 0", "std=0.229"),
        ("scale=1/0", "division by zero", "scale=1/255"),
        ("unit order=grb", "'grb' is none of rgb, bgr", "order=bgr"),
        ("unit interp=sinc", "none of bilinear, bicubic, nearest", "interp=bicubic"),
        ("unit channels=2", "none of 1, 3, 4", "channels=1"),
    ],
)
def test_words_that_mean_nothing(typed: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(typed)
    assert said in caught.value.message
    assert hint in caught.value.hint


# Values


@pytest.mark.parametrize("preset", list(PRESETS))
def test_values_of_presets(tmp_path: Path, preset: str) -> None:
    pixels = noise(6, 5)
    made = seen(saved(tmp_path, pixels), preset, 1, 3, 6, 5)
    values = pixels.astype(np.float64)
    expected = {
        "unit": values / 255,
        "signed": values / 127.5 - 1,
        "raw": values,
        "imagenet": (values / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    }[preset]
    assert made.shape == (1, 1, 3, 6, 5)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[0, 0].transpose(1, 2, 0), expected, atol=1e-6)


def test_order_of_channels_and_a_mean_for_each(tmp_path: Path) -> None:
    pixels = noise(8, 8)
    made = seen(saved(tmp_path, pixels), "order=bgr scale=1 mean=103.939,116.779,123.68", 1, 8, 8, 3)
    np.testing.assert_allclose(made[0, 0], pixels[..., ::-1] - np.array([103.939, 116.779, 123.68]), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "made_shape"),
    [
        ((1, 3, 6, 5), (1, 3, 6, 5)),
        ((None, 6, 5, 3), (1, 6, 5, 3)),
        ((None, None, None, 3), (1, 6, 5, 3)),
        ((6, 5, 3), (6, 5, 3)),
        ((3, 6, 5), (3, 6, 5)),
        ((1, 6, 5), (1, 6, 5)),
        ((None, 6, 5), (1, 6, 5)),
        ((1, 6, 5, 1), (1, 6, 5, 1)),
        ((1, 1, 6, 5), (1, 1, 6, 5)),
        ((1, 4, 6, 5), (1, 4, 6, 5)),
    ],
)
def test_layout_size_and_channels_come_from_the_model(
    tmp_path: Path, shape: tuple[int | None, ...], made_shape: tuple[int, ...]
) -> None:
    pixels = noise(6, 5)
    made = seen(saved(tmp_path, pixels, pixels), "raw", *shape)
    assert made.shape == (2, *made_shape)
    image = Image.fromarray(pixels)
    if made_shape in ((1, 6, 5), (1, 6, 5, 1), (1, 1, 6, 5)):
        np.testing.assert_array_equal(made[1].reshape(6, 5), np.asarray(image.convert("L")))
    elif 4 in made_shape:
        np.testing.assert_array_equal(made[1, 0], np.asarray(image.convert("RGBA")).transpose(2, 0, 1))
    else:
        channels_first = made_shape.index(3) < made_shape.index(6)
        pixels = pixels.transpose(2, 0, 1) if channels_first else pixels
        np.testing.assert_array_equal(made[1].reshape(pixels.shape), pixels)


def test_an_open_layout_is_asked_for(tmp_path: Path) -> None:
    found = saved(tmp_path, noise(6, 5))
    with pytest.raises(UsageError, match="does not say where its channels are") as caught:
        seen(found, "raw", 1, None, None, None)
    assert "layout=nchw" in caught.value.hint
    assert seen(found, "raw layout=nhwc", 1, None, None, None).shape == (1, 1, 6, 5, 3)
    with pytest.raises(DataError, match=r"layout=nhwc, and input image.* has its channels elsewhere"):
        seen(found, "raw layout=nhwc", 1, 3, 6, 5)


def test_batches_of_pictures(tmp_path: Path) -> None:
    pixels = [noise(8, 8) for _ in range(5)]
    found = saved(tmp_path, *pixels)
    made = seen(found, "raw", 2, 8, 8, 3)
    np.testing.assert_array_equal(made, np.stack(pixels[:4]).reshape(2, 2, 8, 8, 3))
    with pytest.raises(DataError, match="5 samples are fewer than the model's batch of 9"):
        seen(found, "raw", 9, 8, 8, 3)


@pytest.mark.parametrize(("dtype", "preprocess"), [("uint8", "raw"), ("int8", "scale=1 mean=128"), ("int32", "raw")])
def test_models_that_take_whole_numbers(tmp_path: Path, dtype: str, preprocess: str) -> None:
    pixels = noise(8, 8)
    made = seen(saved(tmp_path, pixels), preprocess, 1, 8, 8, 3, dtype=dtype)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made[0, 0].astype(int), pixels.astype(int) - (128 if dtype == "int8" else 0))


@pytest.mark.parametrize(("dtype", "preprocess"), [("uint8", "unit"), ("int8", "raw"), ("uint8", "signed")])
def test_values_that_whole_numbers_cannot_hold(tmp_path: Path, dtype: str, preprocess: str) -> None:
    with pytest.raises(DataError, match=f"the model takes {dtype}, and --preprocess {preprocess} makes values from"):
        seen(saved(tmp_path, noise(8, 8)), preprocess, 1, 8, 8, 3, dtype=dtype)


def test_the_scale_of_a_quantized_input_is_applied_later(tmp_path: Path) -> None:
    found = saved(tmp_path, noise(8, 8))
    spec = TensorSpec("image", (1, 8, 8, 3), "int8", 1 / 255, -128)
    given = pictures.Pictures(found.files, "unit", found.sizes, found.modes)
    made = data.bind(data.Dataset("p", {}, pictures=given), Signature((spec,), ())).arrays["image"]
    assert made.dtype == np.float32
    assert 0 <= made[0].min() < made[0].max() <= 1


# Sizes


def test_squeezed_to_the_size_of_the_model(tmp_path: Path) -> None:
    pixels = noise(40, 60)
    made = seen(saved(tmp_path, pixels), "raw", 1, 16, 24, 3)
    expected = Image.fromarray(pixels).resize((24, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(made[0, 0], np.asarray(expected))


@pytest.mark.parametrize("interpolation", ["nearest", "bicubic"])
def test_interpolation(tmp_path: Path, interpolation: str) -> None:
    pixels = noise(40, 60)
    made = seen(saved(tmp_path, pixels), f"raw interp={interpolation}", 1, 16, 24, 3)
    expected = Image.fromarray(pixels).resize((24, 16), getattr(Image.Resampling, interpolation.upper()))
    np.testing.assert_array_equal(made[0, 0], np.asarray(expected))


@pytest.mark.parametrize(("size", "resized"), [((40, 60), (256, 384)), ((300, 201), (382, 256))])
def test_imagenet_as_torchvision_evaluates(tmp_path: Path, size: tuple[int, int], resized: tuple[int, int]) -> None:
    """Shorter side to 256, the longer rounded down, and 224 of the middle."""
    pixels = noise(*size)
    made = seen(saved(tmp_path, pixels), "imagenet", 1, 3, 224, 224)
    explicit = seen(saved(tmp_path, pixels), "imagenet resize=256 crop=224", 1, 3, 224, 224)
    np.testing.assert_array_equal(made, explicit)
    whole = Image.fromarray(pixels).resize((resized[1], resized[0]), Image.Resampling.BILINEAR)
    top, left = round((resized[0] - 224) / 2), round((resized[1] - 224) / 2)
    middle = np.asarray(whole)[top : top + 224, left : left + 224] / 255
    expected = (middle - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(made[0, 0].transpose(1, 2, 0), expected, atol=1e-5)


def test_pictures_of_the_right_size_are_left_alone(tmp_path: Path) -> None:
    pixels = noise(32, 32)
    made = seen(saved(tmp_path, pixels), "imagenet scale=1 mean=0 std=1", 1, 32, 32, 3)
    np.testing.assert_array_equal(made[0, 0], pixels)


@pytest.mark.parametrize(
    ("preprocess", "said", "hint"),
    [
        ("raw crop=20", "makes pictures of 20x20, and input image: .* takes 16x24", "crop=16x24"),
        ("raw resize=20", r"makes 20x30 of .*0\.png, and the model takes 16x24", "Add crop=16x24"),
        ("raw crop=16x24 resize=10", r"0\.png is 10x15, too small to cut 16x24 out of it", "resize=24 crop=16x24"),
        ("raw channels=1", "channels=1, and input image: .* takes 3", ""),
        ("raw mean=1,2,3,4", "mean has 4 numbers, and input image: .* has 3 channels", "One number"),
    ],
)
def test_sizes_that_do_not_fit_the_model(tmp_path: Path, preprocess: str, said: str, hint: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        seen(saved(tmp_path, noise(40, 60)), preprocess, 1, 16, 24, 3)
    assert hint in caught.value.hint


def test_a_model_of_any_size_wants_pictures_of_one(tmp_path: Path) -> None:
    found = saved(tmp_path, noise(6, 5), noise(7, 5))
    with pytest.raises(UsageError, match="takes pictures of any size, and these are not all of one"):
        seen(found, "raw", 1, None, None, 3)
    assert seen(found, "raw resize=4x8", 1, None, None, 3).shape == (2, 1, 4, 8, 3)


@pytest.mark.parametrize("shape", [(1, 784), (1, 5, 6, 5), (1, 2, 3, 4, 5), (8, 28, 28)])
def test_inputs_that_are_no_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"is no picture: pictures have 1, 3 or 4 channels"):
        seen(saved(tmp_path, noise(6, 5)), "raw", *shape)


def test_pictures_fill_one_input(tmp_path: Path) -> None:
    found = saved(tmp_path, noise(8, 8))
    specs = (TensorSpec("left", (1, 8, 8, 3), "float32"), TensorSpec("right", (1, 8, 8, 3), "float32"))
    with pytest.raises(DataError, match="pictures fill one input, and the model has left") as caught:
        data.bind(data.Dataset("p", {}, pictures=found), Signature(specs, ()))
    assert "FILE.py:NAME" in caught.value.hint


# Kinds of files


def test_a_turned_photograph_is_turned_back(tmp_path: Path) -> None:
    pixels = noise(8, 6)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    found = pictures.Pictures((str(tmp_path / "turned.png"),), None, {"8x6": 1}, {"RGB": 1})
    np.testing.assert_array_equal(seen(found, "raw", 1, 8, 6, 3)[0, 0], pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_kinds_of_pictures_get_the_channels_of_the_model(tmp_path: Path, mode: str, channels: int) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    file = tmp_path / f"picture.{suffix}"
    grey = Image.fromarray(np.full((8, 8, 3), 200, np.uint8))
    (grey.quantize(4) if mode == "P" else grey.convert(mode)).save(file)
    found = pictures.Pictures((str(file),), None, {"8x8": 1}, {mode: 1})
    made = seen(found, "raw", 1, 8, 8, channels)
    assert made.shape == (1, 1, 8, 8, channels)
    if mode != "1":
        np.testing.assert_allclose(made, 200, atol=3)


def test_sixteen_bits_are_refused_rather_than_cut(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    found = pictures.Pictures((str(tmp_path / "deep.png"),), None, {"8x8": 1}, {"I;16": 1})
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits per channel"):
        seen(found, "raw", 1, 8, 8, 1)


def test_a_picture_that_is_cut_short_is_named(tmp_path: Path) -> None:
    found = saved(tmp_path, noise(60, 60), noise(60, 60))
    whole = Path(found.files[1]).read_bytes()
    Path(found.files[1]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1\.png cannot be read as a picture") as caught:
        seen(found, "raw", 1, 60, 60, 3)
    assert caught.value.exit_code == 2


# On the way to a child


def test_they_stay_files_on_the_way_to_a_child(tmp_path: Path) -> None:
    found = saved(tmp_path, noise(8, 8), noise(8, 8))
    given = data.Dataset("pictures", {"labels": np.array([1, 0])}, pictures=found, classes=("cat", "dog"), notes=("a",))
    opened = data.Dataset.open(given.save(tmp_path / "dataset"))
    assert (opened.pictures, opened.classes, opened.notes) == (found, ("cat", "dog"), ("a",))
    assert sum(file.stat().st_size for file in (tmp_path / "dataset").iterdir()) < 2000


def test_many_pictures_need_little_memory(tmp_path: Path) -> None:
    """10,000 of them, of which 2,000 are written: 98 MB as numbers."""
    first = Path(saved(tmp_path, noise(64, 64)).files[0])
    files = [tmp_path / f"copy{number}.png" for number in range(10_000)]
    for file in files:
        file.hardlink_to(first)
    given = pictures.Pictures(tuple(map(str, files)), "unit", {"64x64": len(files)}, {"RGB": len(files)})
    signature = Signature((TensorSpec("image", (1, 3, 64, 64), "float32"),), ())
    tracemalloc.start()
    try:
        bound = data.bind(data.Dataset("many", {}, pictures=given), signature)
        written = feeds.write_some(tmp_path / "feeds", bound, np.arange(0, 10_000, 5))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written.count == 2000
    assert written.arrays["image"].nbytes > 98e6
    assert peak < 8e6
    np.testing.assert_array_equal(written.arrays["image"][0], written.arrays["image"][-1])
