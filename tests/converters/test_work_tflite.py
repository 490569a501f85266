from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from converters.tflite.inspect import inspect
from edgekit.errors import UsageError

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tflite_files import Builder


def weights(file: Builder, name: str, *shape: int) -> int:
    count = 1
    for size in shape:
        count *= size
    return file.tensor(name, shape, data=bytes(4 * count))


def lstm(tmp_path: Path, projection: bool) -> Any:
    """5 steps of 2 sequences of 6 values; 4 cells, 3 outputs where they are projected."""
    file = Builder()
    outputs = 3 if projection else 4
    x = file.tensor("x", [2, 5, 6])
    gates = [weights(file, f"i{place}", 4, 6) for place in range(4)]
    gates += [weights(file, f"r{place}", 4, outputs) for place in range(4)]
    biases = [weights(file, f"b{place}", 4) for place in range(4)]
    last = weights(file, "p", 3, 4) if projection else -1
    state, cell = file.tensor("state", [2, outputs]), file.tensor("cell", [2, 4])
    y = file.tensor("y", [2, 5, outputs])
    inputs = [x, *gates, -1, -1, -1, *biases, last, -1, state, cell]
    file.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [y])
    return inspect(str(file.write(tmp_path / "m.tflite", [x], [y])))


@pytest.mark.parametrize("projection", [False, True])
def test_lstm(projection: bool, tmp_path: Path) -> None:
    facts = lstm(tmp_path, projection)
    outputs = 3 if projection else 4
    assert facts["macs"] == 2 * 5 * (4 * 4 * 6 + 4 * 4 * outputs + (3 * 4 if projection else 0))
    assert facts["uncounted"] == {}
    assert facts["work"][0]["weights_bytes"] == 4 * (4 * 4 * 6 + 4 * 4 * outputs + 16 + (12 if projection else 0))


def test_older_lstm_with_one_matrix(tmp_path: Path) -> None:
    file = Builder()
    x, before, cell = (file.tensor(name, [2, size]) for name, size in (("x", 6), ("h", 4), ("c", 4)))
    y = file.tensor("y", [2, 4])
    file.operator("LSTM", [x, before, weights(file, "w", 16, 10), weights(file, "b", 16), cell], [y])
    assert inspect(str(file.write(tmp_path / "m.tflite", [x], [y])))["macs"] == 2 * 16 * 10


@pytest.mark.parametrize(("kind", "second"), [("UNIDIRECTIONAL_SEQUENCE_RNN", (4, 4)), ("SVDF", (4, 9))])
def test_other_recurrent_layers(kind: str, second: tuple[int, int], tmp_path: Path) -> None:
    file = Builder()
    x, y = file.tensor("x", [2, 5, 6]), file.tensor("y", [2, 5, 4])
    file.operator(kind, [x, weights(file, "w", 4, 6), weights(file, "r", *second), weights(file, "b", 4), -1], [y])
    expected = 2 * 5 * (4 * 6 + second[0] * second[1])
    assert inspect(str(file.write(tmp_path / "m.tflite", [x], [y])))["macs"] == expected


def test_bytes_of_a_dense_layer_and_of_views(tmp_path: Path) -> None:
    file = Builder()
    x, y, z = file.tensor("x", [2, 8]), file.tensor("y", [2, 4]), file.tensor("z", [8])
    shape = file.tensor("shape", [1], "INT32", data=bytes(4))
    file.operator("FULLY_CONNECTED", [x, weights(file, "w", 4, 8), weights(file, "b", 4)], [y])
    file.operator("RESHAPE", [y, shape], [z])
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [z])))
    assert [row["moved_bytes"] for row in facts["work"]] == [4 * (16 + 32 + 4 + 8), 0]
    assert [row["node"] for row in facts["work"]] == ["0:0", "0:1"]
    assert facts["arithmetic_intensity"] == 2 * 64 / 240
    assert facts["weights_bytes_by_operator"] == {"FULLY_CONNECTED": 144, "RESHAPE": 4}


