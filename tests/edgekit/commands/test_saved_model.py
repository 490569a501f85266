"""TensorFlow models through the command line: files that hold the user's names, and messages that say what to type."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check, left

tf = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
import saved_models as models  # noqa: E402


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tensorflow")
    models.save_two(place / "two")
    models.save_unnamed(place / "unnamed")
    models.write_frozen(place / "first.pb")
    return place


def test_folder_to_both_targets(run: Run, saved: Path, here: Path) -> None:
    (here / "two").symlink_to(saved / "two")
    done = run("two", "--to", "tflite", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [item["path"] for item in report["artifacts"]] == ["out/two.float32.tflite", "out/two.float32.onnx"]
    for item in report["artifacts"]:
        assert item["verification"]["status"] == "passed"
        assert [spec["name"] for spec in item["signature"]["inputs"]] == ["zeta", "alpha"]
        assert [spec["name"] for spec in item["signature"]["outputs"]] == ["double", "sum"]
    assert any("--signature chooses another (lengths, train)" in note for note in report["notes"])


def test_frozen_graph_with_data_by_name(run: Run, saved: Path, here: Path) -> None:
    (here / "first.pb").symlink_to(saved / "first.pb")
    images = np.random.default_rng(0).standard_normal((6, 4, 4, 2)).astype(np.float32)
    np.savez(here / "data.npz", image=images)
    done = run("first.pb", "--data", "data.npz", "--output-name", "scores")
    assert done.code == 0, done.err
    assert left(Path("out")) == ["first.float32.onnx", "first.float32.onnx.json"]


def test_signatures_to_choose_from(run: Run, saved: Path, here: Path) -> None:
    (here / "unnamed").symlink_to(saved / "unnamed")
    check(run("unnamed"), 2, "several signatures", "predict: alpha: float32[?,3]", "--signature predict")
    check(run("unnamed", "--signature", "train"), 4, "changes its own state", "AssignAddVariableOp")


def test_wrong_requests(run: Run, saved: Path, here: Path) -> None:
    (here / "two").symlink_to(saved / "two")
    (here / "first.pb").symlink_to(saved / "first.pb")
    np.savez(here / "data.npz", image=np.zeros((6, 4, 5, 2), np.float32))
    check(run("two", "--input", "zeta=1,5"), 2, "--input zeta=1,5: two takes zeta: float32[?,4]", "--input zeta=1,4")
    check(run("first.pb", "--signature", "predict"), 2, "a frozen graph has no signatures", "--output-name")
    check(run("first.pb", "--data", "data.npz"), 2, "data.npz")
    check(run("two/saved_model.pb"), 2, "a part of a SavedModel", "Name the folder: two")


def test_code_and_damage(run: Run, saved: Path, here: Path) -> None:
    (here / "cut.pb").write_bytes((saved / "first.pb").read_bytes()[:400])
    check(run("cut.pb"), 5, "cut.pb: the file is truncated or damaged", "Copy or download it again")
    models.save_function(
        here / "reads",
        lambda x: {"y": x + tf.strings.to_number(tf.io.read_file("secret"))},
        tf.TensorSpec([2], name="x"),
    )
    check(run("reads"), 9, "ReadFile", "--trust")
