"""``edgekit drift``, as a user types it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgekit import registry
from edgekit.cli import State, cli
from edgekit.errors import EdgekitError
from edgekit.feeds import Array
from edgekit.types import Report, from_json
from profiles.verdicts import BANDS, Bands

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "examples" / "digits"
CLASSES, FEATURES, SAMPLES = 4, 6, 200


@dataclass(frozen=True)
class Said:
    """What a command printed."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Report:
        return from_json(Report, json.loads(self.out))

    @property
    def all(self) -> str:
        """In one line, so that folding does not matter."""
        return " ".join((self.out + self.err).split())


def run(*arguments: str | Path) -> Said:
    done = CliRunner().invoke(cli, ["drift", *map(str, arguments), "--quiet"], obj=State(), standalone_mode=False)
    if isinstance(done.exception, EdgekitError):
        return Said(done.exception.exit_code, done.stdout, f"{done.exception.message} {done.exception.hint}")
    if done.exception is not None:
        raise done.exception
    return Said(int(done.return_value), done.stdout, done.stderr)


def weights(seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal((FEATURES, CLASSES)).astype(np.float32) for name in ("scores", "features")}


def model(path: Path, matrices: Mapping[str, Array], *, root: bool = False) -> Path:
    """An ONNX file with one product for each output, and a square root behind it where asked for: NaN below 0."""
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    nodes, constants = [], []
    for name, matrix in matrices.items():
        constants.append(onnx.numpy_helper.from_array(matrix, f"{name}.weight"))
        nodes.append(helper.make_node("MatMul", ["x", f"{name}.weight"], [f"{name}.product" if root else name]))
        if root:
            nodes.append(helper.make_node("Sqrt", [f"{name}.product"], [name]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", float32, [1, FEATURES])],
        [helper.make_tensor_value_info(name, float32, [1, CLASSES]) for name in matrices],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return path


@pytest.fixture
def good(here: Path) -> Path:
    return model(here / "good.onnx", weights())


@pytest.fixture
def data(here: Path) -> Path:
    """Samples, with the labels that the good model gives them."""
    x = np.random.default_rng(1).standard_normal((SAMPLES, FEATURES)).astype(np.float32)
    path = here / "data.npz"
    np.savez(path, x=x, labels=(x @ weights()["scores"]).argmax(1))
    return path


def unlabelled(data: Path) -> Path:
    path = data.with_name("unlabelled.npz")
    np.savez(path, x=np.load(data)["x"])
    return path


def changed(here: Path, noise: float) -> Path:
    """The good model with noise on its weights."""
    other = weights(7)
    return model(here / "changed.onnx", {name: array + noise * other[name] for name, array in weights().items()})


def test_a_file_against_itself_is_equal(good: Path, data: Path) -> None:
    said = run(good, "--reference", good, "--data", data, "--json")
    assert said.code == 0
    (found,) = said.report.drifts
    assert found.verdict.status == "equal"
    assert found.scheme == "float32"
    assert [drift.output for drift in found.outputs] == ["scores", "features"]
    assert found.task is not None
    top1 = found.task.figures[0]
    assert (top1.metric, top1.value, top1.reference, top1.samples) == ("top1", 1.0, 1.0, SAMPLES)


def test_noise_is_told_with_the_samples_and_the_task(here: Path, good: Path, data: Path) -> None:
    file = changed(here, 0.3)
    found = run(file, "--reference", good, "--data", data, "--json").report.drifts[0]
    expected = np.load(data)["x"] @ (weights()["scores"] + 0.3 * weights(7)["scores"])
    labels = np.load(data)["labels"]
    error = expected - np.load(data)["x"] @ weights()["scores"]
    figures = {figure.metric: figure for figure in found.outputs[0].figures}
    assert figures["max_abs"].value == pytest.approx(np.abs(error).max(), rel=1e-4)
    assert figures["max_abs"].worst_sample == int(np.abs(error).max(1).argmax())
    assert figures["rmse"].value == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert found.task is not None
    assert found.task.figures[0].value == pytest.approx((expected.argmax(1) == labels).mean())
    assert found.task.flips is not None
    assert found.task.flips.broken_samples == tuple(np.flatnonzero(expected.argmax(1) != labels)[:100])
    assert found.verdict.status in ("degraded", "broken")


def test_the_verdict_comes_first_and_figures_fit_80_columns(
    here: Path, good: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = run(good, changed(here, 0.3), "--reference", good, "--data", data)
    lines = said.out.splitlines()
    assert lines[0] == "good.onnx (float32): EQUAL"
    assert "changed.onnx (float32): " in said.out
    tables = [line for line in lines if re.match(r"(figure|max abs|SQNR|top1|good\.onnx  |changed\.onnx  )", line)]
    assert len(tables) > 10
    assert max(map(len, tables)) <= 80
    assert "Data: 200 samples" in said.all
    assert "x: float32[1,6]" in said.all
    assert "labels: 4 classes" in said.all


def test_without_labels_noise_decides(here: Path, good: Path, data: Path) -> None:
    found = run(changed(here, 0.3), "--reference", good, "--data", unlabelled(data), "--json")
    (item,) = found.report.drifts
    assert item.task is None
    assert item.verdict.status == "broken"
    assert "SQNR" in item.verdict.reasons[0]
    assert found.code == 7


def test_degraded_is_loud_and_fails_when_strict(here: Path, good: Path, data: Path) -> None:
    file, rest = changed(here, 0.01), ("--reference", good, "--data", unlabelled(data))
    said = run(file, *rest)
    assert said.code == 0
    assert f"degraded: {file}" in said.err
    assert run(file, *rest, "--strict").code == 7


def test_bands_of_the_user(here: Path, good: Path, data: Path) -> None:
    bands = here / "bands.toml"
    bands.write_text("[all]\nbroken_db = 5\n[float32]\nacceptable_db = 30\n")
    rest = (changed(here, 0.01), "--reference", good, "--data", unlabelled(data), "--bands", bands)
    assert run(*rest, "--json").report.drifts[0].verdict.status == "acceptable"
    bands.write_text("[float32]\nacceptable = 30\n")
    said = run(*rest)
    assert said.code == 2
    assert "[float32] has no acceptable" in said.err
    assert "acceptable_db" in said.err


def test_random_inputs_are_said_everywhere_and_give_no_verdict(here: Path, good: Path) -> None:
    file = changed(here, 0.3)
    said = run(file, "--reference", good)
    assert said.code == 0
    assert said.out.startswith("Random inputs")
    assert "changed.onnx (float32): NO VERDICT" in said.out
    assert "RANDOM" in said.out.partition("Data:")[2]
    report = run(file, "--reference", good, "--json").report
    assert report.drifts[0].verdict.status == "none"
    assert report.data["random"] is True
    assert any(note.startswith("Random inputs") for note in report.notes)


def test_a_labels_file_of_another_length(here: Path, good: Path, data: Path) -> None:
    np.save(here / "labels.npy", np.zeros(SAMPLES - 1, np.int64))
    said = run(good, "--reference", good, "--data", unlabelled(data), "--labels", here / "labels.npy")
    assert said.code == 2
    assert "labels.npy" in said.err
    assert str(SAMPLES - 1) in said.err
    assert str(SAMPLES) in said.err


def test_labels_from_a_file_count_as_those_in_the_data_do(here: Path, good: Path, data: Path) -> None:
    np.save(here / "labels.npy", np.load(data)["labels"])
    rest = ("--reference", good, "--json", "--data")
    given = run(changed(here, 0.3), *rest, unlabelled(data), "--labels", here / "labels.npy").report
    inside = run(changed(here, 0.3), *rest, data).report
    assert given.drifts[0].task == inside.drifts[0].task
    assert given.data["classes"] == inside.data["classes"]


def test_labels_outside_the_classes(here: Path, good: Path, data: Path) -> None:
    np.savez(here / "beyond.npz", x=np.load(data)["x"], labels=np.load(data)["labels"] + 9)
    rest = (good, "--reference", good, "--data", here / "beyond.npz", "--judge-as", "classification")
    assert re.search(r"labels go from 9 to 12.*4 classes", run(*rest).all)
    task = run(*rest, "--json").report.drifts[0].task
    assert task is not None
    assert task.figures[0].value is None
    assert task.figures[0].unavailable


def test_outputs_that_are_not_finite(here: Path, good: Path, data: Path) -> None:
    said = run(model(here / "nan.onnx", weights(), root=True), "--reference", good, "--data", data)
    assert said.code == 7
    assert "nan.onnx (float32): BROKEN" in said.out
    assert re.search(r"'scores': \d+ of \d+ values are not finite", said.all)


def test_an_output_that_is_constant(here: Path, good: Path, data: Path) -> None:
    dead = weights() | {"features": np.zeros((FEATURES, CLASSES), np.float32)}
    said = run(model(here / "dead.onnx", dead), "--reference", good, "--data", data)
    assert said.code == 7
    assert re.search(r"Output 'features': .*(constant|same)", said.all)


def test_outputs_that_are_swapped(here: Path, good: Path, data: Path) -> None:
    own = weights()
    swapped = {"scores": own["features"], "features": own["scores"]}
    said = run(model(here / "swapped.onnx", swapped), "--reference", good, "--data", data)
    assert said.code == 7
    assert re.search(r"'scores' and 'features' look swapped", said.all)


def test_a_file_that_fails_costs_its_row_alone(here: Path, good: Path, data: Path) -> None:
    (here / "cut.onnx").write_bytes(good.read_bytes()[:-40])
    other = model(here / "other.onnx", {**weights(), "third": weights()["scores"]})
    one = model(here / "one.onnx", {"unknown": weights()["scores"]})
    said = run(here / "cut.onnx", good, one, other, "--reference", good, "--data", data, "--json")
    assert [Path(item.path).name for item in said.report.drifts] == ["good.onnx", "other.onnx"]
    failed = {Path(item.what).name: item for item in said.report.failures}
    assert set(failed) == {"cut.onnx", "one.onnx"}
    assert "cannot be compared with the reference" in failed["one.onnx"].message
    assert said.code == said.report.failures[0].exit_code != 0


def test_outputs_of_other_names_are_paired_by_their_place(here: Path, good: Path, data: Path) -> None:
    own = weights()
    file = model(here / "renamed.onnx", {"a": own["scores"], "b": own["features"]})
    found = run(file, "--reference", good, "--data", data, "--json").report.drifts[0]
    assert [drift.output for drift in found.outputs] == ["scores", "features"]
    assert found.verdict.status == "equal"


def test_a_reference_that_proves_nothing(here: Path, data: Path) -> None:
    constant = model(here / "constant.onnx", {"y": np.zeros((FEATURES, CLASSES), np.float32)})
    said = run(constant, "--reference", constant, "--data", unlabelled(data), "--json").report
    assert said.drifts[0].verdict.status == "none"
    assert "prove nothing" in said.drifts[0].verdict.reasons[0]


def test_a_function_of_the_users(here: Path, good: Path, data: Path) -> None:
    code = "def largest(outputs, labels):\n    return outputs['scores'].max(axis=(1, 2))\n"
    (here / "mine.py").write_text(code)
    report = run(good, "--reference", good, "--data", data, "--metric", "mine.py:largest", "--json").report
    task = report.drifts[0].task
    assert task is not None
    expected = (np.load(data)["x"] @ weights()["scores"]).max(1).mean()
    assert task.figures[0].metric == "largest"
    assert task.figures[0].value == pytest.approx(expected, rel=1e-4)
    assert run(good, "--reference", good, "--data", data, "--metric", "none.py:largest").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--judge-as", "guessing"), "there is no such task"),
        (("--decode", "scores"), "expected KEY=VALUE"),
        (("--decode", "a=1", "--decode", "a=2"), "given twice"),
        (("--decode", "colour=red"), "no such setting"),
        (("--bands", "missing.toml"), "missing.toml"),
        (("--plot", "no/such/folder.svg"), "there is no such folder"),
    ],
)
def test_requests_that_mean_nothing(good: Path, data: Path, arguments: tuple[str, ...], message: str) -> None:
    said = run(good, "--reference", good, "--data", data, *arguments)
    assert said.code == 2
    assert message in said.err


@pytest.mark.parametrize("arguments", [("--judge-as", "classification"), ("--decode", "scores=logits")])
def test_tasks_need_labels(good: Path, data: Path, arguments: tuple[str, ...]) -> None:
    said = run(good, "--reference", good, "--data", unlabelled(data), *arguments)
    assert said.code == 2
    assert "--labels" in said.err


def test_digits_tell_conversion_and_quantization_apart(here: Path, tmp_path: Path) -> None:
    """A real network: its own framework as the reference, kept for the second command."""
    for package in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extras torch and onnx")
    code = ("--model", f"{DIGITS / 'model.py'}:Digits")
    made = tmp_path / "made"
    convert = ["convert", DIGITS / "digits.pt", *code, "--to", "onnx", "--int8", "--data", DIGITS / "calibration.npz"]
    for more in (convert, [item for item in convert if item != "--int8"]):
        done = CliRunner().invoke(
            cli, [*map(str, more), "--output", str(made), "--quiet"], obj=State(), standalone_mode=False
        )
        assert done.exit_code == 0, done.output
    files = [made / "digits.float32.onnx", made / "digits.int8.onnx"]
    arguments: tuple[str | Path, ...] = (
        *files,
        "--reference",
        DIGITS / "digits.pt",
        *code,
        "--data",
        DIGITS / "test.npz",
        "--json",
    )
    first, second = run(*arguments).report, run(*arguments).report
    made_float, quantized = first.drifts
    assert made_float.verdict.status == "equal"
    assert quantized.verdict.status == "acceptable"
    assert quantized.float_file == str(files[0])
    assert quantized.conversion[0].sqnr_db == made_float.outputs[0].sqnr_db
    assert quantized.quantization[0].sqnr_db == pytest.approx(quantized.outputs[0].sqnr_db or 0.0, abs=0.1)
    assert quantized.task is not None
    assert quantized.task.figures[0].reference is not None
    assert not any("--fresh" in note for note in first.notes)
    assert any("--fresh" in note for note in second.notes)
    assert second.drifts == first.drifts


def test_the_page_has_the_bands_that_decide() -> None:
    text = (ROOT / "docs" / "drift.md").read_text()
    header, rows = re.search(r"^\| Scheme \| (.*) \|\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert [name.strip("`") for name in header.split(" | ")] == [field.name for field in fields(Bands)]
    shown: dict[str, Any] = {}
    for row in rows.strip().splitlines():
        scheme, *numbers = row.strip("| ").split(" | ")
        shown[scheme.strip("`")] = tuple(map(float, numbers))
    assert shown == {scheme: astuple(bands) for scheme, bands in BANDS.items()}
    assert set(BANDS) == set(registry.schemes())


def test_the_page_has_every_task() -> None:
    text = (ROOT / "docs" / "drift.md").read_text().partition("\n## Tasks")[2].partition("\n## ")[0]
    assert set(registry.tasks()) <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
