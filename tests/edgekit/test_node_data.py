from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgekit.cli import State, cli
from edgekit.report.node_data import NodeData, node_data
from edgekit.subjects import File
from edgekit.types import Measurement, NodeWork, OperatorTime, Profile, from_json, to_json

MODELS = Path(__file__).parents[1] / "profiles" / "models"
NETWORKS = Path(__file__).parents[1] / "models"
CONV = NodeWork("Conv", "conv", 1000, 40, 600, ("g", "conv"))
TOP = NodeWork("TopK", "top", None, 0, None, ("g", "top"))
INNER = NodeWork("Add", "inner", 0, 8, 0)


def profile_of(
    path: str = "some/model.onnx",
    work: tuple[NodeWork, ...] = (CONV, TOP, INNER),
    times: Mapping[str, float] | None = None,
    threads: int = 1,
    measurements: tuple[Measurement, ...] = (),
) -> Profile:
    given = times or {}
    total = sum(given.values())
    rows = tuple(OperatorTime("op", "", "", ns, ns / total, 1, node) for node, ns in given.items())
    return Profile(path, "onnx", "", "", "", threads, measurements, operators=rows, work=work)


def by_name(*profiles: Profile) -> dict[str, NodeData]:
    return {one.name: one for one in node_data(profiles)}


def results(one: NodeData, graph: str = "g") -> dict[str, float]:
    assert one.content is not None
    return {node: result["value"] for node, result in one.content[graph]["results"].items()}


def test_a_file_for_each_figure() -> None:
    found = by_name(profile_of(times={"conv": 3000.0, "top": 1000.0}))
    assert list(found) == [
        f"model.onnx.{figure}.json" for figure in ("time_us", "macs", "weights_bytes", "moved_bytes")
    ]
    assert results(found["model.onnx.time_us.json"]) == {"conv": 3.0, "top": 1.0}
    assert results(found["model.onnx.macs.json"]) == {"conv": 1000}
    assert results(found["model.onnx.weights_bytes.json"]) == {"conv": 40, "top": 0}
    assert results(found["model.onnx.moved_bytes.json"]) == {"conv": 600}
    for one in found.values():
        assert one.content is not None
        assert [set(stop) for stop in one.content["g"]["gradient"]] == [{"stop", "bgColor"}] * 2
        assert [stop["stop"] for stop in one.content["g"]["gradient"]] == [0, 1]


def test_what_is_left_out_is_said() -> None:
    found = by_name(profile_of(times={"conv": 600.0, "invented": 300.0, "inner": 100.0}))
    assert found["model.onnx.macs.json"].note == "2 of 3 operators are not in it"
    assert found["model.onnx.weights_bytes.json"].note == "1 of 3 operators are not in it"
    assert found["model.onnx.time_us.json"].note == "40.0% of the time belongs to no node of the file"
    assert by_name(profile_of(work=(CONV,), times={"conv": 1.0}))["model.onnx.time_us.json"].note == ""


def test_times_that_cannot_be_told() -> None:
    name = "model.onnx.time_us.json"
    elsewhere = by_name(profile_of(times={"invented": 5.0}))[name]
    assert elsewhere.content is None
    assert "no time of it belongs to one node" in elsewhere.note
    assert by_name(profile_of())[name] == NodeData(name, None, "operators were not timed (--ops)")
    crashed = Measurement("operators_time_ratio", None, "ratio", None, unavailable="the profiler crashed")
    assert by_name(profile_of(measurements=(crashed,)))[name] == NodeData(name, None, "the profiler crashed")


def test_a_name_that_two_operators_share_gets_no_time() -> None:
    twice = NodeWork("Add", "conv", 0, 0, 0)
    found = by_name(profile_of(work=(CONV, TOP, twice), times={"conv": 5.0, "top": 5.0}))
    assert results(found["model.onnx.time_us.json"]) == {"top": 0.005}


def test_several_graphs_are_in_one_file() -> None:
    rows = tuple(NodeWork("ADD", f"{graph}:0", graph, 0, 0, (f"g{graph}", "0")) for graph in (0, 1))
    macs = by_name(profile_of("m.tflite", rows))["m.tflite.macs.json"]
    assert [results(macs, graph) for graph in ("g0", "g1")] == [{"0": 0}, {"0": 1}]


