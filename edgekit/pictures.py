"""Pictures as samples: decoded where they are used, one at a time, so memory does not grow with their number."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError, UsageError
from edgekit.feeds import Array
from edgekit.preprocessing import CHANNELS, PRESETS_IN_WORDS, Preprocess, parse
from edgekit.types import TensorSpec

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
"""That are read; Pillow knows more, and some of those start other programs."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Pictures:
    """Picture files, and what is to be done to each; JSON both ways.

    Attributes:
        files: Paths, as typed.
        preprocess: ``--preprocess``; ``None`` where it was not given, and then there are no inputs, only pictures.
        sizes: Number of pictures by ``HEIGHTxWIDTH``.
        modes: Number of pictures by Pillow's name of their kind, such as ``RGB``.
    """

    files: tuple[str, ...]
    preprocess: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)

    def settings(self) -> Preprocess:
        """What to do.

        Raises:
            UsageError: Nobody said it.
        """
        if self.preprocess is None:
            raise UsageError(
                f"{Path(self.files[0]).name} is a picture of values from 0 to 255, and nothing says what the model "
                "was trained on: a wrong guess would calibrate it on numbers that it never sees.",
                hint=f"--preprocess NAME with one of {PRESETS_IN_WORDS}; or in full: --preprocess "
                "'resize=256 crop=224 scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225'",
            )
        return parse(self.preprocess)


@dataclass(frozen=True)
class Frame:
    """The input that a picture becomes.

    Attributes:
        axes: What the axes of a sample are: ``nchw``, ``nhwc``, ``chw``, ``hwc`` or ``nhw``.
        batch, channels, height, width: Sizes of them.
        dtype: Of the values.
    """

    axes: str
    batch: int
    channels: int
    height: int
    width: int
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        sizes = {"n": self.batch, "c": self.channels, "h": self.height, "w": self.width}
        return tuple(sizes[axis] for axis in self.axes)


def frame_for(pictures: Pictures, spec: TensorSpec, where: str, layout: str = "") -> Frame:
    """What pictures have to become to be samples of an input.

    Args:
        pictures: With their preprocessing.
        spec: Of the input; open sizes are settled by the options, else by pictures that all have one size.
        where: Begins messages.
        layout: Of an input that is open in every way.

    Raises:
        DataError: The input is no picture, or not one of this size.
        UsageError: Something is open that only the user can say.
    """
    settings = pictures.settings()
    axes = _axes(spec, settings.layout or "", layout, where)
    known = dict(zip(axes, spec.shape, strict=True))
    channels = known.get("c", 1)
    if channels is None:
        channels = own_channels(pictures)
    if settings.channels not in (None, channels):
        raise DataError(f"{where}: channels={settings.channels}, and input {spec} takes {channels}.")
    for name, numbers in (("mean", settings.mean), ("std", settings.std)):
        if len(numbers) not in (1, channels):
            raise DataError(
                f"{where}: {name} has {len(numbers)} numbers, and input {spec} has {channels} channels.",
                hint=f"One number for all of them, or {channels}.",
            )
    height, width = _size(pictures, settings, (known["h"], known["w"]), spec, where)
    dtype = "float32" if spec.scale is not None else spec.dtype  # else: the agent quantizes it
    return Frame(axes, known.get("n") or 1, channels, height, width, dtype)


def own_channels(pictures: Pictures) -> int:
    """That pictures become where no model asks for another number: 1 where all are grey."""
    return pictures.settings().channels or (1 if set(pictures.modes) <= {"L", "1"} else 3)


def own_frame(pictures: Pictures) -> Frame | None:
    """What pictures become without a model; ``None`` where they are of several sizes then."""
    settings = pictures.settings()
    size = settings.size or (_one_size(pictures) if not settings.resize else None)
    if size is None:
        return None
    whole = (settings.scale, settings.mean, settings.std) == (1.0, (0.0,), (1.0,))
    return Frame("hwc", 1, own_channels(pictures), *size, "uint8" if whole else "float32")


def _one_size(pictures: Pictures) -> tuple[int, int] | None:
    """Height and width of all pictures, where they have the same."""
    if len(pictures.sizes) != 1:
        return None
    height, width = next(iter(pictures.sizes)).split("x")
    return int(height), int(width)


