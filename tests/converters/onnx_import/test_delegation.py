"""Networks that came through ONNX are as good on their targets as those that did not: delegated, no operator more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("onnx", reason="needs the extra onnx")

TESTS = Path(__file__).parents[2]
sys.path.append(str(TESTS / "converters"))

HEAVY = ("convolution", "conv1d", "conv2d", "linear", "mm", "addmm", "bmm", "matmul")


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    """Those of the benchmark: random weights, BatchNorm with the statistics of its data."""
    path = TESTS.parent / "benchmarks" / "_onnx_networks.py"
    spec = importlib.util.spec_from_file_location("onnx_networks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported(path: Path, data: Any) -> Any:
    """An ONNX file as the importer's exported program; what has one output returns a tensor."""
    import onnx

    from converters.onnx_import.convert import example_inputs, flat_module, plan_of
    from converters.torch_export import program as programs

    names = [item.name for item in onnx.load(path).graph.output]
    plan = plan_of(path, {name: value[:1].shape for name, value in data.items()}, names)
    with torch.no_grad():
        module = flat_module(plan).module
        if len(names) == 1:
            (output,) = (node for node in module.graph.nodes if node.op == "output")
            output.args = output.args[0]
            module.recompile()
        return programs.export(module, example_inputs(plan))


def tflite_operators(exported: Any, folder: Path) -> dict[str, int]:
    """Of the float TFLite file that it becomes."""
    from converters.tflite.inspect import inspect
    from converters.tflite.lower import lower
    from converters.torch_export import program as programs
    from edgekit.types import to_json

    values = programs.leaves(exported.module(check_guards=False)(*exported.example_inputs[0]))
    flat = programs.flatten(exported, values)
    folder.mkdir()
    source, output = folder / "net.pt2", folder / "net.tflite"
    programs.save(programs.export(flat.module, programs.example_inputs(exported)), source)
    lower(str(source), str(output), "float32", to_json(flat.signature), None, {})
    found: dict[str, int] = inspect(str(output))["operators"]
    return found


def test_convolutions_and_products_stay_in_the_delegate(networks: ModuleType, tmp_path: Path) -> None:
    """Of a MobileNet whose hard-swish is written out, in float and in 8 bits."""
    pytest.importorskip("executorch", reason="needs the extra executorch")
    from pte_runs import case_of

    blocks = (16, 16, 1, False), (16, 32, 2, True)
    networks.NETWORKS["little"] = (lambda: networks.MobileNet(blocks), "image", (3, 32, 32))
    path, data = networks.to_onnx("little", tmp_path, dynamo=False)
    (samples,) = data.values()
    case = case_of(imported(path, data), samples[:8, None].copy(), tmp_path / "case")
    for scheme, least_db in (("float32", 100), ("int8", 20)):
        made = case.convert(scheme)
        outside = [item["operator"].split(".")[1] for item in made.result["undelegated"]]
        assert not set(outside) & set(HEAVY)
        weighted = made.weighted()
        assert len(weighted) == 11
        assert all(item.delegated for item in weighted)
        assert {item.weights for item in weighted} == {scheme}
        assert made.sqnr_db() >= least_db


def test_constants_that_share_memory(tmp_path: Path) -> None:
    """As tf2onnx writes the two biases of a GRU: cut from one tensor."""
    pytest.importorskip("executorch", reason="needs the extra executorch")
    import numpy as np
    import onnx
    from imported_models import model
    from onnx import helper
    from pte_runs import case_of

    nodes = [
        helper.make_node("Split", ["biases"], ["b1", "b2"], "split", axis=0),
        helper.make_node("Squeeze", ["b1", "axes"], ["first"], "one"),
        helper.make_node("Squeeze", ["b2", "axes"], ["second"], "two"),
        helper.make_node("Gemm", ["x", "w", "first"], ["h"], "in"),
        helper.make_node("Gemm", ["h", "w", "second"], ["y"], "out"),
    ]
    draw = np.random.default_rng(0).standard_normal
    constants = {"biases": draw((2, 8), np.float32), "w": draw((8, 8), np.float32), "axes": np.array([0])}
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, {"x": (1, 8)}, ["y"], constants), path)
    samples = draw((4, 1, 8), np.float32)
    made = case_of(imported(path, {"x": samples[0]}), samples, tmp_path / "case").convert("float32")
    assert made.sqnr_db() >= 110


def test_shapes_that_the_graph_computes_do_not_hinder_quantizing(networks: ModuleType, tmp_path: Path) -> None:
    """ONNX Runtime's symbolic shape inference fails on this file."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from converters.onnx._prepare import prepare

    path, data = networks.to_onnx("transformer", tmp_path, dynamo=False)
    prepared = prepare(str(path), str(tmp_path / "prepared.onnx"))
    sample = {name: value[:1] for name, value in data.items()}
    wanted, found = (onnxruntime.InferenceSession(item).run(None, sample)[0] for item in (str(path), prepared))
    assert abs(wanted - found).max() <= 1e-5 * abs(wanted).max()


@pytest.mark.parametrize(("name", "dynamo"), [("transformer", False), ("detector", True)])
def test_no_more_operators_than_without_onnx(networks: ModuleType, tmp_path: Path, name: str, dynamo: bool) -> None:
    pytest.importorskip("litert_torch", reason="needs the extra tflite")
    path, data = networks.to_onnx(name, tmp_path, dynamo)
    ours = tflite_operators(imported(path, data), tmp_path / "onnx")
    plain = tflite_operators(torch.export.load(networks.to_program(name, tmp_path)), tmp_path / "torch")
    assert sum(ours.values()) <= 1.02 * sum(plain.values()), (ours, plain)
