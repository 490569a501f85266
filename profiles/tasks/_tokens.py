"""From a model's tokens to lines of text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.feeds import Array

_SPECIAL = re.compile(r"<[^<>]+>|\[[A-Za-z_]+\]")
_BLANKS = ("<blank>", "<blk>", "[blank]", "<ctc>", "<pad>", "[PAD]")
_ENDS = ("</s>", "<eos>", "[EOS]", "[SEP]", "<|endoftext|>", "<end>")
_PIECE = "\u2581"

JOINS = {
    "words": "tokens are words",
    "characters": "tokens are characters, | is a space where there is no other",
    "pieces": f"tokens are pieces, {_PIECE} begins a word",
    "continued": "tokens are pieces, ## continues a word",
}
"""How tokens make a line, by the name that users type."""


@dataclass(frozen=True)
class Vocabulary:
    """What each token stands for.

    Attributes:
        tokens: By number; empty where numbers stand for themselves.
        join: Of :data:`JOINS`.
    """

    tokens: tuple[str, ...]
    join: str

    def line(self, numbers: Sequence[int]) -> str:
        """The text of some tokens; those such as ``<pad>`` are left out, and nothing follows one such as ``</s>``."""
        if not self.tokens:
            return " ".join(map(str, numbers))
        words = []
        for number in numbers:
            token = self.tokens[number] if number < len(self.tokens) else "<unk>"
            if token in _ENDS:
                break
            if not _SPECIAL.fullmatch(token):
                words.append(token)
        if self.join == "words":
            return " ".join(words)
        line = "".join(words)
        if self.join == "pieces":
            line = line.replace(_PIECE, " ")
        elif self.join == "continued":
            line = " ".join(words).replace(" ##", "").removeprefix("##")
        elif " " not in self.tokens:
            line = line.replace("|", " ")
        return " ".join(line.split())

    @property
    def blank(self) -> int | None:
        """The token that says it is CTC's blank; ``None`` where none does."""
        return next((self.tokens.index(name) for name in _BLANKS if name in self.tokens), None)


def read(path: str | None, join: str | None) -> Vocabulary:
    """The vocabulary of a file with one token per line.

    Args:
        path: As typed; without one, numbers stand for themselves.
        join: Of :data:`JOINS`, or ``None`` to tell by the tokens.

    Raises:
        UsageError: The file cannot be read.
    """
    if path is None:
        return Vocabulary((), "words")
    try:
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        hint = "Give a file with one token per line."
        raise UsageError(f"--decode vocabulary={path}: {said}.", hint=hint) from error
    tokens = tuple(line.removesuffix("\r") for line in lines)
    return Vocabulary(tokens, join or _join(tokens))


def _join(tokens: Sequence[str]) -> str:
    said = [token for token in tokens if not _SPECIAL.fullmatch(token)]
    if any(token.startswith(_PIECE) for token in said):
        return "pieces"
    if any(token.startswith("##") and len(token) > 2 for token in said):
        return "continued"
    return "characters" if all(len(token) <= 1 for token in said) else "words"


def collapsed(numbers: Array, blank: int) -> list[int]:
    """Greedy CTC: repeated tokens become one, then blanks go.

    Source: Graves et al., Connectionist Temporal Classification, ICML 2006, section 3.2 (best path decoding).

    Args:
        numbers: ``(T,)``, the best token of each frame.
        blank: Its number.
    """
    changed = np.concatenate([[True], numbers[1:] != numbers[:-1]])
    return [int(number) for number in numbers[changed] if number != blank]


def best_of(array: Array, scored: bool, time_first: bool = False) -> Iterator[Array]:
    """Tokens ``(T,)`` of each line.

    Args:
        array: Numbers ``(samples, …, T)``, or scores ``(samples, …, T, V)``.
        scored: Whether it holds scores.
        time_first: Scores are ``(samples, T, batch, V)``.
    """
    for sample in array:
        numbers = np.asarray(sample).argmax(axis=-1) if scored else np.asarray(sample)
        yield from numbers.T if time_first else numbers.reshape(-1, numbers.shape[-1])
