"""Quantized files through the whole command, on ONNX, whose steps are quick."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check, left

CODE = """\
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)
            self.norm = nn.BatchNorm2d(8)
            self.head = nn.Conv2d(8, 6, 1)

        def forward(self, image):
            return self.head(torch.relu(self.norm(self.stem(image)))).mean((2, 3))


    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2)
            self.boxes = nn.Conv2d(8, 4, 1)
            self.scores = nn.Conv2d(8, 6, 1)

        def forward(self, image):
            x = torch.relu(self.stem(image))
            boxes = torch.sigmoid(self.boxes(x)).flatten(2) * 640
            return torch.cat([boxes, torch.sigmoid(self.scores(x)).flatten(2)], 1)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two programs and data for them: a network whose BatchNorm knows pictures of 0 to 1, and a detector."""
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    folder = tmp_path_factory.mktemp("quantization")
    (folder / "code_to_quantize.py").write_text(textwrap.dedent(CODE))
    sys.path.insert(0, str(folder))
    import code_to_quantize as code

    sys.path.remove(str(folder))
    torch.manual_seed(7)
    pictures = torch.rand(64, 3, 10, 10)
    network = code.Net()
    for _ in range(60):
        network(pictures)
    for name, module in (("trained", network), ("detector", code.Detector())):
        torch.export.save(torch.export.export(module.eval(), (pictures[:1],)), folder / f"{name}.pt2")
    images = pictures.numpy()
    np.savez(folder / "data.npz", image=images)
    np.savez(folder / "pixels.npz", image=(images * 255).round())
    images = images.copy()
    images[3] *= 1e4
    np.savez(folder / "outlier.npz", image=images)
    return folder


@pytest.fixture(autouse=True)
def linked(models: Path, here: Path) -> None:
    for file in models.glob("*.[np][pt][z2]"):
        (here / file.name).symlink_to(file)


def sidecar(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path("out", f"{name}.json").read_text())["artifact"]
    return found


def test_ranges_are_kept_and_used_again(run: Run) -> None:
    done = run("trained.pt2", "--int8", "--data", "data.npz", "--json")
    assert done.code == 0, done.err
    (artifact,) = json.loads(done.out)["artifacts"]
    first = artifact["calibration"]
    assert (first["samples"], first["method"], first["reused"]) == (52, "auto", False)
    assert artifact["verification"]["inputs"] == "12 held-out samples of 64 samples of data.npz"
    done = run("trained.pt2", "--int8", "--data", "data.npz", "--calibration-method", "minmax", "--force", "--json")
    again = json.loads(done.out)["artifacts"][0]["calibration"]
    assert (again["ranges"], again["method"], again["reused"]) == (first["ranges"], "minmax", True)
    done = run("trained.pt2", "--int8", "--data", "data.npz", "--calibration-samples", "20", "--force", "--json")
    fewer = json.loads(done.out)["artifacts"][0]["calibration"]
    assert (fewer["samples"], fewer["reused"]) == (20, False)


def test_a_recipe_makes_the_same_file_again(run: Run) -> None:
    done = run("trained.pt2", "--int8", "--data", "data.npz", "--exclude", "head", "--cpu", "arm")
    assert done.code == 0, done.err
    made = sidecar("trained.int8.onnx")
    assert [item["name"] for item in made["stayed_float"] if item["operator"] == "Conv"] == ["head"]
    done = run("trained.pt2", "--recipe", "out/trained.int8.onnx.recipe.toml", "--data", "data.npz", output="again")
    assert done.code == 0, done.err
    assert Path("again/trained.int8.onnx").read_bytes() == Path("out/trained.int8.onnx").read_bytes()


def test_what_is_typed_stands_over_a_recipe(run: Run) -> None:
    Path("recipe.toml").write_text('scheme = "int8"\nio = "int8"\ncpu = "arm"\ncalibration = "mse"\n')
    arguments = ("--recipe", "recipe.toml", "--data", "data.npz", "--io", "float", "--calibration-method", "auto")
    done = run("trained.pt2", *arguments)
    assert done.code == 0, done.err
    made = sidecar("trained.int8.onnx")
    assert made["signature"]["inputs"][0]["dtype"] == "float32"
    written = Path("out/trained.int8.onnx.recipe.toml").read_text()
    assert 'cpu = "arm"' in written and 'io = "float"' in written and 'calibration = "auto"' in written


def test_the_recorded_command_makes_the_same_file_again(run: Run) -> None:
    done = run("trained.pt2", "--int8", "--data", "data.npz", "--exclude", "@last", "--io", "float")
    assert done.code == 0, done.err
    before = Path("out/trained.int8.onnx").read_bytes()
    words = shlex.split(str(sidecar("trained.int8.onnx")["command"]))
    place = words.index("--to")
    done = run(*words[2:place], *words[place + 2 : -3], "--force", output=words[-2])
    assert done.code == 0, done.err
    assert Path("out/trained.int8.onnx").read_bytes() == before


def test_integer_borders_are_verified_with_floats(run: Run) -> None:
    done = run("trained.pt2", "--int8", "--data", "data.npz", "--io", "int8", "--cpu", "arm")
    assert done.code == 0, done.err
    made = sidecar("trained.int8.onnx")
    assert made["signature"]["inputs"][0]["dtype"] == "int8"
    assert made["signature"]["inputs"][0]["scale"] > 0
    assert made["verification"]["outputs"][0]["sqnr_db"] > 25


def test_data_that_the_model_was_not_trained_on(run: Run) -> None:
    done = run("trained.pt2", "--int8", "--data", "pixels.npz")
    check(done, 7, "255", "BatchNorm", "norm", "--no-verify")
    assert run("trained.pt2", "--int8", "--data", "pixels.npz", "--no-verify").code == 0
    assert any(
        "does not look like what the model was trained on" in note for note in sidecar("trained.int8.onnx")["notes"]
    )


def test_one_sample_out_of_proportion_makes_a_dead_file(run: Run) -> None:
    done = run("detector.pt2", "--int8", "--data", "outlier.npz", "--calibration-method", "minmax")
    check(done, 7, "calibration samples (number 3)", "reaches 9.9", "--calibration-method percentile")


def test_boxes_and_scores_in_one_tensor(run: Run) -> None:
    done = run("detector.pt2", "--int8", "--data", "data.npz")
    check(done, 7, "mixed ranges", "--exclude @detection-head")
    done = run("detector.pt2", "--int8", "--data", "data.npz", "--exclude", "@detection-head")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--int16x8"], 2, ["takes its ranges from data", "--data FILE"]),
        (["--exclude", "head"], 2, ["--exclude is about quantized files", "--int8"]),
        (["--io", "int8"], 2, ["--io is about quantized files"]),
        (["--int8", "--optimize"], 2, ["--optimize measures on your data"]),
        (["--int8", "--data", "data.npz", "--exclude", "haed"], 2, ["'haed' matches no layer", "head"]),
        (["--int8", "--data", "data.npz", "--exclude", "@middle"], 2, ["@middle: no such preset", "@detection-head"]),
        (["--int8", "--data", "data.npz", "--calibration-method", "best"], 2, ["no such method", "entropy"]),
        (["--int8", "--data", "data.npz", "--calibration-samples", "0"], 2, ["calibration-samples"]),
        (["--int8-weights", "--io", "int8"], 4, ["float inputs and outputs", "--int8 --data FILE --io int8"]),
        (["--recipe", "none.toml"], 2, ["none.toml: no such file"]),
        (["--recipe", "data.npz"], 2, ["no TOML"]),
    ],
)
def test_requests_that_cannot_be_met(arguments: list[str], code: int, said: list[str], run: Run) -> None:
    check(run("trained.pt2", *arguments), code, *said)


def test_what_a_target_cannot_do_is_refused_with_the_nearest(run: Run) -> None:
    done = run("trained.pt2", "--int8-weights", to="executorch")
    check(done, 4, "int8-weights is not possible on ExecuTorch: ", "--quant int8-dynamic")
    done = run("trained.pt2", "--int16x8", "--data", "data.npz", to="executorch")
    check(done, 4, "int16x8 is not possible on ExecuTorch: ", "--quant int8")


def test_a_layer_scheme_that_no_such_file_can_have(run: Run) -> None:
    Path("recipe.toml").write_text('scheme = "int8"\n[[rules]]\nmatch = "head"\nscheme = "int4-weights"\n')
    done = run("trained.pt2", "--recipe", "recipe.toml", "--data", "data.npz")
    check(done, 4, "a layer cannot be int4-weights ('head')", "Possible for single layers: ")


def test_a_scheme_in_two_ways(run: Run) -> None:
    Path("recipe.toml").write_text('scheme = "int8"\n[[rules]]\nmatch = "head"\n')
    done = run("trained.pt2", "--recipe", "recipe.toml", "--int8", "--data", "data.npz")
    check(done, 2, "int8 is asked for in two ways")
    assert left(Path("out")) == []
