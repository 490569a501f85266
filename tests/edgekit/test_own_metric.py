"""``--metric FILE.py:NAME``: the user's function in a child, beside packages of his that are called like ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import feeds, own_metric
from edgekit.errors import ConversionError, UsageError
from edgekit.feeds import Feeds
from edgekit.jobs import Workers

COUNT = 6
CODE = """
import numpy as np
from converters import scale  # the user's own package of that name

def each(outputs, labels):
    return np.abs(outputs["y"][:, 0] - labels[:, 0]) * scale.FACTOR

def whole(outputs, labels):
    return float(each(outputs, labels).max())

def boxes(outputs, labels):
    return [float(entry["boxes"].sum() + len(entry["labels"])) for entry in labels]

def lines(outputs, labels):
    return [len(line) for line in labels]

def nothing_given(outputs, labels):
    return 1.0 if labels is None else 0.0

def broken(outputs, labels):
    return outputs["z"]

def one_argument(outputs):
    return 1.0

def words(outputs, labels):
    return "good"

def too_many(outputs, labels):
    return np.zeros((len(labels), 2))

def no_number(outputs, labels):
    return float("nan")

LIMIT = 3
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("jobs"), parallel=1) as found:
        yield found


@pytest.fixture
def code(tmp_path: Path) -> Path:
    package = tmp_path / "converters"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "scale.py").write_text("FACTOR = 10\n")
    file = tmp_path / "mine.py"
    file.write_text(CODE)
    return file


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return feeds.write(tmp_path / "outputs", Feeds({"y": np.arange(COUNT, dtype=np.float32)[:, None]}))


def called(code: Path, name: str, outputs: Path, labels: Any, workers: Workers, tmp_path: Path) -> Any:
    return own_metric.call(f"{code}:{name}", outputs, labels, tmp_path, workers)


def test_numbers_come_back(code: Path, outputs: Path, workers: Workers, tmp_path: Path) -> None:
    labels = np.ones((COUNT, 1), np.int64)
    each = called(code, "each", outputs, labels, workers, tmp_path)
    assert each.tolist() == [10, 0, 10, 20, 30, 40]
    whole = called(code, "whole", outputs, labels, workers, tmp_path)
    assert (whole.shape, float(whole)) == ((), 40)


def test_labels_that_are_no_arrays_arrive(code: Path, outputs: Path, workers: Workers, tmp_path: Path) -> None:
    boxes = [{"boxes": np.full((n, 4), 2.0), "labels": np.zeros(n, np.int64)} for n in range(COUNT)]
    assert called(code, "boxes", outputs, boxes, workers, tmp_path).tolist() == [0, 9, 18, 27, 36, 45]
    assert called(code, "lines", outputs, ["a" * n for n in range(COUNT)], workers, tmp_path).tolist() == [
        *range(COUNT)
    ]
    assert called(code, "nothing_given", outputs, None, workers, tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("missing", UsageError, "has no function 'missing'"),
        ("LIMIT", UsageError, "has no function 'LIMIT'"),
        ("one_argument", UsageError, r"cannot be called with \(outputs, labels\)"),
        ("words", UsageError, "gave str, not numbers"),
        ("too_many", UsageError, r"gave shape \[6, 2\] for 6 samples"),
        ("no_number", UsageError, "gave nan"),
        ("broken", ConversionError, r"raised KeyError: 'z' \(mine.py, line \d+, in broken\)"),
    ],
)
def test_what_is_wrong_is_said(
    name: str, error: type[Exception], said: str, code: Path, outputs: Path, workers: Workers, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        called(code, name, outputs, np.ones((COUNT, 1)), workers, tmp_path)


@pytest.mark.parametrize("typed", ["mine.py", "mine.py:", ":score", "no_such_file.py:score"])
def test_what_cannot_be_a_function_is_refused_at_once(typed: str) -> None:
    with pytest.raises(UsageError, match="--metric"):
        own_metric.check(typed)