def test_a_table_is_read_by_the_row(tmp_path: Path) -> None:
    file = Builder()
    ids, rows = file.tensor("ids", [3], "INT32"), file.tensor("rows", [3, 8])
    file.operator("GATHER", [weights(file, "table", 1000, 8), ids], [rows], options="GatherOptions", axis=0)
    facts = inspect(str(file.write(tmp_path / "m.tflite", [ids], [rows])))
    assert facts["moved_bytes"] == 2 * 4 * 24
    assert facts["largest_tensors"][0] == {
        "name": "table", "dtype": "float32", "shape": (1000, 8), "size_bytes": 32_000, "operator": "GATHER",
    }  # fmt: skip


def test_dequantized_weights_count_as_stored_and_with_their_reader(tmp_path: Path) -> None:
    """Of the same shape as the data, which is no weight."""
    file = Builder()
    x, w, y = (file.tensor(name, [8, 8]) for name in "xwy")
    half = file.tensor("half", [8, 8], "FLOAT16", data=bytes(128))
    file.operator("DEQUANTIZE", [half], [w])
    file.operator("FULLY_CONNECTED", [x, w, -1], [y])
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [y])))
    assert [row["moved_bytes"] for row in facts["work"]] == [0, 256 + 128 + 256]
    assert facts["weights_bytes_by_operator"] == {"FULLY_CONNECTED": 128}


def sequence(tmp_path: Path) -> Path:
    """A dense layer on a sequence of open length, flattened and restored by sizes that a run computes."""
    file = Builder()
    x, shape = file.tensor("x", [-1, -1, 16]), file.tensor("shape", [3], "INT32")
    rows, dense, y = file.tensor("rows", [-1, 16]), file.tensor("dense", [-1, 32]), file.tensor("y", [-1, -1, 32])
    flat = file.tensor("flat", [2], "INT32", data=(-1).to_bytes(4, "little", signed=True) + (16).to_bytes(4, "little"))
    tail = file.tensor("tail", [1], "INT32", data=(32).to_bytes(4, "little"))
    begin = file.tensor("begin", [1], "INT32", data=bytes(4))
    end = file.tensor("end", [1], "INT32", data=(2).to_bytes(4, "little"))
    step = file.tensor("step", [1], "INT32", data=(1).to_bytes(4, "little"))
    head, whole = file.tensor("head", [2], "INT32"), file.tensor("whole", [3], "INT32")
    file.operator("SHAPE", [x], [shape], options="ShapeOptions", outType=file.schema.TensorType.INT32)
    file.operator("STRIDED_SLICE", [shape, begin, end, step], [head], options="StridedSliceOptions")
    file.operator("CONCATENATION", [head, tail], [whole], options="ConcatenationOptions", axis=0)
    file.operator("RESHAPE", [x, flat], [rows])
    file.operator("FULLY_CONNECTED", [rows, weights(file, "w", 32, 16), -1], [dense], options="FullyConnectedOptions")
    file.operator("RESHAPE", [dense, whole], [y])
    return file.write(tmp_path / "m.tflite", [x], [y])


def test_open_sizes_as_asked_for(tmp_path: Path) -> None:
    path = sequence(tmp_path)
    facts = inspect(str(path), ("x=2,9,16",))
    assert (facts["macs"], facts["macs_note"]) == (2 * 9 * 16 * 32, "")
    assert facts["counted_shapes"] == {"x": (2, 9, 16)}
    assert facts["signature"]["inputs"][0]["shape"] == (None, None, 16)
    dense = next(row for row in facts["work"] if row["operator"] == "FULLY_CONNECTED")
    assert dense["moved_bytes"] == 4 * (2 * 9 * 16 + 16 * 32 + 2 * 9 * 32)
    without = inspect(str(path))
    assert (without["macs"], without["moved_bytes"], without["arithmetic_intensity"]) == (None, None, None)
    with pytest.raises(UsageError, match="takes x: float32"):
        inspect(str(path), ("x=2,9,15",))


def test_sizes_that_litert_cannot_run_are_a_reason(tmp_path: Path) -> None:
    file = Builder()
    x, y = file.tensor("x", [-1, 16]), file.tensor("y", [-1, 16])
    file.operator("CUSTOM", [x], [y], custom="Mine")
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [y])), ("x=3,16",))
    assert facts["macs"] is None
    assert facts["macs_note"].startswith("LiteRT cannot run it at these sizes: ")
    assert facts["moved_note"] == facts["macs_note"]
    assert facts["work"][0]["macs"] is None
