"""What outputs are read as, in words, and how that is set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from profiles import decoding

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.standard_normal((6, 1, 10)).astype(np.float32)
PROBABILITIES = (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=2, keepdims=True)).astype(np.float32)
NONE: Mapping[str, str] = {}


def outputs(**arrays: Array) -> Feeds:
    return Feeds(arrays)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (LOGITS, "output 'out' read as logits over 10 classes"),
        (PROBABILITIES, "output 'out' read as probabilities over 10 classes"),
        (np.rint(PROBABILITIES * 256) / 256, "output 'out' read as probabilities over 10 classes"),
        (LOGITS.reshape(6, 1, 1, 1, 10), "output 'out' read as logits over 10 classes"),
        (LOGITS.reshape(3, 2, 10), "output 'out' read as logits over 10 classes"),
        (LOGITS.reshape(6, 10), "output 'out' read as logits over 10 classes"),
        (PROBABILITIES[:, :, :3], "output 'out' read as logits over 3 classes"),
    ],
)
def test_class_scores(array: Array, words: str) -> None:
    found = decoding.class_scores(outputs(out=array), 6, NONE)
    assert found is not None
    assert found.words == words


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 1, 5, 5), np.float32),
        np.zeros((6, 1, 1), np.float32),
        np.zeros((6, 1, 10), np.int64),
        np.zeros((4, 1, 10), np.float32),
    ],
)
def test_what_is_no_class_scores(array: Array) -> None:
    assert decoding.class_scores(outputs(out=array), 6, NONE) is None


def test_of_several_outputs_probabilities_are_read_and_the_others_are_named() -> None:
    found = decoding.class_scores(outputs(logits=LOGITS, boxes=np.zeros((6, 1, 5, 4)), probs=PROBABILITIES), 6, NONE)
    assert found is not None and found.output == "probs"
    assert found.words.endswith("; 'logits' would fit too (--decode output=logits)")


def test_settings_are_heeded() -> None:
    settings = {"output": "logits", "scores": "probabilities", "background": "0"}
    found = decoding.class_scores(outputs(probs=PROBABILITIES, logits=LOGITS), 6, settings)
    assert found is not None
    assert (found.output, found.kind, found.width, found.classes) == ("logits", "probabilities", 10, 9)
    assert found.words == "output 'logits' read as probabilities over 10 classes, the first of them background"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"output": "other"}, "there is no such output; there are out, boxes"),
        ({"output": "boxes"}, r"it has no row of scores for each of 6 labels; its shape is \[1, 5, 4\]"),
        ({"scores": "percent"}, "--decode scores=percent: not known"),
        ({"background": "last"}, "--decode background=last: not known"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        decoding.class_scores(outputs(out=LOGITS, boxes=np.zeros((6, 1, 5, 4))), 6, settings)


@pytest.mark.parametrize(
    ("array", "words", "kind"),
    [
        (PROBABILITIES[:, :, :1], "output 'out' read as a probability", decoding.PROBABILITIES),
        (LOGITS[:, :, 0], "output 'out' read as a score, above 0 for class 1", decoding.LOGITS),
        (LOGITS[:, :, :2], "output 'out' read as logits of two classes, of which the second is class 1", "logits"),
    ],
)
def test_single_scores(array: Array, words: str, kind: str) -> None:
    found = decoding.single_scores(outputs(out=array), 6, NONE)
    assert found is not None
    assert (found.words, found.kind) == (words, kind)


def test_values() -> None:
    both = outputs(scores=LOGITS, points=LOGITS[:, :, :4])
    found = decoding.values(both, (6, 1, 2, 2), NONE)
    assert found is not None and (found.output, found.width) == ("points", 4)
    assert found.words == "output 'points' read as 4 values of each label"
    one = decoding.values(outputs(out=LOGITS[:, :, :1]), (6, 1), NONE)
    assert one is not None and one.words == "output 'out' read as the value of each label"
    assert decoding.values(both, (6, 1, 3), NONE) is None


def test_rows_come_in_blocks_that_cover_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BLOCK_ELEMENTS", 40)
    blocks = list(decoding.rows(LOGITS.reshape(3, 2, 10), 10))
    assert [start for start, _ in blocks] == [0, 4]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), LOGITS.reshape(6, 10))


def test_the_reference_may_call_its_outputs_otherwise() -> None:
    mine, its = outputs(a=LOGITS, b=PROBABILITIES), outputs(x=PROBABILITIES, y=LOGITS)
    found = decoding.class_scores(mine, 6, NONE)
    assert found is not None and found.output == "b"
    assert decoding.counterpart(found, mine, its) is its.arrays["y"]
    assert decoding.counterpart(found, mine, outputs(b=LOGITS, a=PROBABILITIES)) is LOGITS
    assert decoding.counterpart(found, mine, outputs(b=LOGITS[:3], a=PROBABILITIES)) is None
    assert decoding.counterpart(found, mine, outputs(x=LOGITS)) is None


def test_values_that_are_no_numbers_and_outputs_that_are_constant() -> None:
    spoilt = LOGITS.copy()
    spoilt[1, 0, 3], spoilt[2, 0, 4], spoilt[4, 0, 0] = np.nan, np.inf, -np.inf
    assert decoding.not_finite(spoilt, 10) == 2  # minus infinity is a class that cannot be
    assert decoding.constant(np.repeat(LOGITS[:1], 5, axis=0), 10)
    assert not decoding.constant(LOGITS, 10)
