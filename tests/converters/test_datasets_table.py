"""Tables: which column is what, and the line of what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import data
from edgekit.dataset import Dataset
from edgekit.errors import DataError, UsageError
from edgekit.jobs import Workers
from edgekit.types import Signature, TensorSpec

FEATURES = np.array([[0.5, 1.0], [2.5, -3.0], [4e-3, 5.0]])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("scratch"), parallel=1) as opened:
        yield opened


def read(text: str | bytes | Path, workers: Workers, **options: str) -> Dataset:
    path = text if isinstance(text, Path) else Path("table.csv")
    if not isinstance(text, Path):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return data.load(str(path), data.DataOptions(**options), workers.scratch, workers)


def check(found: Dataset, labels: list[int] | None = None) -> None:
    np.testing.assert_array_equal(found.arrays["x"], FEATURES)
    if labels is None:
        assert "labels" not in found.arrays
    else:
        assert found.arrays["labels"].tolist() == labels


ROWS = "0.5,1\n2.5,-3\n4e-3,5\n"


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "a,b\n" + ROWS,
        "\ufeffa,b\r\n" + ROWS.replace("\n", "\r\n"),
        ROWS.replace(",", "\t"),
        ROWS.replace(",", ";"),
        ROWS.replace(",", " , "),
        "\n" + ROWS.replace("\n", "\n\n"),
        '"a","the ""b"", in mm"\n' + ROWS.replace("0.5", '"0.5"'),
        ("a,b\n" + ROWS).encode("utf-16"),
        ROWS.rstrip("\n"),
    ],
)
def test_spellings(workers: Workers, text: str | bytes) -> None:
    check(read(text, workers))


@pytest.mark.parametrize("name", ["label", "labels", "Class", "target", "Y"])
def test_the_label_by_its_name(workers: Workers, name: str) -> None:
    text = f"a,{name},b\n0.5,1,1\n2.5,0,-3\n4e-3,2,5\n"
    found = read(text, workers)
    check(found, [1, 0, 2])
    assert (found.columns, found.classes) == (("a", "b"), ())


@pytest.mark.parametrize("column", ["0", "-3"])
def test_the_label_by_its_number(workers: Workers, column: str) -> None:
    check(read("1,0.5,1\n0,2.5,-3\n2,4e-3,5\n", workers, label_column=column), [1, 0, 2])


@pytest.mark.parametrize("header", ["", "a,b,kind\n"])
def test_one_column_of_words_is_the_label_and_it_is_said(workers: Workers, header: str) -> None:
    found = read(header + "0.5,1,pear\n2.5,-3,apple\n4e-3,5,pear\n", workers)
    check(found, [1, 0, 1])
    assert found.classes == ("apple", "pear")
    assert f"Column {'kind' if header else '2'!r} holds words and is taken as the label." in found.notes
    assert any("alphabetical order, which must be that of the model: apple=0, pear=1" in note for note in found.notes)


@pytest.mark.parametrize("columns", ["a,b", "1,2", "1-2", "A,2"])
def test_chosen_columns(workers: Workers, columns: str) -> None:
    text = "id,a,b,kind,remark\n7,0.5,1,x,good\n8,2.5,-3,y,\n9,4e-3,5,x,bad\n"
    check(read(text, workers, columns=columns, label_column="kind"), [0, 1, 0])


def test_chosen_columns_have_the_order_that_was_typed(workers: Workers) -> None:
    found = read("a,b,c\n1,2,3\n4,5,6\n", workers, columns="c,a")
    assert found.arrays["x"].tolist() == [[3, 1], [6, 4]]
    assert found.columns == ("c", "a")


def test_numbers_to_predict_are_kept_as_they_are(workers: Workers) -> None:
    found = read("a,b,target\n0.5,1,0.25\n2.5,-3,0.5\n4e-3,5,1\n", workers)
    assert found.arrays["labels"].tolist() == [0.25, 0.5, 1.0]
    bound = data.bind(found, Signature((TensorSpec("in", (1, 2), "float32"),), ()))
    assert bound.labels is not None
    assert bound.labels.tolist() == [[0.25], [0.5], [1.0]]


# What a model makes of it


def test_rows_take_the_shape_of_the_input(workers: Workers) -> None:
    found = read("\n".join(",".join(str(16 * row + column) for column in range(16)) for row in range(3)), workers)
    bound = data.bind(found, Signature((TensorSpec("in", (1, 4, 4, 1), "float32"),), ()))
    np.testing.assert_array_equal(bound.arrays["in"], np.arange(48).reshape(3, 1, 4, 4, 1))
    assert bound.arrays["in"].dtype == np.float32


def test_whole_numbers_for_inputs_that_take_them(workers: Workers) -> None:
    model = Signature((TensorSpec("ids", (1, 2), "int64"),), ())
    np.testing.assert_array_equal(data.bind(read("1,2\n3,4\n", workers), model).arrays["ids"], [[[1, 2]], [[3, 4]]])
    with pytest.raises(DataError, match="expected int64 for input 'ids', found float64"):
        data.bind(read("1,2.5\n3,4\n", workers), model)


def test_an_input_per_column(workers: Workers) -> None:
    found = read("age,height,label\n30,1.5,1\n40,1.75,0\n", workers)
    specs = (TensorSpec("height", (None, 1), "float32"), TensorSpec("age", (None, 1), "int32"))
    bound = data.bind(found, Signature(specs, ()))
    np.testing.assert_array_equal(bound.arrays["height"], [[[1.5]], [[1.75]]])
    np.testing.assert_array_equal(bound.arrays["age"], [[[30]], [[40]]])
    assert bound.arrays["age"].dtype == np.int32
    assert bound.labels is not None
    assert bound.labels.tolist() == [[1], [0]]
    assert bound.origin == "2 samples of table.csv"


def test_one_column_too_many_may_be_the_label(workers: Workers) -> None:
    with pytest.raises(DataError, match=r"expected shape \[N,2\] for input 'in', found \[2, 3\]") as caught:
        data.bind(read("1,2,3\n4,5,6\n", workers), Signature((TensorSpec("in", (1, 2), "float32"),), ()))
    assert "--label-column 0 or --label-column 2" in caught.value.hint


def test_too_many_columns_beside_a_label(workers: Workers) -> None:
    found = read("id,a,b,label\n1,2,3,0\n4,5,6,1\n", workers)
    with pytest.raises(DataError) as caught:
        data.bind(found, Signature((TensorSpec("in", (1, 2), "float32"),), ()))
    assert caught.value.hint == "Name the 2 columns that are features, such as --columns a,b"


def test_columns_survive_the_way_to_a_child(workers: Workers, here: Path) -> None:
    found = read("a,b,kind\n0.5,1,x\n2.5,-3,y\n4e-3,5,x\n", workers)
    opened = Dataset.open(found.save(here / "saved"))
    assert (opened.columns, opened.classes, opened.notes) == (found.columns, found.classes, found.notes)
    check(opened, [0, 1, 0])


# What is wrong


@pytest.mark.parametrize("field", ["", "NaN", "na", "?", "NULL"])
def test_a_missing_value_is_told_with_its_line(workers: Workers, field: str) -> None:
    with pytest.raises(DataError, match=r"table\.csv, line 3: column 'b' .*: a value is missing") as caught:
        read(f"a,b\n1,2\n3,{field}\n4,5\n", workers)
    assert "--columns" in caught.value.hint


def test_lines_are_those_of_the_file(workers: Workers) -> None:
    with pytest.raises(DataError, match="line 6: column 'b' is empty"):
        read('a,b,remark\n1,2,"of two\nlines"\n\n1,2,"one"\n3,,"x"\n', workers, columns="a,b", label_column="remark")


def test_a_missing_label(workers: Workers) -> None:
    with pytest.raises(DataError, match="line 3: column 'label' is empty: a value is missing"):
        read("a,label\n1,0\n2,\n", workers)


@pytest.mark.parametrize(("line", "count"), [("1", 1), ("1,2,3", 3)])
def test_lines_of_other_length(workers: Workers, line: str, count: int) -> None:
    with pytest.raises(DataError, match=f"line 3: {count} fields, and the first line has 2"):
        read(f"a,b\n1,2\n{line}\n", workers)


def test_a_word_far_down(workers: Workers) -> None:
    rows = "".join(f"{row},1\n" for row in range(50))
    with pytest.raises(DataError, match="line 52: column 'b' holds 'oops', which is no number"):
        read("a,b\n" + rows + "1,oops\n", workers)


def test_several_columns_of_words(workers: Workers) -> None:
    with pytest.raises(UsageError, match="columns kind, place hold words") as caught:
        read("a,kind,b,place\n1,x,2,y\n3,z,4,w\n", workers)
    assert caught.value.hint == "Name those that are: --columns a,b   and the label: --label-column kind"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_column": "c"}, "--label-column c: table.csv has no such column; it has 2: a, b"),
        ({"label_column": "2"}, "--label-column 2: table.csv has no such column"),
        ({"columns": "a,c"}, "--columns c: table.csv has no such column"),
        ({"columns": "0-9"}, "--columns 9: table.csv has no such column"),
    ],
)
def test_columns_that_are_not_there(workers: Workers, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read("a,b\n1,2\n", workers, **options)
    assert said in caught.value.message


def test_a_label_alone(workers: Workers) -> None:
    with pytest.raises(DataError, match="no column of numbers beside the label"):
        read("label\n1\n2\n", workers)


# Tables of others


@pytest.mark.shared
def test_iris(workers: Workers, shared_models: Path) -> None:
    found = read(shared_models / "winml_iris" / "Iris.csv", workers, columns="SepalLengthCm,2,PetalLengthCm,4")
    assert found.arrays["x"].shape == (150, 4)
    assert np.bincount(found.arrays["labels"]).tolist() == [50, 50, 50]
    assert found.classes == ("Iris-setosa", "Iris-versicolor", "Iris-virginica")


@pytest.mark.shared
def test_hand_gestures(workers: Workers, shared_models: Path) -> None:
    table = shared_models / "hand_gesture" / "point_history_classifier" / "point_history.csv"
    found = read(table, workers, label_column="0")
    assert found.arrays["x"].shape[1] == 32
    assert set(found.arrays["labels"].tolist()) == {0, 1, 2, 3}
