"""What an output is, for tasks that ask for a class or a number: told from shapes, values and labels, or set.

Every reading comes with words for the reader, who can see in them what was taken for what, and what to type if it was
taken wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds

PROBABILITIES = "probabilities"
LOGITS = "logits"

OUTPUT_SETTING = {"output": "name of the output that is read"}
SCORES_SETTING = {"scores": "logits or probabilities: what the scores are"}
BACKGROUND_SETTING = {"background": "0 where the model has one class more in front, which no label means"}

_BLOCK_ELEMENTS = 1 << 21
_LOOK_ROWS = 1000
_ROUNDING = 0.05
"""How far rows of probabilities may be off a sum of 1: quantized ones have steps of 1/256."""


@dataclass(frozen=True)
class Reading:
    """How one output is read.

    Attributes:
        output: Its name in the file.
        kind: ``probabilities``, ``logits``, ``values``.
        width: Numbers per row.
        background: Whether the first column is a class that no label means.
        words: All of this in words.
    """

    output: str
    kind: str
    width: int
    background: bool
    words: str

    @property
    def classes(self) -> int:
        """Number of classes that labels can mean."""
        return self.width - self.background


def class_scores(outputs: Feeds, count: int, settings: Mapping[str, str]) -> Reading | None:
    """The output with a score for each class.

    Args:
        outputs: Of the file.
        count: Number of labels; each is for one row.
        settings: ``output``, ``scores``, ``background``.

    Returns:
        ``None`` where no output has two numbers or more for each label.

    Raises:
        UsageError: A setting names what is not there.
    """
    background = _background(settings)
    fitting = {name: array for name, array in _rows_of_scores(outputs, count, settings).items() if array.size > count}
    if not fitting:
        _none_as_asked(outputs, settings, f"it has no row of scores for each of {count} labels")
        return None
    kinds = {name: _kind(array, count, settings) for name, array in fitting.items()}
    name = min(fitting, key=lambda each: kinds[each] != PROBABILITIES)
    across = width(fitting[name], count)
    words = f"output {name!r} read as {kinds[name]} over {across} classes"
    if background:
        words += ", the first of them background"
    return Reading(name, kinds[name], across, background, words + _others(list(fitting), name))


def single_scores(outputs: Feeds, count: int, settings: Mapping[str, str]) -> Reading | None:
    """The output with one score per row, or two classes of which the second is meant; as :func:`class_scores`."""
    asked = _rows_of_scores(outputs, count, settings)
    widths = {name: width(array, count) for name, array in asked.items()}
    fitting = [name for name in asked if widths[name] == 1] or [name for name in asked if widths[name] == 2]
    if not fitting:
        _none_as_asked(outputs, settings, f"it has no score for each of {count} labels")
        return None
    name = fitting[0]
    kind = _kind(asked[name], count, settings)
    one = {PROBABILITIES: "a probability", LOGITS: "a score, above 0 for class 1"}[kind]
    words = f"output {name!r} read as {one}"
    if widths[name] == 2:
        words = f"output {name!r} read as {kind} of two classes, of which the second is class 1"
    return Reading(name, kind, widths[name], False, words + _others(fitting, name))


def values(outputs: Feeds, shape: tuple[int, ...], settings: Mapping[str, str], what: str = "label") -> Reading | None:
    """The output with as many values per row as there are to predict; as :func:`class_scores`.

    Args:
        outputs: Of the file.
        shape: Of the labels: ``(samples, batch, …)``.
        settings: ``output``.
        what: That is predicted, for the words.
    """
    count, wanted = shape[0] * shape[1], int(np.prod(shape[2:], dtype=np.int64))
    fitting = {name: array for name, array in _asked(outputs, settings).items() if width(array, count) == wanted}
    if not fitting:
        _none_as_asked(outputs, settings, f"it has not {wanted} values for each of {count} {what}s")
        return None
    name = next(iter(fitting))
    many = "the value" if wanted == 1 else f"{wanted} values"
    words = f"output {name!r} read as {many} of each {what}"
    return Reading(name, "values", wanted, False, words + _others(list(fitting), name))


def width(array: Array, count: int) -> int:
    """Numbers per row, where an output has ``count`` rows; 0 where it has not."""
    if array.dtype.kind not in "fiu" or array.ndim < 1 or not len(array) or count % len(array):
        return 0
    inner, batch = array.shape[1:], count // len(array)
    if batch > 1 and (not inner or inner[0] != batch):
        return 0
    rest = inner[1:] if inner and inner[0] == batch else inner
    return int(np.prod(rest, dtype=np.int64))


def rows(array: Array, across: int) -> Iterator[tuple[int, Array]]:
    """An output as ``(rows, across)`` in float, some at a time, each with the number of its first row.

    Args:
        array: May lie on disk and be larger than memory.
        across: Numbers per row.
    """
    each = max(1, array[:1].size)
    step = max(1, _BLOCK_ELEMENTS // each)
    for start in range(0, len(array), step):
        block = np.asarray(array[start : start + step]).reshape(-1, across)
        yield start * each // across, block if block.dtype.kind == "f" else block.astype(np.float64)


def counterpart(reading: Reading, outputs: Feeds, reference: Feeds) -> Array | None:
    """The same output of the reference, whose outputs may have other names; ``None`` where there is none like it."""
    from profiles.agent.binding import match

    try:
        pairs = match(list(reference.arrays), list(outputs.arrays))
    except ValueError:
        return None
    name = next((before for before, after in pairs.items() if after == reading.output), None)
    if name is None or reference.arrays[name].size != outputs.arrays[reading.output].size:
        return None
    return reference.arrays[name]


def not_finite(array: Array, across: int) -> int:
    """Rows with NaN, or with infinity of the sign that is no masked class."""
    bad = 0
    for _, block in rows(array, across):
        bad += int((np.isnan(block) | (block == np.inf)).any(axis=1).sum())
    return bad


def constant(array: Array, across: int) -> bool:
    """Whether all rows are the same, up to rounding in float32."""
    first = None
    for _, block in rows(array, across):
        first = np.asarray(block[0], np.float64) if first is None else first
        if not np.allclose(block, first, rtol=1e-6, atol=0, equal_nan=True):
            return False
    return True


def _rows_of_scores(outputs: Feeds, count: int, settings: Mapping[str, str]) -> dict[str, Array]:
    """Outputs of floats with one axis of numbers for each label, beside axes of length 1."""
    return {
        name: array
        for name, array in _asked(outputs, settings).items()
        if array.dtype.kind == "f" and width(array, count) in (1, *array.shape[1:])
    }


def _asked(outputs: Feeds, settings: Mapping[str, str]) -> Mapping[str, Array]:
    """All outputs, or the one that the user named."""
    typed = settings.get("output")
    if typed is None:
        return outputs.arrays
    if typed not in outputs.arrays:
        known = ", ".join(outputs.arrays)
        raise UsageError(
            f"--decode output={typed}: there is no such output; there are {known}.",
            hint=f"--decode output={next(iter(outputs.arrays))}",
        )
    return {typed: outputs.arrays[typed]}


def _none_as_asked(outputs: Feeds, settings: Mapping[str, str], reason: str) -> None:
    """The user named an output, and it is not of the kind.

    Raises:
        UsageError: So it is.
    """
    typed = settings.get("output")
    if typed is not None:
        shape = list(outputs.arrays[typed].shape[1:])
        raise UsageError(
            f"--decode output={typed}: {reason}; its shape is {shape}.", hint="Leave it out, or --judge-as another task"
        )


def _background(settings: Mapping[str, str]) -> bool:
    typed = settings.get("background")
    if typed not in (None, "0", "no"):
        raise UsageError(f"--decode background={typed}: not known.", hint="--decode background=0|no")
    return typed == "0"


def _kind(array: Array, count: int, settings: Mapping[str, str]) -> str:
    """Probabilities or logits, from a look at the first rows; what the user set where he did."""
    typed = settings.get("scores")
    if typed is not None:
        if typed not in (LOGITS, PROBABILITIES):
            raise UsageError(f"--decode scores={typed}: not known.", hint=f"--decode scores={LOGITS}|{PROBABILITIES}")
        return typed
    across = width(array, count)
    block = np.asarray(array[: max(1, _LOOK_ROWS * across // max(1, array[:1].size))], np.float64).reshape(-1, across)
    seen = block[np.isfinite(block).all(axis=1)]
    if not len(seen) or seen.min() < -1e-6 or seen.max() > 1 + 1e-3:
        return LOGITS
    summed = across == 1 or bool(np.median(np.abs(seen.sum(axis=1) - 1)) <= _ROUNDING)
    return PROBABILITIES if summed else LOGITS


def _others(fitting: Sequence[str], name: str) -> str:
    others = [each for each in fitting if each != name]
    return f"; {', '.join(map(repr, others))} would fit too (--decode output={others[0]})" if others else ""
