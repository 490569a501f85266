"""Small pictures of samples, where samples look like pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

from edgekit import registry
from edgekit.contact_sheet import spread
from edgekit.drift_types import Thumbnail
from edgekit.feeds import Array, Feeds
from edgekit.preprocessing import CHANNELS

_SIDE = 96
_LEAST_SIDE = 4
"""What is narrower is a table or a signal."""


def thumbnails(inputs: Feeds, places: Sequence[int], classes: Sequence[str]) -> tuple[Thumbnail, ...]:
    """Pictures of some samples.

    Args:
        inputs: The samples.
        places: Of those to draw, from 0.
        classes: Their names, by label; empty where nobody named them.

    Returns:
        Empty where no input looks like a picture.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    array = next((one for one in inputs.arrays.values() if _looks_like_pictures(one.shape)), None)
    if array is None:
        return ()
    registry.require(("PIL",), "images", "Drawing samples")
    found = []
    for place in places:
        png, width, height = _png(_pixels(array[place]))
        label = _label(inputs.labels, place, classes)
        sample = place if inputs.places is None else int(inputs.places[place])
        found.append(Thumbnail(sample, base64.b64encode(png).decode(), label, width, height))
    return tuple(found)


def _looks_like_pictures(shape: tuple[int, ...]) -> bool:
    """Whether ``(samples, batch, …)`` are two sides, with channels or without."""
    sides = _sides(shape[1:])
    return sides is not None and min(sides) >= _LEAST_SIDE


def _sides(shape: tuple[int, ...]) -> tuple[int, int] | None:
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) == 3 and shape[-1] in CHANNELS:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[0] in CHANNELS:
        return shape[1], shape[2]
    return None


def _pixels(sample: Array) -> Array:
    """One sample as ``(height, width, channels)`` of whole numbers from 0 to 255; channels are 1 or 3."""
    values = np.asarray(sample)
    values = values[0] if values.ndim == 4 else values
    values = values if values.shape[-1] in CHANNELS else values.transpose(1, 2, 0)
    return spread(values[..., :3])


def _png(values: Array) -> tuple[bytes, int, int]:
    from PIL import Image

    image = Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
    if max(image.size) > _SIDE:
        image.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue(), image.width, image.height


def _label(labels: Array | None, place: int, classes: Sequence[str]) -> str:
    if labels is None or labels.dtype.kind not in "iu":
        return ""
    number = int(np.ravel(labels[place])[0])
    return classes[number] if 0 <= number < len(classes) else str(number)
