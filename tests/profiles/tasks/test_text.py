"""Lines of text: tokens become words in the ways models write them, and jiwer counts the edits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import registry
from edgekit.drift_types import TaskResult
from edgekit.errors import UsageError
from edgekit.feeds import Array, Feeds
from edgekit.plugins import TaskInput
from profiles.tasks import text
from profiles.tasks._tokens import collapsed, read

jiwer = pytest.importorskip("jiwer", reason="pip install 'edgekit[metrics]'")

LINES = ["turn on the light", "stop", "turn the radio off please", "all lights off"] * 5
LETTERS = sorted(set("".join(LINES)))


def vocabulary(folder: Path, *tokens: str) -> str:
    path = folder / "tokens.txt"
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return str(path)


def frames(lines: list[str], tokens: list[str], blank: int) -> Array:
    """CTC scores ``(samples, 1, T, V)``: each letter twice, a blank after it."""
    longest = max(map(len, lines)) * 3
    found = np.random.default_rng(0).normal(0, 0.1, (len(lines), 1, longest, max(len(tokens), blank + 1)))
    found[..., blank] += 1
    for row, line in zip(found[:, 0], lines, strict=True):
        for place, letter in enumerate(line):
            row[3 * place : 3 * place + 2, tokens.index(letter)] += 5
    return found.astype(np.float32)


def task_input(output: Array, lines: list[str], reference: Array | None = None, /, **settings: str) -> TaskInput:
    its = None if reference is None else Feeds({"out": reference})
    return TaskInput(Feeds({"out": output}), its, Feeds({"x": np.zeros((len(lines), 1, 4))}), lines, settings)


def rates(result: TaskResult) -> list[float | None]:
    return [figure.value for figure in result.figures]


def misheard(lines: list[str]) -> list[str]:
    changed = [line.replace("light", "right").replace(" the", "") for line in lines]
    return [*changed[:-1], changed[-1] + " off"]


def test_repeated_tokens_and_blanks_go() -> None:
    assert collapsed(np.array([0, 3, 3, 0, 3, 5, 5, 0, 0]), 0) == [3, 3, 5]
    assert collapsed(np.array([7]), 0) == [7]


@pytest.mark.parametrize("where", ["first", "last", "named", "typed"])
def test_rates_are_those_of_jiwer(tmp_path: Path, where: str) -> None:
    tokens = {
        "first": ["-", *LETTERS],
        "last": LETTERS,
        "named": [*LETTERS, "<blank>", "<unk>"],
        "typed": [*LETTERS, "-"],
    }
    blank = {"first": 0, "last": len(LETTERS), "named": len(LETTERS), "typed": len(LETTERS)}[where]
    output = frames(misheard(LINES), tokens[where], blank)
    typed = {"blank": str(blank)} if where == "typed" else {}
    result = text.measure(task_input(output, LINES, vocabulary=vocabulary(tmp_path, *tokens[where]), **typed))
    assert rates(result) == pytest.approx([jiwer.wer(LINES, misheard(LINES)), jiwer.cer(LINES, misheard(LINES))])
    assert f"blank {blank} left out" in result.decoding
    assert not result.findings


def test_time_may_come_before_the_batch(tmp_path: Path) -> None:
    output = np.swapaxes(frames(misheard(LINES), ["-", *LETTERS], 0), 1, 2)
    result = text.measure(task_input(output, LINES, vocabulary=vocabulary(tmp_path, "-", *LETTERS)))
    assert rates(result)[0] == pytest.approx(jiwer.wer(LINES, misheard(LINES)))


@pytest.mark.parametrize(
    ("tokens", "numbers", "line"),
    [
        (["turn", "on", "<pad>"], [0, 1, 2, 2], "turn on"),
        (["\u2581tu", "rn", "\u2581on", "</s>"], [0, 1, 2, 3, 0], "turn on"),
        (["[CLS]", "tu", "##rn", "on", "[SEP]"], [0, 1, 2, 3, 4, 3], "turn on"),
        (["<s>", "t", "o", "|", "n"], [0, 1, 2, 3, 2, 4], "to on"),
        (["t", "o", " ", "n"], [0, 1, 2, 1, 3], "to on"),
    ],
)
def test_tokens_make_lines(tmp_path: Path, tokens: list[str], numbers: list[int], line: str) -> None:
    output = np.array([[numbers]] * 6, np.int32)
    result = text.measure(task_input(output, [line] * 6, vocabulary=vocabulary(tmp_path, *tokens)))
    assert read(vocabulary(tmp_path, *tokens), None).line(numbers) == line
    assert rates(result) == [0, 0]


def test_numbers_need_no_vocabulary() -> None:
    output = np.array([[[3, 1, 4]], [[1, 5, 9]]] * 5, np.int64)
    assert rates(text.measure(task_input(output, ["3 1 4", "1 5 8"] * 5)))[0] == pytest.approx(1 / 6)
    asked = text.measure(task_input(output, ["three one four", "one five eight"] * 5))
    assert "--decode vocabulary=FILE" in asked.findings[0]


def test_difference_from_the_reference_has_an_interval(tmp_path: Path) -> None:
    tokens = ["-", *LETTERS]
    bad, good = frames(misheard(LINES), tokens, 0), frames(LINES, tokens, 0)
    result = text.measure(task_input(bad, LINES, good, vocabulary=vocabulary(tmp_path, *tokens)))
    found = result.figures[0]
    assert (found.reference, found.higher_is_better) == (0, False)
    assert found.differs is True and found.difference_low is not None and found.difference_low > 0
    assert "worse" in found.words


def test_what_is_heard_where_nothing_was_said_is_an_error(tmp_path: Path) -> None:
    lines = ["on", "", "on", "", "on", ""]
    output = np.array([[[0]]] * 6, np.int64)
    result = text.measure(task_input(output, lines, vocabulary=vocabulary(tmp_path, "on", "off")))
    assert rates(result) == [1.0, 1.0]


def test_case_can_be_left_aside(tmp_path: Path) -> None:
    output, upper = frames(LINES, ["-", *LETTERS], 0), [line.upper() for line in LINES]
    tokens = vocabulary(tmp_path, "-", *LETTERS)
    kept = text.measure(task_input(output, upper, vocabulary=tokens))
    assert rates(kept)[0] == 1 and "--decode case=fold" in kept.findings[0]
    folded = text.measure(task_input(output, upper, vocabulary=tokens, case="fold"))
    assert rates(folded) == [0, 0] and not folded.findings


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (frames(LINES, ["-", *LETTERS], 0)[:-1], "no output holds tokens of 20 lines"),
        (frames(LINES, ["-", *LETTERS, "?", "!"], 0), "the vocabulary has"),
        (frames(LINES, ["-", *LETTERS], 0) * np.nan, "NaN or infinity in 20 of 20"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, output: Array, said: str) -> None:
    result = text.measure(task_input(output, LINES, vocabulary=vocabulary(tmp_path, "-", *LETTERS)))
    assert rates(result) == [None, None]
    assert said in result.findings[0] and said in result.figures[0].words


def test_a_model_that_always_says_the_same_is_found(tmp_path: Path) -> None:
    output = frames(["stop"] * len(LINES), ["-", *LETTERS], 0)
    result = text.measure(task_input(output, LINES, vocabulary=vocabulary(tmp_path, "-", *LETTERS)))
    assert result.findings == ("every line is 'stop'",)


@pytest.mark.parametrize("typed", [{"tokens": "bpe"}, {"vocabulary": "missing.txt"}, {"blank": "x"}, {"join": "glue"}])
def test_settings_that_mean_nothing(typed: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--decode"):
        text.measure(task_input(frames(LINES, ["-", *LETTERS], 0), LINES, **typed))


def test_it_is_chosen_for_lines_and_nothing_else() -> None:
    output = frames(LINES, ["-", *LETTERS], 0)
    assert registry.tasks()["text"].fits(task_input(output, LINES))
    data = task_input(output, LINES)
    assert not text.fits(TaskInput(data.outputs, None, data.inputs, "input", {}))
    assert not text.fits(TaskInput(data.outputs, None, data.inputs, np.zeros((20, 1), np.int64), {}))
