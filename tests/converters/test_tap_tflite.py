"""Inner tensors of TFLite files as outputs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from taps import MODELS, check, floats, run, samples, sqnr

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

from tflite_files import Builder

from converters.tflite.tap import tap
from edgekit.errors import ConversionError, UnsupportedError
from profiles.runtimes import litert

OURS = [f"work_{name}_{scheme}" for name in ("cnn", "depthwise", "transformer") for scheme in ("float32", "int8")]
SHARED = [
    "mlperf_tiny_resnet8/pretrainedResnet",
    "mlperf_tiny_resnet8/pretrainedResnet_quant",
    "mlperf_tiny_kws_dscnn/kws_ref_model",
    "mlperf_tiny_vww_mobilenetv1/vww_96_int8",
    "aieq_mnist/mnist_quantized",
    "ultraface/version-slim-320_without_postprocessing",
]
INF = float("inf")


def tapped(path: Path, folder: Path, exact: bool = False) -> tuple[dict[str, Any], Any, Any]:
    """What the job told, the file, and the file that it wrote."""
    into = folder / f"{path.stem}_tapped_{exact}.tflite"  # the runtime maps it: no two may have one name
    found = dict(tap(str(path), str(into), exact))
    return found, litert.load(str(path), 1), litert.load(str(into), 1)


def names(found: dict[str, Any]) -> list[str]:
    return [row["tensor"] for row in found["taps"]]


def clamped(file: Builder, scale: float | None = None) -> tuple[int, int, int]:
    """``relu(x * 2)`` as two operators; indices of the three tensors."""
    kind = "FLOAT32" if scale is None else "INT8"
    x, middle, y = (file.tensor(name, [1, 4], kind, scale=scale) for name in ("x", "middle", "y"))
    two = file.tensor("two", [1, 4], data=np.full(4, 2, np.float32).tobytes())
    file.operator("MUL", [x, two], [middle], options="MulOptions")
    file.operator("RELU", [middle], [y])
    return x, middle, y


@pytest.mark.parametrize("exact", [False, True], ids=["all", "exact"])
@pytest.mark.parametrize("name", OURS)
def test_outputs_and_delegation_stay(name: str, exact: bool, tmp_path: Path) -> None:
    found, original, after = tapped(MODELS / f"{name}.tflite", tmp_path, exact)
    check(found, original, after, INF)
    assert after.undelegated() == original.undelegated()
    assert len(found["taps"]) <= original.nodes()


@pytest.mark.shared
@pytest.mark.parametrize("name", SHARED)
def test_real_models(name: str, shared_models: Path, tmp_path: Path) -> None:
    found, original, after = tapped(shared_models / f"{name}.tflite", tmp_path, exact=True)
    check(found, original, after, INF)
    assert after.undelegated() == original.undelegated()


@pytest.mark.shared
def test_weights_that_are_dequantized_are_no_taps(shared_models: Path, tmp_path: Path) -> None:
    """As outputs they would have to be computed, where XNNPACK reads them as they are stored."""
    found, original, _ = tapped(shared_models / "aieq_mnist/mnist_quantized.tflite", tmp_path)
    assert original.nodes() == 9
    assert "DEQUANTIZE" not in [row["operator"] for row in found["taps"]]
    assert len(found["taps"]) == 6


@pytest.mark.parametrize("name", ["cnn", "depthwise", "transformer"])
def test_quantized_tensors_are_close_to_their_float_twins(name: str, tmp_path: Path) -> None:
    found, _, after = tapped(MODELS / f"work_{name}_int8.tflite", tmp_path)
    other, original, reference = tapped(MODELS / f"work_{name}_float32.tflite", tmp_path)
    sample = samples(original.inputs)[0]
    integers, numbers = run(after, sample), run(reference, sample)
    twins = {row["tensor"]: row["output"] for row in other["taps"]}
    compared = [row for row in found["taps"] if row["twin"] in twins and row["scale"] is not None]
    assert len(compared) >= len(twins) * 3 // 4
    for row in compared:
        assert row["dtype"] == "int8"
        assert sqnr(numbers[twins[row["twin"]]], floats(row, integers[row["output"]])) > 15, row


@pytest.mark.parametrize("name", ["work_cnn_int8", "work_transformer_int8"])
def test_values_are_those_that_the_runtime_keeps_by_itself(name: str, tmp_path: Path) -> None:
    """An output that shared its memory with what is computed later would hold something else."""
    from ai_edge_litert.interpreter import Interpreter

    path = MODELS / f"{name}.tflite"
    found, original, after = tapped(path, tmp_path)
    sample = samples(original.inputs)[0]
    given = run(after, sample)
    interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.get_signature_runner()(**sample)
    indices = {item["name"]: item["index"] for item in interpreter.get_tensor_details()}
    for row in found["taps"]:
        assert np.array_equal(interpreter.get_tensor(indices[row["tensor"]]), given[row["output"]]), row


def test_modules_are_told(tmp_path: Path) -> None:
    found, _, _ = tapped(MODELS / "work_cnn_float32.tflite", tmp_path)
    modules = [(row["operator"], row["module"]) for row in found["taps"] if "CONV" in row["operator"]]
    assert ("CONV_2D", "second") in modules


def test_exact_leaves_out_what_is_clamped_right_away(tmp_path: Path) -> None:
    file = Builder()
    x, _, y = clamped(file)
    path = file.write(tmp_path / "m.tflite", [x], [y])
    assert names(tapped(path, tmp_path)[0]) == ["middle", "y"]
    found, original, after = tapped(path, tmp_path, exact=True)
    assert names(found) == ["y"]
    assert found["taps"][0]["inputs"] == ["x"]
    assert [note for note in found["notes"] if "XNNPACK" in note and "middle" in note]
    check(found, original, after, INF)


def test_a_file_without_a_signature_and_with_one_name_for_all(tmp_path: Path) -> None:
    file = Builder()
    x, middle, y = clamped(file)
    for index in (x, middle, y):
        file.graph.tensors[index].name = b"t"
    path = file.write(tmp_path / "m.tflite", [x], [y])
    found, original, after = tapped(path, tmp_path)
    check(found, original, after, INF)
    told = [(row["tensor"], row["output"]) for row in found["taps"]]
    assert told == [(f"t#0.{middle}", f"t#0.{middle}"), (f"t#0.{y}", "t")]
    assert found["taps"][0]["inputs"] == ["t"]
    # The file's own output comes first.
    assert [item["name"] for item in after.outputs] == ["t", f"t#0.{middle}"]


def test_the_signature_that_is_run_is_the_one_that_is_tapped(tmp_path: Path) -> None:
    file = Builder()
    x, _, y = clamped(file)
    file.borders([x], [y])
    file.signature("other", {"a": x}, {"b": y})
    graph = file.new_graph()
    first, inner, last = clamped(file)
    file.graph.tensors[inner].name = b"served"
    file.signature("serving_default", {"a": first}, {"served": last}, graph)
    path = file.write(tmp_path / "m.tflite", [first], [last])
    found, original, after = tapped(path, tmp_path)
    check(found, original, after, INF)
    assert [(row["tensor"], row["output"]) for row in found["taps"]] == [("served", "served#"), ("y#1.2", "served")]
    assert "2 signatures; its layers are those of 'serving_default'" in found["notes"][0]
    assert "2 of its operators are in other subgraphs" in found["notes"][-1]


def test_tensors_of_no_fixed_size_are_left_out(tmp_path: Path) -> None:
    file = Builder()
    x, places, y = file.tensor("x", [4], "BOOL"), file.tensor("places", [-1, 1], "INT64"), file.tensor("y", [4], "BOOL")
    file.operator("WHERE", [x], [places])
    file.operator("LOGICAL_NOT", [x], [y])
    path = file.write(tmp_path / "m.tflite", [x], [y])
    found = tapped(path, tmp_path)[0]
    assert names(found) == ["y"]
    assert "sizes depend on values" in found["notes"][0]
    assert "places" in found["notes"][0]


def test_scales_are_told(tmp_path: Path) -> None:
    file = Builder()
    x, y = (file.tensor(name, [1, 4], "INT8", scale=0.5, zero_point=3) for name in "xy")
    file.operator("RELU", [x], [y])
    (row,) = tapped(file.write(tmp_path / "m.tflite", [x], [y]), tmp_path)[0]["taps"]
    assert (row["scale"], row["zero_point"], row["dtype"], row["shape"]) == (0.5, 3, "int8", [1, 4])


def test_a_thousand_outputs(tmp_path: Path) -> None:
    file = Builder()
    tensors = [file.tensor(f"t{index}", [1, 4]) for index in range(1001)]
    for source, result in pairwise(tensors):
        file.operator("NEG", [source], [result])
    path = file.write(tmp_path / "m.tflite", tensors[:1], tensors[-1:])
    found, original, after = tapped(path, tmp_path)
    check(found, original, after, INF)
    assert len(after.outputs) == 1000


def test_nothing_inside(tmp_path: Path) -> None:
    file = Builder()
    x = file.tensor("x", [1, 4])
    path = file.write(tmp_path / "m.tflite", [x], [x])
    with pytest.raises(UnsupportedError, match="no operator of it makes a tensor of numbers") as caught:
        tap(str(path), str(tmp_path / "t.tflite"), False)
    assert "--layers" in caught.value.hint


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated(share: float, tmp_path: Path) -> None:
    content = (MODELS / "work_cnn_int8.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConversionError, match="truncated, damaged"):
        tap(str(path), str(tmp_path / "t.tflite"), True)


def test_a_file_of_more_than_two_gigabytes_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    with path.open("wb") as file:
        file.truncate(2_100_000_000)  # a hole, which takes no room
    with pytest.raises(UnsupportedError, match=r"large\.tflite: 2\.1 GB"):
        tap(str(path), str(tmp_path / "t.tflite"), True)
