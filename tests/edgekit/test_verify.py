"""Verification of quantized files whose figures as a whole look fine; in a real runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit import feeds, registry
from edgekit.feeds import Feeds
from edgekit.jobs import Workers
from edgekit.source import OpenedSource
from edgekit.types import Signature, TensorSpec, Verification
from edgekit.verify import verify

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

Array = npt.NDArray[Any]
RANDOM = np.random.default_rng(4)


def rounding(path: Path, shape: list[int], step: float, zero_point: int = 0) -> Path:
    """A model that returns its input in 8 bits."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = [
        numpy_helper.from_array(np.float32(step), "step"),
        numpy_helper.from_array(np.uint8(zero_point), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["y"]),
    ]
    ends = [[helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)] for name in "xy"]
    graph = helper.make_graph(nodes, "rounding", *ends, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def verdict(folder: Path, samples: Array, step: float, *, quantized: bool = True, zero_point: int = 0) -> Verification:
    """Of a model that should return ``samples`` as they are."""
    made = rounding(folder / "made.onnx", list(samples.shape[1:]), step, zero_point)
    given = feeds.write(folder / "feeds", Feeds({"x": samples}, None, "test data"))
    reference = feeds.write(folder / "reference", Feeds({"y": samples}, None, "test data"))
    spec = TensorSpec("x", samples.shape[1:], "float32")
    opened = OpenedSource(
        path=folder / "model.pt2",
        kind="test",
        form="test",
        program=folder / "none",
        signature=Signature((spec,), (TensorSpec("y", spec.shape, "float32"),)),
        feeds=given,
        reference=reference,
        calibration=None,
        fingerprint="",
        random_inputs=False,
        notes=(),
    )
    check = folder / "check"
    check.mkdir()
    with Workers(folder) as workers:
        found, _, _ = verify(made, registry.targets()["onnx"], opened, 10.0, check, 60.0, workers, quantized=quantized)
    return found


def head(size: float) -> Array:
    boxes, scores = RANDOM.uniform(0, size, (8, 1, 4, 30)), RANDOM.uniform(0, 1, (8, 1, 6, 30))
    return np.concatenate([boxes, scores], 2).astype(np.float32)


def test_boxes_and_scores_in_one_tensor_fail(tmp_path: Path) -> None:
    found = verdict(tmp_path, head(640), 640 / 255)
    assert found.status == "failed"
    (drift,) = found.outputs
    assert drift.sqnr_db is not None
    assert drift.sqnr_db > 40
    assert drift.finding.startswith("mixed ranges: along axis 1, slices 4-9 of 10 vary by ")


def test_boxes_and_scores_of_one_size_pass(tmp_path: Path) -> None:
    assert verdict(tmp_path, head(1), 1 / 255).status == "passed"


def test_a_float_file_is_not_looked_at_in_parts(tmp_path: Path) -> None:
    assert verdict(tmp_path, head(640), 640 / 255, quantized=False).status == "passed"


def test_a_classifier_with_rare_classes_passes(tmp_path: Path) -> None:
    logits = RANDOM.normal(0, 3, (64, 1, 10)) - np.arange(10) * 2
    scores = np.exp(logits - logits.max(2, keepdims=True))
    scores /= scores.sum(2, keepdims=True)
    assert verdict(tmp_path, scores.astype(np.float32), 1 / 255).status == "passed"


def test_a_range_that_was_blown_up_fails_although_one_sample_fits_it(tmp_path: Path) -> None:
    samples = np.abs(RANDOM.normal(0, 1, (40, 1, 10))).astype(np.float32)
    samples[11] *= 1e4
    found = verdict(tmp_path, samples, float(samples.max()) / 255)
    assert found.status == "failed"
    assert found.outputs[0].finding.startswith("lost for most inputs: 39 of 40 samples stay within ")


def test_a_constant_output_fails(tmp_path: Path) -> None:
    samples = np.abs(RANDOM.normal(0, 1, (40, 1, 10))).astype(np.float32)
    found = verdict(tmp_path, samples, 1e4 / 255)
    assert "dead: the same output for every input" in found.outputs[0].finding
