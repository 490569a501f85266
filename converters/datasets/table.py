"""Tables of numbers: CSV, TSV and the like, a row per sample."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.data_options import DataOptions
from edgekit.dataset import Dataset
from edgekit.errors import DataError, UsageError
from edgekit.feeds import Array
from edgekit.plugins import DataFormat

_DELIMITERS = (",", "\t", ";")
_LABELS = ("label", "labels", "class", "classes", "target", "targets", "y")
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}
_LOOK_BYTES = 1 << 16
_LOOK_ROWS = 20
_ADVANCE_ROWS = 5000
_SHOWN = 10


def identify(path: str) -> bool:
    """Whether its first lines are text with numbers in columns."""
    place = Path(path)
    if not place.is_file():
        return False
    try:
        rows = _first_rows(place)
    except UnicodeDecodeError:
        return False
    numbers = [row for row in rows if any(_is_number(text) for text in row)]
    return len(numbers) * 2 >= len(rows) > 0


def _encoding(place: Path) -> str:
    with place.open("rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _first_rows(place: Path) -> list[list[str]]:
    """A few rows, split by the character that splits them into most columns.

    Raises:
        UnicodeDecodeError: It is no text.
    """
    return _split(_head(place), _delimiter(place))


def _head(place: Path) -> list[str]:
    encoding = _encoding(place)
    with place.open("rb") as file:
        raw = file.read(_LOOK_BYTES)
    whole = len(raw) < _LOOK_BYTES
    if not whole and encoding != "utf-16":
        raw = raw[: raw.rfind(b"\n") + 1] or raw
    text = raw.decode(encoding)
    if "\0" in text:
        raise UnicodeDecodeError(encoding, raw[:1], 0, 1, "not text")
    lines = text.splitlines()
    return (lines if whole else lines[:-1] or lines)[: _LOOK_ROWS + 1]


def _delimiter(place: Path) -> str:
    lines = _head(place)
    widths = {delimiter: [len(row) for row in _split(lines, delimiter)] for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=lambda delimiter: sorted(widths[delimiter] or [0])[len(widths[delimiter]) // 2])


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if any(map(str.strip, row))]
    except csv.Error:
        return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read(path: str, options: DataOptions, into: Path, advance: Callable[[int, int], None]) -> Dataset:
    """Read features (``x``) and labels.

    Raises:
        DataError: A field is missing or no number; the message names its line.
        UsageError: A column that was asked for is not there, or the columns do not say what they are.
    """
    place = Path(path)
    rows = _first_rows(place)
    header = _has_header(rows)
    names = [text.strip() for text in rows[0]] if header else [str(index) for index in range(len(rows[0]))]
    layout = _Layout.of(path, names, rows[header:], header, options)
    features, words = array("d"), []
    total = place.stat().st_size
    for number, row, position in _rows(path, place, len(names), header):
        if number % _ADVANCE_ROWS == 0:
            advance(position, total)
        for column in layout.features:
            features.append(_number(path, number, names[column], row[column]))
        if layout.label is not None:
            words.append(row[layout.label].strip())
            if words[-1].lower() in _MISSING:
                raise _missing(path, number, names[layout.label], words[-1])
    notes = list(layout.notes)
    arrays: dict[str, Array] = {"x": np.frombuffer(features).reshape(-1, len(layout.features))}
    classes: tuple[str, ...] = ()
    if layout.label is not None:
        arrays["labels"], classes = _labels(words, notes)
    columns = tuple(names[column] for column in layout.features)
    return Dataset(path, arrays, columns=columns, classes=classes, notes=tuple(notes))


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names columns: words stand over numbers, or it is of words alone."""
    if len(rows) < 2:
        return not any(_is_number(text) for text in rows[0])
    over = [
        not _is_number(text) and all(len(row) > column and _is_number(row[column]) for row in rows[1:])
        for column, text in enumerate(rows[0])
    ]
    return any(over) or not any(_is_number(text) for text in rows[0])


@dataclass(frozen=True)
class _Layout:
    """Which columns are what."""

    features: tuple[int, ...]
    label: int | None
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(
        path: str, names: Sequence[str], rows: Sequence[Sequence[str]], header: bool, options: DataOptions
    ) -> _Layout:
        notes: list[str] = []
        words = [
            column for column in range(len(names)) if any(len(row) > column and _is_word(row[column]) for row in rows)
        ]
        label = None
        if options.label_column is not None:
            label = _column(path, "--label-column", options.label_column, names)
        elif header:
            label = next((names.index(name) for name in names if name.lower() in _LABELS), None)
        if label is None and len(words) == 1 and options.columns is None:
            label = words[0]
            notes.append(f"Column {names[label]!r} holds words and is taken as the label.")
        if label is None and len(words) == 1 and words[0] not in _chosen(path, options.columns or "", names):
            label = words[0]
            notes.append(f"Column {names[label]!r} holds words and is taken as the label.")
        if options.columns is not None:
            features = _chosen(path, options.columns, names)
        else:
            features = [column for column in range(len(names)) if column != label]
            wordy = [names[column] for column in words if column != label]
            if wordy:
                raise UsageError(
                    f"--data {path}: {'columns' if len(wordy) > 1 else 'column'} {', '.join(wordy[:_SHOWN])} "
                    f"{'hold' if len(wordy) > 1 else 'holds'} words, and features are numbers.",
                    hint=_columns_hint(names, words),
                )
        if not features:
            raise DataError(f"--data {path}: it has no column of numbers beside the label.")
        return _Layout(tuple(features), label, tuple(notes))


