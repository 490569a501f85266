"""Finding out how a detector's outputs are to be read.

Shapes and values rule readings out. Of those that remain, the one is taken under which boxes meet the labels best, on
the reference where there is one, and only when no other comes near it; else the user is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from profiles.tasks._boxes import FORMATS, overlaps, possible_orders
from profiles.tasks._coco import Boxes
from profiles.tasks._layouts import KNOWN, Layout, layouts
from profiles.tasks._readings import MOST_OVERLAP, Reading
from profiles.tasks._scale import UNIT, Scale
from profiles.tasks._settings import choice, share, whole

if TYPE_CHECKING:
    from edgekit.feeds import Array

_PROBED = 16
_LEAST_AGREEMENT = 0.2
_CLEAR = 0.95
_FEW = 5


@dataclass(frozen=True)
class Choice:
    """What came of looking for a reading.

    Attributes:
        reading: To use; ``None`` when the user has to say more.
        problem: Why, then, with what to type; or what is odd about the reading that was found.
    """

    reading: Reading | None
    problem: str = ""


@dataclass(frozen=True)
class _Values:
    """Numbers of the images that are looked at, under one layout."""

    boxes: Array
    scores: Array
    columns: int


def choose(
    arrays: Mapping[str, Array], labels: Sequence[Boxes], scale: Scale, settings: Mapping[str, str], classes: int
) -> Choice:
    """Find out how outputs are to be read.

    Args:
        arrays: Outputs, by name.
        labels: Of each image, in the labels' own scale.
        scale: Of labels and outputs.
        settings: As in ``SETTINGS`` of the task; what they leave open is found out.
        classes: Number of classes, where their names are known; else 0.
    """
    with_labels = [image for image, label in enumerate(labels) if len(label.boxes)]
    if not with_labels:
        return Choice(None, "no sample has a labelled box")
    places = sorted({with_labels[int(at)] for at in np.linspace(0, len(with_labels) - 1, _PROBED)})
    found = _layouts(arrays, len(labels), settings)
    if not found:
        shapes = ", ".join(f"{name!r} {list(array.shape[1:])}" for name, array in arrays.items())
        return Choice(None, f"no boxes were found in outputs {shapes}; known are {KNOWN}")
    values = {layout: _values(layout, arrays, places) for layout in found}
    named = {layout for layout, value in values.items() if classes and value.columns in (classes, classes + 1)}
    readings = [one for layout in found if not named or layout in named for one in _readings(layout, values, settings)]
    comparable = [one for one in readings if scale.fits(one.pixels)]
    if readings and not comparable:
        return Choice(None, "boxes are in pixels, and of how large a picture is not known; --decode frame=WIDTHxHEIGHT")
    fitting = [one for one in comparable if _holds(one, values[one.layout].columns, labels)]
    if not fitting:
        return Choice(None, _no_fit(comparable, values, labels))
    return _best(fitting, arrays, labels, places, scale)


def _layouts(arrays: Mapping[str, Array], images: int, settings: Mapping[str, str]) -> list[Layout]:
    objectness = choice(settings, "objectness", ("yes", "no"))
    return [
        layout
        for layout in layouts(arrays, images)
        if settings.get("boxes", layout.boxes) == layout.boxes
        and settings.get("scores", layout.scores) == layout.scores
        and (objectness is None or layout.scores or layout.listed or layout.objectness == (objectness == "yes"))
    ]


def _values(layout: Layout, arrays: Mapping[str, Array], places: Sequence[int]) -> _Values:
    parts = [layout.of_image(arrays, image) for image in places]
    scores = np.concatenate([np.asarray(part[1], np.float64) for part in parts])
    columns = 0 if layout.final else scores.shape[1]
    return _Values(np.concatenate([np.asarray(part[0], np.float64) for part in parts]), scores, columns)


def _readings(layout: Layout, known: Mapping[Layout, _Values], settings: Mapping[str, str]) -> Iterator[Reading]:
    """Readings of a layout that its values and the user leave open."""
    values = known[layout]
    order = choice(settings, "format", tuple(FORMATS))
    orders = (order,) if order else possible_orders(values.boxes)
    where = choice(settings, "coordinates", ("pixels", "unit"))
    pixels = where == "pixels" if where else float(np.abs(values.boxes).max(initial=0)) > UNIT
    first = whole(settings, "first_label")
    firsts = (0, 1) if first is None else (first,)
    nms = None if layout.final or settings.get("nms") == "no" else MOST_OVERLAP
    if settings.get("nms", "no") != "no":
        nms = share(settings, "nms")
    meanings = _meanings(layout, values, settings)
    for one, (activation, background), number in product(orders, meanings, firsts):
        # Without softmax, leaving column 0 out and counting from 1 is the same as leaving nothing out.
        if first is None and background == 0 and number == 1 and (activation, None) in meanings:
            continue
        yield Reading(layout, one, pixels, activation, background, number, nms)


def _meanings(layout: Layout, values: _Values, settings: Mapping[str, str]) -> list[tuple[str, int | None]]:
    """Pairs of activation and background column."""
    said = choice(settings, "activation", ("none", "sigmoid", "softmax"))
    finished = bool(np.all((values.scores >= -1e-6) & (values.scores <= 1 + 1e-6)))
    if layout.objectness and not finished:
        return []
    activations = [said.replace("none", "")] if said is not None else [""] if finished else ["sigmoid", "softmax"]
    if layout.final:
        return [(activations[0], None)]
    found: list[tuple[str, int | None]] = []
    for activation in activations:
        if "background" in settings:
            typed = settings["background"]
            last = {"no": None, "last": values.columns - 1}
            found.append((activation, last[typed] if typed in last else whole(settings, "background")))
        elif values.columns < 2 or not layout.scores:
            found += [(activation, None)] if activation != "softmax" else []
        elif activation == "softmax" or (not activation and _sums(values)):
            found += [(activation, 0), (activation, values.columns - 1)]
        else:
            found += [(activation, None), (activation, 0)]
    return found


def _sums(values: _Values) -> bool:
    """Whether scores of a box sum to one, as they do with a background among them; or may do, once through softmax."""
    if values.columns < 2:
        return False
    if values.scores.min() < 0 or values.scores.max() > 1 + 1e-6:
        return True
    return bool(np.mean(np.abs(values.scores.sum(axis=1) - 1) < 0.02) > 0.95)


def _holds(reading: Reading, columns: int, labels: Sequence[Boxes]) -> bool:
    """Whether every label is one of the classes."""
    if not columns:
        return True
    low, high = _range(labels)
    classes = columns - (reading.background is not None)
    return reading.first_label <= low and high < reading.first_label + classes


def _range(labels: Sequence[Boxes]) -> tuple[int, int]:
    numbers = [
        number for label in labels for number in (label.classes.min(initial=1 << 30), label.classes.max(initial=-1))
    ]
    known = [int(number) for number in numbers if 0 <= number < 1 << 30]
    return min(known), max(known)


def _no_fit(readings: Sequence[Reading], values: Mapping[Layout, _Values], labels: Sequence[Boxes]) -> str:
    if not readings:
        return (
            "the outputs hold no boxes that end where they should, in any order; if these are offsets from anchors, "
            "the model has to be exported with the step that makes boxes of them"
        )
    low, high = _range(labels)
    most = max(values[one.layout].columns for one in readings)
    return f"labels go from {low} to {high}, outputs have {most} columns of scores"


def _best(
    readings: Sequence[Reading],
    arrays: Mapping[str, Array],
    labels: Sequence[Boxes],
    places: Sequence[int],
    scale: Scale,
) -> Choice:
    measured = [(_agreement(one, arrays, labels, places, scale), one) for one in readings]
    measured.sort(key=lambda pair: -pair[0])
    best, reading = measured[0]
    near = [one for agreement, one in measured[1:] if agreement >= _CLEAR * best]
    bad = f"boxes meet the labels badly (the best ones overlap them by {best:.2f})" if best < _LEAST_AGREEMENT else ""
    if len(measured) == 1:
        return Choice(reading, bad)
    if bad:
        return Choice(None, f"{bad}, however they are read; if that is as it should be: {_ask(readings)}")
    if near:
        return Choice(None, f"boxes can be read in more than one way; {_ask([reading, *near])}")
    return Choice(reading)


def _agreement(
    reading: Reading, arrays: Mapping[str, Array], labels: Sequence[Boxes], places: Sequence[int], scale: Scale
) -> float:
    """Mean overlap of labels with the best of the first few boxes of their class."""
    each: list[float] = []
    for image in places:
        found, label = reading.of_image(arrays, image), labels[image]
        few = max(_FEW, 2 * len(label.boxes))
        boxes = scale.found(found.boxes[:few], reading.pixels)
        over = overlaps(scale.labels(label.boxes), boxes) * (label.classes[:, None] == found.classes[None, :few])
        each += over.max(axis=1, initial=0).tolist()
    return float(np.mean(each))


def _ask(readings: Sequence[Reading]) -> str:
    """What to type to choose among readings."""
    keys: dict[str, set[str]] = {}
    for one in readings:
        for key, value in _typed(one).items():
            keys.setdefault(key, set()).add(value)
    return " ".join(f"--decode {key}={'|'.join(sorted(values))}" for key, values in keys.items() if len(values) > 1)


def _typed(reading: Reading) -> dict[str, str]:
    return {
        "boxes": reading.layout.boxes,
        "scores": reading.layout.scores,
        "objectness": "yes" if reading.layout.objectness else "no",
        "format": reading.format,
        "activation": reading.activation or "none",
        "background": "no" if reading.background is None else str(reading.background),
        "first_label": str(reading.first_label),
    }
