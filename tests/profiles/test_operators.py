from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import MODELS, OpenSession

from edgekit import data, feeds, registry
from edgekit.plugins import MetricInput
from edgekit.types import FloatOperator, Measurement, OperatorTime
from profiles import operators
from profiles.metrics import operators as metric

NETWORKS = Path(__file__).parents[1] / "models"
FORMATS = ("tflite", "onnx", "pte")
RUNS = 4


def given(session: Any, folder: Path) -> Path:
    return feeds.write(folder / "given", data.random_feeds(session.signature, 3, 0, {}))


def collect(model: Path, open_session: OpenSession, folder: Path) -> dict[str, Any]:
    session = open_session(model)
    return operators.collect(lambda: session, given(session, folder), RUNS)


def read(model: Path) -> dict[str, Any]:
    """What inspect says, as the agent's host would have it: through JSON."""
    target = {".tflite": "tflite", ".onnx": "onnx", ".pte": "executorch"}[model.suffix]
    found = registry.function(registry.targets()[target].inspect)(path=str(model))
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def measured(raw: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> dict[str, Measurement]:
    found = metric.measure(MetricInput(Path(__file__), facts, {} if raw is None else {"operators": raw}))
    return {item.metric: item for item in found}


def row(operator: str, ns: Sequence[int], delegate: str = "", node: str = "", calls: int = 1) -> dict[str, Any]:
    return {
        "index": 0, "operator": operator, "name": f"the {operator}", "node": node,
        "delegate": delegate, "calls": calls, "ns": list(ns),
    }  # fmt: skip


def raw_of(rows: Sequence[dict[str, Any]], run_ns: Sequence[int], **more: Any) -> dict[str, Any]:
    found = {"nodes": None, "undelegated": None, "unavailable": "", "log": ""}
    return {**found, "operators": list(rows), "run_ns": list(run_ns), **more}


def work(*rows: tuple[str, str, int | None, bool]) -> dict[str, Any]:
    keys = ("operator", "node", "macs", "delegated")
    return {"work": [{**dict(zip(keys, one, strict=True)), "name": f"the {one[0]}"} for one in rows], "uncounted": {}}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("network", ["cnn_float32", "cnn_int8", "transformer_int8"])
def test_every_runtime_times_its_operators(
    network: str, suffix: str, open_session: OpenSession, tmp_path: Path
) -> None:
    model = NETWORKS / f"work_{network}.{suffix}"
    raw, facts = collect(model, open_session, tmp_path), read(model)
    assert raw["unavailable"] == ""
    assert len(raw["run_ns"]) == RUNS
    assert len({item["index"] for item in raw["operators"]}) == len(raw["operators"]) > 3
    for item in raw["operators"]:
        assert len(item["ns"]) == RUNS
        assert item["operator"]
        assert item["calls"] == 1
        assert min(item["ns"]) >= 0
    # Operators are parts of the run: none is counted twice.
    for run, taken in enumerate(raw["run_ns"]):
        assert sum(item["ns"][run] for item in raw["operators"]) <= taken
    kinds = " ".join(item["operator"] for item in raw["operators"])
    assert any(kind in kinds for kind in ("onv", "Fully Connected", "Gemm", "MatMul"))
    check_delegation(raw, facts, suffix)


def check_delegation(raw: Mapping[str, Any], facts: Mapping[str, Any], suffix: str) -> None:
    """What the profiler saw run outside the delegate is what the runtime, and the file, say."""
    saw = {item["node"] for item in raw["operators"] if not item["delegate"]}
    if raw["undelegated"] is not None:
        assert saw == {item["node"] for item in raw["undelegated"]}
    if suffix != "onnx":
        names = {item["node"]: item["operator"] for item in facts["work"]}
        assert all(names[item["node"]] == item["operator"] for item in raw["operators"] if not item["delegate"])
    if suffix == "pte":
        assert saw == {item["node"] for item in facts["work"] if not item["delegated"]}
    found = measured(raw, facts)
    total = raw["nodes"] or len(facts["work"])
    assert found["delegated_nodes_ratio"].value == pytest.approx(1 - len(saw) / total)
    macs = sum(item["macs"] for item in facts["work"])
    missed = sum(item["macs"] for item in facts["work"] if item["node"] in saw)
    assert found["delegated_macs_ratio"].value == pytest.approx(1 - missed / macs)
    assert bool(metric.notes(raw, facts)) == bool(metric.heavy_outside(raw, facts)) == (missed > 0)


def test_a_loop_has_the_time_that_its_operators_did_not_take(open_session: OpenSession, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    image = [proto.FLOAT, [64, 64]]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
            helper.make_node("Relu", ["y"], ["z"], name="positive"),
            helper.make_node("Identity", ["on"], ["still"], name="go"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", proto.INT64, []),
            helper.make_tensor_value_info("on", proto.BOOL, []),
            helper.make_tensor_value_info("x", *image),
        ],
        [helper.make_tensor_value_info("still", proto.BOOL, []), helper.make_tensor_value_info("z", *image)],
    )
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32) / 8
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["times", "", "a"], ["b"], name="loop", body=body),
            helper.make_node("MatMul", ["b", "w"], ["c"], name="last"),
        ],
        "main",
        [helper.make_tensor_value_info("a", *image)],
        [helper.make_tensor_value_info("c", *image)],
        [onnx.numpy_helper.from_array(np.array(5), "times"), onnx.numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "loop.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    raw = collect(path, open_session, tmp_path)
    assert {item["name"]: item["calls"] for item in raw["operators"]} == {
        "loop": 1, "product": 5, "positive": 5, "go": 5, "last": 1,
    }  # fmt: skip
    for run, taken in enumerate(raw["run_ns"]):
        assert sum(item["ns"][run] for item in raw["operators"]) <= taken


def test_open_sizes_and_no_signature(open_session: OpenSession, shared_models: Path, tmp_path: Path) -> None:
    model = shared_models / "hand_gesture/keypoint_classifier/keypoint_classifier.tflite"
    if not model.exists():
        pytest.skip(f"there is no {model}")
    rows = feeds.Feeds({"input_1": np.zeros((2, 3, 42), np.float32)})
    raw = operators.collect(lambda: open_session(model), feeds.write(tmp_path / "given", rows), RUNS)
    assert raw["unavailable"] == ""
    assert [item["operator"].split(" (")[0] for item in raw["operators"] if "Reshape" not in item["operator"]] == [
        "Fully Connected", "Fully Connected", "Fully Connected", "Softmax",
    ]  # fmt: skip


def test_a_profiler_that_crashes_leaves_what_is_delegated(open_session: OpenSession, tmp_path: Path) -> None:
    model = NETWORKS / "work_transformer_int8.tflite"
    with open_session(model) as session:
        samples = given(session, tmp_path)

    def doomed() -> Any:
        session = open_session(model)
        ask = session.operators

        def crash(*arguments: Any) -> Any:
            os.kill(session.process.pid, signal.SIGKILL)
            return ask(*arguments)

        session.operators = crash  # type: ignore[method-assign]
        return session

    raw = operators.collect(doomed, samples, RUNS)
    assert "was killed by SIGKILL, in timing its operators" in raw["unavailable"]
    assert Path(raw["log"]).is_file()
    facts = read(model)
    found = measured(raw, facts)
    assert metric.times(raw) == ()
    for name in ("operators_time_ratio", "delegated_time_ratio"):
        assert found[name].value is None
        assert found[name].unavailable == raw["unavailable"]
    assert found["delegated_nodes_ratio"].value == pytest.approx(1 - len(raw["undelegated"]) / raw["nodes"])
    assert raw["unavailable"] in metric.notes(raw, facts)[-1]


def test_feeds_that_do_not_fit_are_a_reason_too(open_session: OpenSession, images: Path) -> None:
    raw = operators.collect(lambda: open_session(NETWORKS / "work_transformer_float32.onnx"), images, RUNS)
    assert "timing its operators" in raw["unavailable"]
    assert raw["operators"] == []


def test_a_profiled_agent_computes_as_before(open_session: OpenSession, images: Path, tmp_path: Path) -> None:
    """The profile is of another copy of the file."""
    with open_session(MODELS / "tiny.onnx") as session:
        before = feeds.read(session.outputs(images, tmp_path / "before")).arrays["scores"]
        assert session.operators(images, RUNS)["unavailable"] == ""
        after = feeds.read(session.outputs(images, tmp_path / "after")).arrays["scores"]
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize(("latency_ns", "runs"), [(1e3, 100), (1e9 / 25, 50), (1e10, 10), (0.0, 100)])
def test_how_many_runs(latency_ns: float, runs: int) -> None:
    assert operators.runs_for(latency_ns) == runs


def test_not_asked_for() -> None:
    assert measured(None, {}) == {}


def test_times_are_of_the_faster_half_of_each_operator() -> None:
    """Each run was interrupted once, in another operator."""
    rows = [row("A", [1000, 9000, 1000, 1000], "XNNPACK"), row("B", [3000, 3000, 3000, 8000])]
    raw = raw_of(rows, [5000, 13000, 6000, 10000])
    assert metric.times(raw) == (
        OperatorTime("A", "the A", "XNNPACK", 1000.0, 0.25, 1),
        OperatorTime("B", "the B", "", 3000.0, 0.75, 1),
    )
    found = measured(raw, {})
    assert found["operators_time_ratio"].value == pytest.approx(4000 / (4000 + 1000))
    assert found["operators_time_ratio"].samples == 4
    assert found["delegated_time_ratio"].value == pytest.approx(0.25)


def test_operators_below_the_resolution() -> None:
    found = measured(raw_of([row("A", [0, 0], "XNNPACK")], [50, 60]), {})
    assert found["operators_time_ratio"].value == 0
    assert "below the resolution" in found["delegated_time_ratio"].unavailable


def test_sums_by_type() -> None:
    rows = [row("A", [1000]), row("B", [5000]), row("A", [2000], calls=3), row("A", [500], "XNNPACK")]
    found = metric.by_type(metric.times(raw_of(rows, [9000])))
    assert [(one.operator, one.delegate, one.time_ns, one.count) for one in found] == [
        ("B", "", 5000.0, 1), ("A", "", 3000.0, 4), ("A", "XNNPACK", 500.0, 1),
    ]  # fmt: skip
    assert sum(one.share for one in found) == pytest.approx(1)


def test_shares_from_the_runtime() -> None:
    outside = [{"operator": "CONV_2D", "name": "last", "node": "0:2"}]
    facts = work(("CONV_2D", "0:0", 300, True), ("RELU", "0:1", 0, True), ("CONV_2D", "0:2", 100, True))
    raw = raw_of([], [], undelegated=outside, nodes=3, unavailable="it crashed")
    found = measured(raw, facts)
    assert found["delegated_nodes_ratio"].value == pytest.approx(2 / 3)
    assert found["delegated_macs_ratio"].value == pytest.approx(0.75)
    assert metric.share_to_require(list(found.values())).metric == "delegated_macs_ratio"
    assert metric.heavy_outside(raw, facts) == (FloatOperator("CONV_2D", "last"),)


def test_shares_from_the_file() -> None:
    facts = work(
        ("XNNConv2d", "delegate 0, node 0", 900, True), ("aten::addmm.out", "forward, instruction 1", 100, False)
    )
    rows = [row("Convolution", [3000], "XNNPACK"), row("aten::addmm.out", [7000], node="forward, instruction 1")]
    raw = raw_of(rows, [10000])
    found = measured(raw, facts)
    assert found["delegated_nodes_ratio"].value == pytest.approx(0.5)
    assert found["delegated_macs_ratio"].value == pytest.approx(0.9)
    (note,) = metric.notes(raw, facts)
    assert note == (
        "SLOW PATH: convolutions or matrix products run outside the delegate, for 70% of the time: "
        "aten::addmm.out (the aten::addmm.out)"
    )


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"unavailable": "the file is damaged"}, "the file is damaged"),
        ({}, "were not read"),
        (work(("CONV_2D", "0:0", None, True)), "not known of all operators"),
        ({**work(("CONV_2D", "0:0", 1, True)), "uncounted": {"CUSTOM": 1}}, "not known of all operators"),
        (work(("CONV_2D", "0:0", 1, True), ("CONV_2D", "1:0", 1, True)), "several graphs"),
        (work(("ADD", "0:0", 0, True)), "no convolutions"),
    ],
)
def test_a_share_of_macs_that_cannot_be_had(facts: dict[str, Any], words: str) -> None:
    outside = [{"operator": "ADD", "name": "", "node": "0:0"}]
    found = measured(raw_of([], [], undelegated=outside, nodes=2), facts)
    assert found["delegated_macs_ratio"].value is None
    assert words in found["delegated_macs_ratio"].unavailable
    assert metric.share_to_require(list(found.values())).value == pytest.approx(0.5)