def _columns_hint(names: Sequence[str], words: Sequence[int]) -> str:
    numeric = [name for column, name in enumerate(names) if column not in words]
    shown = ",".join(numeric[:_SHOWN]) + (",…" if len(numeric) > _SHOWN else "")
    return f"Name those that are: --columns {shown}   and the label: --label-column {names[words[0]]}"


def _is_word(text: str) -> bool:
    return not _is_number(text) and text.strip().lower() not in _MISSING


def _column(path: str, option: str, typed: str, names: Sequence[str]) -> int:
    """A column by name, or by number from 0; negative numbers count from the last."""
    if typed in names:
        return list(names).index(typed)
    folded = [name.lower() for name in names]
    if typed.lower() in folded:
        return folded.index(typed.lower())
    if re.fullmatch(r"-?\d+", typed) and -len(names) <= int(typed) < len(names):
        return int(typed) % len(names)
    shown = ", ".join(names[:_SHOWN]) + ("…" if len(names) > _SHOWN else "")
    raise UsageError(
        f"{option} {typed}: {path} has no such column; it has {len(names)}: {shown}.",
        hint=f"{option} {names[-1]}   or its number, which counts from 0",
    )


def _chosen(path: str, typed: str, names: Sequence[str]) -> list[int]:
    """Columns of a list of names, numbers and ranges (``1-42``)."""
    found: list[int] = []
    for part in filter(None, (part.strip() for part in typed.split(","))):
        span = re.fullmatch(r"(\d+)-(\d+)", part)
        if span is not None and part not in names:
            first, last = (_column(path, "--columns", end, names) for end in span.groups())
            found += range(first, last + 1)
        else:
            found.append(_column(path, "--columns", part, names))
    return found


def _rows(path: str, place: Path, width: int, header: bool) -> Iterator[tuple[int, list[str], int]]:
    """Number of the line, fields, and how far into the file that is in bytes, about."""
    with place.open(encoding=_encoding(place), newline="") as file:
        reader = csv.reader(file, delimiter=_delimiter(place))
        skip, read_characters = header, 0
        try:
            for row in reader:
                read_characters += sum(map(len, row)) + len(row)
                if not any(map(str.strip, row)):
                    continue
                if skip:
                    skip = False
                    continue
                if len(row) != width:
                    raise DataError(
                        f"--data {path}, line {reader.line_num}: {len(row)} fields, and the first line has {width}."
                    )
                yield reader.line_num, row, read_characters
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"--data {path}, line {reader.line_num + 1}: {error}.") from error


def _number(path: str, line: int, name: str, text: str) -> float:
    if text.strip().lower() in _MISSING:
        raise _missing(path, line, name, text)
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"--data {path}, line {line}: column {name!r} holds {text.strip()!r}, which is no number.",
            hint="--columns NAME,… names the columns that are features, --label-column NAME the label.",
        ) from None


def _missing(path: str, line: int, name: str, text: str) -> DataError:
    found = f"holds {text.strip()!r}" if text.strip() else "is empty"
    return DataError(
        f"--data {path}, line {line}: column {name!r} {found}: a value is missing.",
        hint="Fill it in as in training, or remove the line; --columns NAME,… leaves a column out.",
    )


def _labels(words: Sequence[str], notes: list[str]) -> tuple[Array, tuple[str, ...]]:
    """Labels as numbers, and the names of classes that were words."""
    if all(map(_is_number, words)):
        numbers = np.array(words, np.float64)
        whole = np.array_equal(numbers, np.rint(numbers))
        return (numbers.astype(np.int64) if whole else numbers), ()
    classes = sorted(set(words))
    places = {word: index for index, word in enumerate(classes)}
    listed = ", ".join(f"{word}={index}" for word, index in list(places.items())[:_SHOWN])
    more = ", …" if len(classes) > _SHOWN else ""
    notes.append(
        f"Labels are words; they were numbered in alphabetical order, which must be that of the model: {listed}{more}."
    )
    return np.array([places[word] for word in words], np.int64), tuple(classes)


DATA = DataFormat(
    name="table",
    title="CSV and TSV tables",
    identify=identify,
    read="converters.datasets.table:read",
    options=("label_column", "columns"),
)