def _axes(spec: TensorSpec, asked: str, fallback: str, where: str) -> str:
    shape = spec.shape
    candidates = {3: ("chw", "hwc"), 4: ("nchw", "nhwc")}.get(len(shape), ())
    fitting = [axes for axes in candidates if shape[axes.index("c")] in (*CHANNELS, None)]
    sure = [axes for axes in fitting if shape[axes.index("c")] is not None] or fitting
    if len(shape) == 3 and shape[0] in (1, None) and (shape[0] is None or "chw" not in sure):
        sure = [axes for axes in sure if shape[axes.index("c")] is not None] or ["nhw"]
    if not sure:
        raise DataError(
            f"{where}: input {spec} is no picture: pictures have 1, 3 or 4 channels, and no axis of it has.",
            hint="Save the samples in the model's own shape: np.savez('data.npz', x=…, labels=…)",
        )
    chosen = [axes for axes in sure if "c" not in axes or axes.endswith(asked.lstrip("n"))] if asked else sure
    if asked and not chosen:
        raise DataError(f"{where}: layout={asked}, and input {spec} has its channels elsewhere.", hint="Leave it out.")
    if len(chosen) > 1 and fallback:
        chosen = [axes for axes in chosen if axes.endswith(fallback.lstrip("n"))]
    if len(chosen) > 1:
        raise UsageError(
            f"{where}: the shape of input {spec} does not say where its channels are.",
            hint="Add layout=nchw or layout=nhwc to --preprocess.",
        )
    return chosen[0]


def _size(
    pictures: Pictures,
    settings: Preprocess,
    wanted: tuple[int | None, int | None],
    spec: TensorSpec,
    where: str,
) -> tuple[int, int]:
    given = settings.size or (_one_size(pictures) if not settings.resize else None)
    height, width = (own or (given and given[place]) for place, own in enumerate(wanted))
    if not height or not width:
        raise UsageError(
            f"{where}: input {spec} takes pictures of any size, and these are not all of one.",
            hint="Say the size: --preprocess '… crop=224' or '… resize=224x224', or --input NAME=1,3,224,224",
        )
    if settings.size is not None and settings.size != (height, width):
        made = "x".join(map(str, settings.size))
        raise DataError(
            f"{where}: --preprocess makes pictures of {made}, and input {spec} takes {height}x{width}.",
            hint=f"crop={height}x{width}   (sizes are height x width)",
        )
    return height, width


