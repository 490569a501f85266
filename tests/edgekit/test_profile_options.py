from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekit.asides import too_little_delegated
from edgekit.cli import State, cli
from edgekit.errors import UsageError
from edgekit.measuring import Measuring
from edgekit.profile import profile
from edgekit.subjects import File, Subject
from edgekit.types import Failure, Measurement, Profile
from profiles.turns import throttled

MODELS = Path(__file__).parents[1] / "profiles" / "models"
pytestmark = pytest.mark.usefixtures("own_scratch")


def typed(*arguments: object) -> Result:
    state = State(json="--json" in arguments)
    return CliRunner().invoke(cli, ["profile", *map(str, arguments), "--quiet"], obj=state, standalone_mode=False)


def figures(item: Profile) -> Mapping[str, Measurement]:
    return {one.metric: one for one in item.measurements}


def test_everything_that_can_be_asked_for() -> None:
    files = [MODELS / name for name in ("tiny.tflite", "tiny.onnx", "tiny.pte")]
    report = profile(files, measuring=Measuring(budget_s=0.4, cold=2, operators=True, affinity=(0,)))
    assert not report.failures
    assert [one.affinity for one in report.devices[0].conditions] == [(0,), (0,)]
    assert report.devices[0].conditions[0].time_s < report.devices[0].conditions[1].time_s
    assert report.devices[0].fingerprint["affinity"] == "0"
    for item in report.profiles:
        found = figures(item)
        for name in ("macs", "achieved_gflops", "peak_gflops", "arena_bytes", "cold_load_ns", "delegated_nodes_ratio"):
            assert (found[name].value or 0) > 0, (item.path, name, found[name].unavailable)
        assert found["cold_import_ns"].samples == 2
        assert item.operators
        assert sum(one.share for one in item.operators) == pytest.approx(1, abs=1e-6) or not any(
            one.time_ns
            for one in item.operators  # all below the profiler's microsecond
        )


def test_a_quick_answer_says_what_it_leaves_out() -> None:
    result = typed(MODELS / "tiny.onnx", "--quick", "--json")
    assert result.return_value == 0
    (item,) = json.loads(result.stdout)["profiles"]
    found = {one["metric"]: one for one in item["measurements"]}
    assert found["latency_p50_ns"]["value"] > 0
    assert found["arena_bytes"]["unavailable"] == "not asked for with --quick"
    assert found["peak_gflops"]["unavailable"]
    assert found["cold_load_ns"]["unavailable"] == "not asked for (--cold)"
    assert item["operators"] == []


def test_tables_of_what_was_asked_for() -> None:
    shown = typed(MODELS / "tiny.tflite", MODELS / "tiny.pte", "--budget", "0.4", "--ops", "--cold")
    assert shown.exit_code == 0, shown.output
    for text in ("work", "GFLOP/s", "fresh processes", "after idle", "operators of tiny.tflite", "XNNPACK"):
        assert text in shown.stdout, text


def test_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    result = typed(MODELS / "tiny.onnx", "--budget", "0.3", "--trace", path, "--json")
    (item,) = json.loads(result.stdout)["profiles"]
    events = json.loads(path.read_text())["traceEvents"]
    assert "tiny.onnx, ONNX Runtime" in events[0]["args"]["name"]
    rows = [event for event in events if event["ph"] == "X"]
    assert [event["name"] for event in rows] == [one["operator"] for one in item["operators"]]
    assert sum(event["dur"] for event in rows) == pytest.approx(sum(one["time_ns"] for one in item["operators"]) / 1e3)
    for before, after in itertools.pairwise(rows):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"])
    missing = typed(MODELS / "tiny.onnx", "--trace", tmp_path / "none" / "trace.json")
    assert "no such folder" in str(missing.exception)


def test_enough_is_delegated() -> None:
    assert typed(MODELS / "tiny.pte", "--budget", "0.3", "--require-delegated", "0.95").return_value == 0


def test_too_little_is_delegated() -> None:
    one = Subject(File(Path("m.pte"), facts={"work": []}), 1, 0)
    outside = [{"operator": "aten::convolution.out", "name": "head", "node": "1"}]
    one.raw["operators"] = {"nodes": 4, "undelegated": outside, "operators": [], "run_ns": [], "unavailable": ""}

    def said(macs: float | None, nodes: float | None) -> Failure | None:
        shares = [
            Measurement(f"delegated_{name}_ratio", value, "ratio", True, unavailable="" if value else "it is not known")
            for name, value in (("macs", macs), ("nodes", nodes))
        ]
        return too_little_delegated(one, shares, 0.95)

    assert said(0.95, 0.5) is None
    failure = said(0.4, 1.0)
    assert failure is not None
    assert failure.exit_code == 6
    assert failure.message == "m.pte: 40.0% of its multiply-accumulates are delegated, 95.0% are required."
    assert failure.hint == "Outside the delegate: aten::convolution.out head."
    by_nodes, unknown = said(None, 0.5), said(None, None)
    assert by_nodes is not None and "50.0% of its operators" in by_nodes.message
    assert unknown is not None and "not known: it is not known" in unknown.message


def test_cpus_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="CPU 4096 cannot be used here"):
        profile([MODELS / "tiny.onnx"], measuring=Measuring(budget_s=0.3, affinity=(4096,)))


def test_sizes_that_a_file_leaves_open_are_counted_as_run(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    weights = numpy_helper.from_array(np.ones((16, 4), np.float32), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "length", 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "length", 4])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, outputs, [weights])
    path = tmp_path / "open.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    for length in (8, 32):
        result = typed(path, "--quick", "--json", "--input", f"x=1,{length},16")
        (item,) = json.loads(result.stdout)["profiles"]
        found = {one["metric"]: one for one in item["measurements"]}
        assert found["macs"]["value"] == length * 16 * 4
        assert found["achieved_gflops"]["value"] > 0, found["achieved_gflops"]["unavailable"]


def test_a_processor_that_slows_down() -> None:
    assert throttled([100.0] * 20) == 0
    assert throttled([100.0] * 15 + [120.0] * 5) == pytest.approx(0.25)
    assert throttled([None, None]) == 0
    assert throttled([100.0, None, 105.0]) == 0
