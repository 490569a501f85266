"""Real conversions to every target in every scheme: numbers, names, notes, sidecars."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.convert import ConvertOptions, convert
from edgekit.options import SourceOptions
from edgekit.types import Artifact, Report

torch = pytest.importorskip("torch", reason="needs the extra torch")
for package, extra in (("litert_torch", "tflite"), ("onnxruntime", "onnx"), ("executorch", "executorch")):
    pytest.importorskip(package, reason=f"needs the extra {extra}")

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
import shapes  # noqa: E402 - found through the line above

TARGETS = ("tflite", "onnx", "executorch")
SCHEMES = ("float32", "float16", "int8", "int8-dynamic")
LEAST_SQNR_DB = {"float32": 100.0, "float16": 50.0, "int8": 25.0, "int8-dynamic": 25.0}


def export(network: torch.nn.Module, args: tuple[object, ...], path: Path, **kwargs: object) -> Path:
    torch.export.save(torch.export.export(network, args, kwargs), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    """One command: three targets, four schemes."""
    inputs = (torch.randn(1, 3, 12, 12), torch.randn(1, 4))
    network = shapes.settled(shapes.TwoInTwoOut(), *inputs)
    model = export(network, inputs, folder / "two.pt2")
    generator = np.random.default_rng(3)
    np.savez(
        folder / "data.npz",
        facts=generator.standard_normal((64, 4), np.float32),
        picture=generator.standard_normal((64, 3, 12, 12), np.float32),
    )
    options = ConvertOptions(quant=SCHEMES, data=str(folder / "data.npz"), output=folder / "out")
    return convert(model, TARGETS, options)


def artifact(report: Report, target: str, scheme: str) -> Artifact:
    (found,) = (item for item in report.artifacts if (item.target, item.scheme) == (target, scheme))
    return found


def test_everything_was_made(report: Report) -> None:
    assert [failure.message for failure in report.failures] == []
    assert len(report.artifacts) == len(TARGETS) * len(SCHEMES)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_accuracy_names_and_sidecar(report: Report, target: str, scheme: str) -> None:
    made = artifact(report, target, scheme)
    assert made.verification.status == "passed"
    assert {drift.output for drift in made.verification.outputs} == {"scores", "features"}
    assert min(drift.sqnr_db or 999.0 for drift in made.verification.outputs) >= LEAST_SQNR_DB[scheme]
    assert [spec.name for spec in made.signature.inputs] == ["picture", "facts"]
    assert {spec.name for spec in made.signature.outputs} == {"scores", "features"}
    assert {spec.dtype for spec in (*made.signature.inputs, *made.signature.outputs)} == {"float32"}
    sidecar = json.loads(Path(made.path + ".json").read_text())
    assert sidecar["artifact"]["sha256"] == made.sha256
    assert shlex.split(made.command)[:2] == ["edgekit", "convert"]
    assert not any(str(Path.home()) in value for value in made.tools.values())


def test_float16_is_smaller(report: Report) -> None:
    for target in TARGETS:
        assert artifact(report, target, "float16").size_bytes < artifact(report, target, "float32").size_bytes, target


def test_what_stayed_float_is_listed(report: Report) -> None:
    dynamic = artifact(report, "onnx", "int8-dynamic")
    assert "Conv" in {item.operator for item in dynamic.stayed_float}
    assert "conv" in {item.name for item in dynamic.stayed_float}


def test_onnx_carries_no_path_of_this_machine(report: Report) -> None:
    content = Path(artifact(report, "onnx", "float32").path).read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parent).encode() not in content


def test_batch_norm_went_where_it_belongs(report: Report) -> None:
    assert "2 BatchNorm folded into the layer before, 1 written as multiply and add." in report.notes


def test_nothing_half_written_is_left(report: Report, folder: Path) -> None:
    assert not [file.name for file in (folder / "out").iterdir() if "partial" in file.name]
    quantized = [item for item in report.artifacts if item.scheme.startswith("int")]
    assert len(list((folder / "out").iterdir())) == 2 * len(report.artifacts) + len(quantized)


def test_sequential_with_batch_norm_reaches_executorch(folder: Path) -> None:
    """Acceptance 3: the names ``0.weight``, ``1.weight`` stop ExecuTorch's own path."""
    example = torch.randn(1, 3, 10, 10)
    model = export(shapes.settled(shapes.sequential(), example), (example,), folder / "sequential.pt2")
    report = convert(model, ["executorch"], ConvertOptions(output=folder / "sequential"))
    assert report.failures == ()
    assert report.artifacts[0].verification.outputs[0].sqnr_db > 100
    assert report.artifacts[0].undelegated == ()