class PictureArray:
    """Pictures in the place of an array of shape ``(samples, *shape of the input)``; decoded on each access.

    Args:
        pictures: The files.
        frame: What each becomes.
        where: Begins messages.
    """

    def __init__(self, pictures: Pictures, frame: Frame, where: str) -> None:
        self.pictures = pictures
        self.frame = frame
        self.where = where
        self.settings = pictures.settings()
        self.dtype = np.dtype(frame.dtype)
        self.shape = (len(pictures.files) // frame.batch, *frame.shape)
        self.ndim = len(self.shape)
        self.table  # noqa: B018 - values that do not fit the dtype are said now, not at the first picture

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: Any) -> Array:
        """One sample, or those of a slice or a list of indices."""
        if isinstance(index, (int, np.integer)):
            return self._sample(range(len(self))[int(index)])
        chosen = np.arange(len(self))[index]
        samples = [self._sample(int(place)) for place in chosen.reshape(-1)]
        return np.stack(samples) if samples else np.empty((0, *self.frame.shape), self.dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All of them, in memory."""
        return self[:].astype(self.dtype if dtype is None else dtype)

    def _sample(self, index: int) -> Array:
        frame = self.frame
        files = self.pictures.files[index * frame.batch : (index + 1) * frame.batch]
        made = []
        for file in files:
            pixels = decoded(file, frame.channels, (frame.height, frame.width), self.settings, self.where)
            values = np.stack([self.table[channel][pixels[..., channel]] for channel in range(frame.channels)], axis=-1)
            made.append(values.transpose(2, 0, 1) if frame.axes.endswith("chw") else values)
        return np.ascontiguousarray(np.stack(made).reshape(frame.shape))

    @cached_property
    def table(self) -> Array:
        """What each of the 256 values of a channel becomes: ``(channels, 256)``."""
        return value_table(self.settings, self.frame.channels, self.dtype, self.where)


def value_table(settings: Preprocess, channels: int, dtype: np.dtype[Any], where: str) -> Array:
    """What each of the 256 values of a channel becomes: ``(channels, 256)``.

    Raises:
        DataError: The input takes whole numbers, and these are none, or too large for it.
    """
    mean, std = (np.broadcast_to(numbers, channels)[:, None] for numbers in (settings.mean, settings.std))
    table: Array = (np.arange(256.0)[None] * settings.scale - mean) / std
    if dtype.kind == "f":
        return table.astype(dtype)
    bounds = np.iinfo(dtype)
    made: Array = np.rint(np.clip(table, bounds.min, bounds.max))
    if not np.allclose(made, table, atol=1e-6):
        raise DataError(
            f"{where}: the model takes {dtype}, and --preprocess {settings.typed} makes values from "
            f"{table.min():g} to {table.max():g}.",
            hint="--preprocess raw keeps the values of the pictures, 0 to 255.",
        )
    return made.astype(dtype)


def decoded(
    file: str, channels: int, size: tuple[int, int] | None, settings: Preprocess, where: str
) -> npt.NDArray[np.uint8]:
    """The pixels of a picture, resized and cut.

    Args:
        file: Its path.
        channels: 1, 3 or 4.
        size: Height and width to have; ``None`` to take what the settings make of it.
        settings: How.
        where: Begins messages.

    Returns:
        ``(height, width, channels)``.

    Raises:
        DataError: It cannot be read, or cannot be made that large; the message names it.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as opened:
            if opened.mode.startswith(("I", "F")):
                raise DataError(
                    f"{where}: {file} has more than 8 bits per channel ({opened.mode}).",
                    hint="Convert such pictures to 8 bits, or preprocess them yourself: np.savez('data.npz', x=…)",
                )
            image: Any = ImageOps.exif_transpose(opened)
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert(_MODES[channels])
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise unreadable(where, file, error) from error
    image = _fitted(image, size, settings, where, file)
    pixels: npt.NDArray[np.uint8] = np.asarray(image).reshape(image.height, image.width, channels)
    if settings.bgr and channels > 1:
        pixels = pixels[..., [2, 1, 0, *range(3, channels)]]
    return pixels


def unreadable(where: str, file: str, error: BaseException) -> DataError:
    """The error for a damaged picture."""
    return DataError(f"{where}: {file} cannot be read as a picture: {error}.", hint="Copy it again, or remove it.")


def _fitted(image: Any, size: tuple[int, int] | None, settings: Preprocess, where: str, file: str) -> Any:
    """A picture, resized and cut as the settings say, else to the size."""
    resize, crop = settings.resize, settings.crop
    if not resize and not crop:
        if size is None or (image.height, image.width) == size:
            return image
        if settings.inner is None:
            resize = size
        else:
            # The middle of the picture, in the model's proportions.
            factor = max(size[0] / image.height, size[1] / image.width) / settings.inner
            resize, crop = _scaled(image, factor), size
    if len(resize) == 1:
        resize = _scaled(image, resize[0] / min(image.height, image.width))
    if resize:
        image = _resized(image, resize, settings.interpolation)
    if crop:
        if image.height < crop[0] or image.width < crop[1]:
            raise DataError(
                f"{where}: {file} is {image.height}x{image.width}, too small to cut {crop[0]}x{crop[1]} out of it.",
                hint=f"Enlarge it before: resize={max(crop)} crop={crop[0]}x{crop[1]}",
            )
        top, left = round((image.height - crop[0]) / 2), round((image.width - crop[1]) / 2)
        image = image.crop((left, top, left + crop[1], top + crop[0]))
    if size is not None and (image.height, image.width) != size:
        raise DataError(
            f"{where}: --preprocess makes {image.height}x{image.width} of {file}, and the model takes "
            f"{size[0]}x{size[1]}.",
            hint=f"Add crop={size[0]}x{size[1]}, or resize={size[0]}x{size[1]}   (height x width)",
        )
    return image


def _scaled(image: Any, factor: float) -> tuple[int, int]:
    """Height and width, rounded down as torchvision does; but 255.99999 is what the arithmetic makes of 256."""
    height, width = (max(1, int(side * factor + 1e-6)) for side in (image.height, image.width))
    return height, width


def _resized(image: Any, size: tuple[int, ...], interpolation: str) -> Any:
    from PIL import Image

    return image.resize((size[1], size[0]), getattr(Image.Resampling, interpolation.upper()))


def as_array(pictures: Pictures, spec: TensorSpec, where: str) -> Array:
    """Pictures as samples of an input: an array in everything that :mod:`edgekit.feeds` does with one.

    Raises:
        DataError, UsageError: As :func:`frame_for`; or there are fewer than the model's batch.
    """
    frame = frame_for(pictures, spec, where)
    if len(pictures.files) < frame.batch:
        raise DataError(f"{where}: {len(pictures.files)} samples are fewer than the model's batch of {frame.batch}.")
    return cast(Array, PictureArray(pictures, frame, where))
