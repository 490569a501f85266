"""Text: word and character error rate of what a model recognised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.drift_types import TaskFigure, TaskResult
from edgekit.plugins import Task, TaskInput
from profiles.tasks import _tokens
from profiles.tasks._settings import choice, whole
from profiles.tasks._shared import nonsense, with_words
from profiles.tasks._tokens import JOINS, Vocabulary, best_of, collapsed

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds

SETTINGS = {
    "vocabulary": "file with one token per line; without one, labels are numbers of tokens",
    "output": "output that holds the tokens",
    "tokens": "ctc (scores of frames, repeated tokens and blanks go) or ids (each token counts)",
    "blank": "number of CTC's blank",
    "join": "words, characters, pieces or continued: how tokens make a line",
    "case": "keep, or fold where upper and lower case are the same",
}

_FIGURES = ("word_error_rate", "character_error_rate")
_MUCH_LESS = 0.5


@dataclass(frozen=True)
class _Reading:
    """How an output becomes lines."""

    output: str
    scored: bool
    time_first: bool
    blank: int | None
    vocabulary: Vocabulary

    def lines(self, feeds: Feeds) -> list[str]:
        """What each line says."""
        found = best_of(feeds.arrays[self.output], self.scored, self.time_first)
        return [self.vocabulary.line(self._kept(numbers)) for numbers in found]

    def _kept(self, numbers: Array) -> list[int]:
        return numbers.tolist() if self.blank is None else collapsed(numbers, self.blank)

    @property
    def words(self) -> str:
        """For a reader."""
        what = "the best token of each frame" if self.scored else "token numbers"
        how = "" if self.blank is None else f", repeated ones and blank {self.blank} left out"
        meaning = JOINS[self.vocabulary.join] if self.vocabulary.tokens else "tokens are written as numbers"
        return f"output {self.output!r} read as {what}{how}; {meaning}"


def fits(data: TaskInput) -> str:
    """Labels are lines of text."""
    labels = data.labels
    if labels is None or isinstance(labels, str) or hasattr(labels, "shape") or not len(labels):
        return ""
    return "labels are lines of text" if all(isinstance(line, str) for line in labels) else ""


def measure(data: TaskInput) -> TaskResult:
    """``word_error_rate`` and ``character_error_rate``: edits that make labels of the lines found, by words of labels.

    ``jiwer`` counts the edits. Spaces at the ends and repeated ones do not count.

    Args:
        data: With a line of text for each sample.

    Raises:
        UsageError: A setting has a value that means nothing, or the vocabulary cannot be read.
    """
    if not fits(data) or data.labels is None:
        return _nothing("labels are no lines of text")
    reading = _reading(data)
    if isinstance(reading, str):
        return _nothing(reading)
    labels = [" ".join(str(line).split()) for line in data.labels]
    if not reading.vocabulary.tokens and not all(word.isdigit() for line in labels for word in line.split()):
        return _nothing("labels are words, and what tokens stand for is not known; --decode vocabulary=FILE")
    wrong = nonsense(data, reading.output)
    if wrong:
        return _nothing(wrong)
    file = reading.lines(data.outputs)
    reference = None if data.reference is None else reading.lines(data.reference)
    fold = choice(data.settings, "case", ("keep", "fold")) == "fold"
    findings = _findings(file, reference, labels, fold)
    if fold:
        labels = [line.casefold() for line in labels]
        file = [line.casefold() for line in file]
        reference = None if reference is None else [line.casefold() for line in reference]
    decoding = f"{reading.words} (--decode KEY=VALUE sets {', '.join(SETTINGS)})"
    return TaskResult("text", decoding, _figures(file, reference, labels), findings=findings)


def _reading(data: TaskInput) -> _Reading | str:
    """How to read which output, or why that cannot be said."""
    said = choice(data.settings, "tokens", ("ctc", "ids"))
    wanted = data.settings.get("output")
    arrays = {name: array for name, array in data.outputs.arrays.items() if wanted in (None, name)}
    axes = {name: _time_axis(array, len(data.labels or ())) for name, array in arrays.items()}
    found = [name for name, axis in axes.items() if axis is not None]
    if len(found) > 1:
        return f"more than one output can hold the tokens; --decode output={'|'.join(found)}"
    if not found:
        shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in arrays.items())
        return f"no output holds tokens of {len(data.labels or ())} lines: {shapes or f'there is no {wanted!r}'}"
    array = arrays[found[0]]
    scored = array.dtype.kind == "f"
    vocabulary = _tokens.read(data.settings.get("vocabulary"), choice(data.settings, "join", tuple(JOINS)))
    columns = array.shape[-1] if scored else 0
    if scored and vocabulary.tokens and columns not in (len(vocabulary.tokens), len(vocabulary.tokens) + 1):
        return f"the vocabulary has {len(vocabulary.tokens)} tokens, output {found[0]!r} has scores of {columns}"
    ctc = scored if said is None else said == "ctc"
    blank = _blank(data, vocabulary, columns) if ctc else None
    return _Reading(found[0], scored, axes[found[0]] == 1 and array.ndim == 4, blank, vocabulary)


def _time_axis(array: Array, lines: int) -> int | None:
    """Where the tokens of a line follow one another; ``None`` where there are not so many lines."""
    scores = int(array.dtype.kind == "f")
    if array.ndim < 2 + scores:
        return None
    if math.prod(array.shape[: array.ndim - 1 - scores]) == lines:
        return array.ndim - 1 - scores
    # (T, batch, V), as PyTorch's CTC loss has it.
    return 1 if scores and array.ndim == 4 and array.shape[0] * array.shape[2] == lines else None


def _blank(data: TaskInput, vocabulary: Vocabulary, columns: int) -> int:
    """Typed; or what the vocabulary calls so; or the column that it has no token for; or 0."""
    typed = whole(data.settings, "blank")
    if typed is not None:
        return typed
    if vocabulary.blank is not None:
        return vocabulary.blank
    return columns - 1 if vocabulary.tokens and columns > len(vocabulary.tokens) else 0


def _figures(file: Sequence[str], reference: Sequence[str] | None, labels: Sequence[str]) -> tuple[TaskFigure, ...]:
    from profiles import paired

    return tuple(
        paired.mean(
            name,
            "ratio",
            False,
            _edits(file, labels, characters),
            None if reference is None else _edits(reference, labels, characters),
            lambda means: means[..., 0] / means[..., 1],
        )
        for name, characters in zip(_FIGURES, (False, True), strict=True)
    )


def _edits(lines: Sequence[str], labels: Sequence[str], characters: bool) -> Array:
    """Edits, and words or characters of the label, of each line: ``(n, 2)``."""
    import jiwer

    count = jiwer.process_characters if characters else jiwer.process_words
    found = np.zeros((len(labels), 2))
    for place, (label, line) in enumerate(zip(labels, lines, strict=True)):
        if not label:  # a line without speech: all that was heard is too much
            found[place] = len(line) if characters else len(line.split()), 0
            continue
        one = count(label, line)
        found[place] = one.substitutions + one.deletions + one.insertions, one.hits + one.substitutions + one.deletions
    return found


def _findings(
    file: Sequence[str], reference: Sequence[str] | None, labels: Sequence[str], fold: bool
) -> tuple[str, ...]:
    found = []
    if len(set(file)) == 1 and len(set(labels)) > 1:
        found.append(f"every line is {file[0][:40]!r}")
    known = file if reference is None else reference
    if not fold and any(_other_case(line, label) for line, label in zip(known, labels, strict=True)):
        kept = _edits(known, labels, False)[:, 0].sum()
        folded = _edits([line.casefold() for line in known], [line.casefold() for line in labels], False)[:, 0].sum()
        if folded < _MUCH_LESS * kept:
            found.append("labels and lines found differ mostly in upper and lower case; --decode case=fold")
    return tuple(found)


def _other_case(line: str, label: str) -> bool:
    return line != label and line.casefold() == label.casefold()


def _nothing(reason: str) -> TaskResult:
    figures = tuple(with_words(TaskFigure(name, "ratio", False, None, unavailable=reason)) for name in _FIGURES)
    return TaskResult("text", "", figures, findings=(reason,))


TASK = Task(
    name="text",
    title="recognised text",
    fits=fits,
    measure=measure,
    rank=25,
    settings=SETTINGS,
    packages=("jiwer",),
    extra="metrics",
)