@pytest.mark.parametrize(
    ("network", "args", "kwargs", "inputs", "outputs"),
    [
        (shapes.Tuple(), (torch.randn(1, 4),), {}, ["x"], ["output_0", "output_1"]),
        (
            shapes.Nested(), ([torch.randn(1, 4), torch.randn(1, 4)],), {"scale": torch.randn(1, 4)},
            ["pair_0", "pair_1", "scale"], ["output"],
        ),
        (shapes.Tokens(), (torch.randint(0, 50, (1, 7)),), {}, ["ids"], ["output"]),
    ],
    ids=["tuple", "nested", "tokens"],
)  # fmt: skip
def test_signatures(
    folder: Path,
    network: torch.nn.Module,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    inputs: list[str],
    outputs: list[str],
) -> None:
    name = type(network).__name__
    model = export(network.eval(), args, folder / f"{name}.pt2", **kwargs)
    report = convert(model, TARGETS, ConvertOptions(output=folder / name))
    assert [failure.message for failure in report.failures] == []
    for made in report.artifacts:
        assert [spec.name for spec in made.signature.inputs] == inputs, made.path
        assert sorted(spec.name for spec in made.signature.outputs) == sorted(outputs), made.path
        assert min(drift.sqnr_db or 999.0 for drift in made.verification.outputs) > 100, made.path


def test_int8_without_data_is_dynamic_and_said(folder: Path) -> None:
    said: list[str] = []

    class Ear:
        def start(self, label: str) -> None: ...
        def advance(self, label: str, done: int, total: int, unit: str = "") -> None: ...
        def end(self, label: str) -> None: ...
        def say(self, text: str) -> None:
            said.append(text)

    model = export(shapes.Tuple().eval(), (torch.randn(1, 4),), folder / "plain.pt2")
    options = ConvertOptions(quant=("int8",), output=folder / "plain", source=SourceOptions())
    report = convert(model, ["tflite", "onnx"], options, Ear())
    assert [Path(item.path).name for item in report.artifacts] == [
        "plain.int8-dynamic.tflite",
        "plain.int8-dynamic.onnx",
    ]
    assert {item.scheme for item in report.artifacts} == {"int8-dynamic"}
    assert len(said) == 1
    assert "int8-dynamic" in said[0]
    assert "--data FILE" in said[0]


def test_int8_tflite_with_buffers_outside_the_flatbuffer(folder: Path) -> None:
    """LiteRT's quantizer writes larger files that way; their borders are made float all the same."""
    network = torch.nn.Sequential(torch.nn.Linear(600, 600), torch.nn.ReLU(), torch.nn.Linear(600, 10)).eval()
    model = export(network, (torch.randn(1, 600),), folder / "large.pt2")
    options = ConvertOptions(quant=("int8",), data="random", output=folder / "large")
    (made,) = convert(model, ["tflite"], options).artifacts
    assert made.verification.outputs[0].sqnr_db > 25
    from ai_edge_litert import schema_py_generated as schema

    content = Path(made.path).read_bytes()
    buffers = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).buffers
    outside = [buffer for buffer in buffers if buffer.offset > 1]
    assert outside, "this network is meant to be large enough"
    assert all(buffer.offset % 16 == 0 and buffer.offset + buffer.size <= len(content) for buffer in outside)


def test_classes_and_flags_among_the_outputs(folder: Path) -> None:
    """LiteRT's quantizer leaves the signature at a tensor that is not kept; a constant flag is no dead output."""
    model = export(shapes.Decided().eval(), (torch.randn(1, 6),), folder / "decided.pt2")
    np.savez(folder / "decided.npz", x=np.random.default_rng(1).standard_normal((100, 6), np.float32))
    options = ConvertOptions(quant=("float32", "int8"), data=str(folder / "decided.npz"), output=folder / "decided")
    report = convert(model, ["tflite", "onnx"], options)
    assert [failure.message for failure in report.failures] == []
    for made in report.artifacts:
        drifts = {drift.output: drift for drift in made.verification.outputs}
        assert drifts["label"].top1_agreement >= 0.9, made.path
        assert drifts["sure"].top1_agreement == 1, made.path
