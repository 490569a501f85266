"""``--preprocess``: what makes a picture an input.

Words with blanks between them: the name of a preset, and ``name=value`` pairs that stand over it. What they do to the
values of a picture is ``(value * scale - mean) / std``, in the order of its channels.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgekit.errors import UsageError

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "inner": 224 / 256,
    },
    "unit": {"scale": 1 / 255},
    "signed": {"scale": 1 / 127.5, "mean": (1.0,)},
    "raw": {"scale": 1.0},
}
"""Settings by name."""

PRESETS_IN_WORDS = "unit (0 to 1), signed (-1 to 1), imagenet (mean and std of ImageNet), raw (0 to 255)"

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
LAYOUTS = ("nchw", "nhwc")
CHANNELS = (1, 3, 4)
"""Numbers of channels that pictures have: grey, RGB, RGB with transparency."""


@dataclass(frozen=True)
class Preprocess:
    """What to do to each picture.

    Attributes:
        typed: As typed.
        resize: One number: the length of the shorter side; two: height and width.
        crop: Height and width that are cut out of the middle.
        inner: Where neither is given: the share of a picture that stays when the rest is cut off; ``None`` to squeeze
            the whole of it into the model's size.
        scale: Factor of its values, which are 0 to 255.
        mean, std: Taken off, and divided by, after that; one number or one per channel.
        bgr: Whether the first channel is blue.
        layout: Of the input, where that does not say it: ``nchw`` or ``nhwc``.
        channels: As ``layout``.
        interpolation: Between pixels.
    """

    typed: str
    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    inner: float | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    layout: str = ""
    channels: int | None = None
    interpolation: str = "bilinear"

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of every picture, where the options alone say it."""
        given = self.crop or self.resize
        return (given[0], given[1]) if len(given) == 2 else None


def parse(typed: str) -> Preprocess:
    """The words after ``--preprocess``.

    Raises:
        UsageError: A word means nothing, or nothing is said about values.
    """
    words = typed.replace(";", " ").split()
    presets = [word for word in words if "=" not in word]
    for word in presets:
        if word not in PRESETS:
            raise _unknown(typed, word, [*PRESETS, *_READERS])
    if len(presets) > 1:
        raise UsageError(f"--preprocess {typed}: {' and '.join(presets)} contradict each other.", hint="Name one.")
    found = Preprocess(typed, **PRESETS[presets[0]]) if presets else Preprocess(typed)
    values = bool(presets)
    for name, value in (word.split("=", 1) for word in words if "=" in word):
        if name not in _READERS:
            raise _unknown(typed, name, list(_READERS))
        try:
            found = replace(found, **_READERS[name](value))
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(
                f"--preprocess {typed}: {name}={value}: {error}.", hint=f"--preprocess '{_EXAMPLES[name]}'"
            ) from error
        values = values or name in ("scale", "mean", "std")
    if not values:
        raise UsageError(
            f"--preprocess {typed!r} does not say what becomes of the values, which are 0 to 255 in a picture.",
            hint=f"Add what the training did: {PRESETS_IN_WORDS}; or scale=1/255 mean=… std=…",
        )
    return found


def _unknown(typed: str, word: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(word, known, n=1)
    return UsageError(
        f"--preprocess {typed}: {word!r} means nothing here.",
        hint=(f"Did you mean {near[0]}? " if near else "") + f"Presets: {PRESETS_IN_WORDS}. Settings: "
        f"{', '.join(f'{name}=' for name in _READERS)}",
    )


def _number(text: str) -> float:
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _numbers(text: str) -> tuple[float, ...]:
    found = tuple(_number(part) for part in text.split(","))
    if len(found) not in CHANNELS:
        raise ValueError(f"{len(found)} numbers; one, or one per channel, is expected")
    return found


def _deviations(text: str) -> tuple[float, ...]:
    found = _numbers(text)
    if 0.0 in found:
        raise ValueError("nothing can be divided by 0")
    return found


def _sizes(text: str) -> tuple[int, ...]:
    parts = re.split("[x,]", text)
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{text!r} is not a size in pixels")
    return tuple(int(part) for part in parts)


def _side(text: str) -> tuple[int, ...]:
    found = _sizes(text)
    return found * 2 if len(found) == 1 else found


def _one_of(text: str, known: tuple[str, ...]) -> str:
    if text.lower() not in known:
        raise ValueError(f"{text!r} is none of {', '.join(known)}")
    return text.lower()


_READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "resize": lambda text: {"resize": _sizes(text)},
    "crop": lambda text: {"crop": _side(text)},
    "scale": lambda text: {"scale": _number(text)},
    "mean": lambda text: {"mean": _numbers(text)},
    "std": lambda text: {"std": _deviations(text)},
    "order": lambda text: {"bgr": _one_of(text, ("rgb", "bgr")) == "bgr"},
    "layout": lambda text: {"layout": _one_of(text, LAYOUTS)},
    "channels": lambda text: {"channels": int(_one_of(text, tuple(map(str, CHANNELS))))},
    "interp": lambda text: {"interpolation": _one_of(text, INTERPOLATIONS)},
}
"""Fields that each setting gives, by name."""

_EXAMPLES = {
    "resize": "resize=256   (the shorter side) or resize=240x320   (height, width)",
    "crop": "crop=224 or crop=240x320   (height, width)",
    "scale": "scale=1/255",
    "mean": "mean=0.485,0.456,0.406",
    "std": "std=0.229,0.224,0.225",
    "order": "order=bgr",
    "layout": "layout=nhwc",
    "channels": "channels=1",
    "interp": "interp=bicubic",
}
