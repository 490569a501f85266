"""One network counts the same in every format; ``tests/models/make_work.py`` made the files, with the sums by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

for package in ("ai_edge_litert", "onnx", "executorch"):
    pytest.importorskip(package, reason="needs all three targets")

from converters import executorch, onnx, tflite  # noqa: E402 - after the check that they are there
from edgekit import registry  # noqa: E402

MODELS = Path(__file__).parents[1] / "models"
MACS = {"cnn": 80_384, "depthwise": 35_192, "transformer": 69_632}
TARGETS = (tflite.TARGET, onnx.TARGET, executorch.TARGET)


def facts(name: str, scheme: str, target: Any) -> dict[str, Any]:
    found: dict[str, Any] = registry.function(target.inspect)(str(MODELS / f"work_{name}_{scheme}{target.suffix}"))
    return found


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("scheme", ["float32", "int8"])
@pytest.mark.parametrize("name", MACS)
def test_macs_are_those_counted_by_hand(name: str, scheme: str, target: Any) -> None:
    found = facts(name, scheme, target)
    assert found["macs"] == MACS[name]
    assert found["uncounted"] == {}
    assert found["macs_note"] == ""
    assert sum(row["macs"] for row in found["work"]) == MACS[name]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("scheme", ["float32", "int8"])
@pytest.mark.parametrize("name", MACS)
def test_sums_of_bytes_agree_with_each_other(name: str, scheme: str, target: Any) -> None:
    found = facts(name, scheme, target)
    stored = sum(found["weights_bytes_by_dtype"].values())
    assert sum(found["weights_bytes_by_operator"].values()) == stored
    assert found["moved_bytes"] == sum(row["moved_bytes"] for row in found["work"]) > stored
    assert found["arithmetic_intensity"] == pytest.approx(2 * found["macs"] / found["moved_bytes"])
    largest = [item["size_bytes"] for item in found["largest_tensors"]]
    assert largest == sorted(largest, reverse=True)
    assert 8 <= len(largest) <= 10  # the smallest of these files stores eight tensors
    assert [row["index"] for row in found["work"]] == list(range(len(found["work"])))


@pytest.mark.parametrize("name", MACS)
def test_bytes_moved_are_of_one_size_in_all_formats(name: str) -> None:
    """They are those of the operators of each format, which fuse more or less; not of another order."""
    moved = [facts(name, "float32", target)["moved_bytes"] for target in TARGETS]
    assert max(moved) < 1.6 * min(moved)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_eight_bits_move_less(target: Any) -> None:
    floats, integers = facts("cnn", "float32", target), facts("cnn", "int8", target)
    assert integers["moved_bytes"] < 0.4 * floats["moved_bytes"]
    largest = integers["largest_tensors"][0]
    assert (largest["dtype"], largest["size_bytes"]) == ("int8", 2560)
    assert largest["operator"] in ("FULLY_CONNECTED", "Gemm", "xnnpack::FullyConnected")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_first_convolution_by_hand(target: Any) -> None:
    """Weights 8*3*3*3 and 8 in float32; image 3*16*16 in and 8*16*16 out."""
    rows = [row for row in facts("cnn", "float32", target)["work"] if row["macs"] == 55_296]
    assert len(rows) == 1
    assert rows[0]["weights_bytes"] == 4 * (216 + 8)
    assert rows[0]["moved_bytes"] == 4 * (216 + 8 + 768 + 2048)
    assert rows[0]["computes"] == "float"
    assert rows[0]["activations"] == "float32"