def test_files_without_a_node_are_named_once() -> None:
    unshown, unread = by_name(profile_of("a.pte", (INNER,)), profile_of("b.onnx", ())).values()
    assert (unshown.name, unshown.content) == ("a.pte", None)
    assert "Model Explorer shows none" in unshown.note
    assert (unread.name, unread.content, unread.note) == ("b.onnx", None, "its operators could not be read")


def test_no_file_overwrites_another() -> None:
    sweep = node_data([profile_of(threads=1), profile_of(threads=2)])
    assert {one.name.partition(".macs")[0] for one in sweep if ".macs" in one.name} == {
        "model.onnx.threads1",
        "model.onnx.threads2",
    }
    names = [one.name for one in node_data([profile_of("a/model.onnx"), profile_of("b/model.onnx")])]
    assert len(set(names)) == len(names) == 8


def test_the_operators_of_a_file_come_from_inspect() -> None:
    row = {"operator": "Conv", "node": "conv", "macs": 1000, "weights_bytes": 40, "moved_bytes": 600}
    facts = {"work": [{**row, "explorer": ["g", "conv"]}, {**row, "explorer": None}]}  # as JSON has it
    shown, other = File(Path("m.onnx"), facts=facts).work
    assert shown == CONV
    assert other.explorer is None
    assert File(Path("m.onnx"), facts={"unavailable": "it is damaged"}).work == ()


def test_json_both_ways() -> None:
    item = profile_of(times={"conv": 1.0})
    plain = json.loads(json.dumps(to_json(item)))
    assert plain["work"][0]["explorer"] == ["g", "conv"]
    assert from_json(Profile, plain) == item
    del plain["work"]  # of a run that was saved before there was such a thing
    assert from_json(Profile, plain).work == ()


def typed(*arguments: object) -> Result:
    state = State(json="--json" in arguments)
    return CliRunner().invoke(cli, [*map(str, arguments), "--quiet"], obj=state, standalone_mode=False)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.usefixtures("own_scratch")
def test_the_option(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")
    pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    pytest.importorskip("executorch", reason="needs the executorch extra")
    folder = tmp_path / "figures"
    files = (NETWORKS / "work_transformer_int8.onnx", MODELS / "tiny.tflite", MODELS / "tiny.pte")
    result = typed("profile", *files, "--quick", "--node-data", folder, "--json")
    assert result.return_value == 0, result.output
    assert "node data: tiny.pte is not written: Model Explorer" in result.stderr
    assert not list(folder.glob("*.pte.*")) + list(folder.glob(".*"))

    onnx, tflite, _ = json.loads(result.stdout)["profiles"]
    assert read(folder / "tiny.tflite.macs.json")["main"]["results"] == {
        str(index): {"value": row["macs"]} for index, row in enumerate(tflite["work"])
    }
    # All of it runs inside XNNPACK, whose kernels are no nodes of the file.
    assert all(one["delegate"] for one in tflite["operators"])
    assert not (folder / "tiny.tflite.time_us.json").exists()
    assert "node data: tiny.tflite.time_us.json is not written: no time of it" in result.stderr

    times = read(folder / "work_transformer_int8.onnx.time_us.json")["main_graph"]["results"]
    names = {row["node"] for row in onnx["work"]}
    own = {one["node"]: one["time_ns"] / 1e3 for one in onnx["operators"] if one["node"] in names}
    assert len(own) > 20
    assert {node: result["value"] for node, result in times.items()} == pytest.approx(own)

    saved = tmp_path / "run.json"
    saved.write_text(result.stdout)
    again = typed("compare", saved, saved, "--node-data", tmp_path / "again")
    assert again.return_value == 0, again.output
    assert read(tmp_path / "again" / "tiny.tflite.macs.json") == read(folder / "tiny.tflite.macs.json")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    missing = typed("profile", MODELS / "tiny.tflite", "--node-data", tmp_path / "none" / "figures")
    assert "--node-data" in str(missing.exception)
    assert "no such folder" in str(missing.exception)