def test_a_profile_that_was_delegated_otherwise_says_so() -> None:
    rows = [row("ADD", [1000], node="0:1"), row("LESS", [1000], node="1:0")]
    same = raw_of(rows, [2000], undelegated=[{"operator": "ADD", "name": "", "node": "0:1"}], nodes=2)
    assert metric.notes(same, {}) == []
    other = raw_of(rows, [2000], undelegated=[], nodes=2)
    assert "delegated otherwise" in metric.notes(other, {})[0]


@pytest.mark.parametrize(
    "operator",
    """CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV CONV_3D FULLY_CONNECTED BATCH_MATMUL UNIDIRECTIONAL_SEQUENCE_LSTM
    Conv ConvTranspose QLinearConv ConvInteger FusedConv Gemm QGemm MatMul QLinearMatMul MatMulInteger MatMulNBits
    DynamicQuantizeMatMul Einsum LSTM GRU aten::convolution.out aten::linear.out aten::addmm.out aten::mm.out
    aten::bmm.out aten::baddbmm.out quantized_decomposed::mixed_linear.out""".split(),
)
def test_heavy_operators(operator: str) -> None:
    assert metric.is_heavy(operator)


@pytest.mark.parametrize(
    "operator",
    """ADD RESIZE_BILINEAR STRIDED_SLICE QUANTIZE SOFTMAX DequantizeLinear QuantizeLinear QLinearAdd QLinearSoftmax
    MaxPool Resize CastLike aten::upsample_bilinear2d.vec_out aten::mul.out aten::softmax.out Convert
    aten::sum.IntList_out aten::native_layer_norm.out quantized_decomposed::quantize_per_tensor.out""".split(),
)
def test_light_operators(operator: str) -> None:
    assert not metric.is_heavy(operator)
