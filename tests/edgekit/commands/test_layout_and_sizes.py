"""``--layout`` and ``--dynamic`` through the whole command."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import Run, check

CODE = """\
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(4 * 16, 5)

        def forward(self, image):
            x = torch.max_pool2d(torch.relu(self.norm(self.conv(image))), 2)
            return self.head(x.flatten(1))


    class Fixed(Net):
        def forward(self, image):
            return super().forward(image).reshape(1, 5)
"""


@pytest.fixture
def code(here: Path) -> Path:
    (here / "net_of_sizes.py").write_text(textwrap.dedent(CODE))
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    namespace: dict[str, Any] = {}
    exec(compile((here / "net_of_sizes.py").read_text(), "net", "exec"), namespace)  # noqa: S102 - written above
    torch.save(namespace["Net"]().state_dict(), here / "sizes.pt")
    images = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    np.savez(here / "images.npz", image=images)
    return here


def arguments(*words: str, name: str = "Net") -> list[str]:
    return ["sizes.pt", "--model", f"net_of_sizes.py:{name}", "--data", "images.npz", *words]


def artifacts(done: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.out)["artifacts"]
    return found


@pytest.mark.parametrize("to", ["onnx", "tflite", "executorch"])
def test_channels_last(to: str, run: Run, code: Path) -> None:
    pytest.importorskip({"tflite": "litert_torch"}.get(to, to), reason=f"needs the extra {to}")
    done = run(*arguments("--layout", "nhwc", "--json"), to=to)
    assert done.code == 0, done.err
    (made,) = artifacts(done)
    assert made["signature"]["inputs"][0]["shape"] == [1, 8, 8, 3]
    assert made["verification"]["status"] == "passed"
    assert made["verification"]["outputs"][0]["sqnr_db"] > 100
    assert "--layout nhwc" in made["command"]
    assert any("[1, 8, 8, 3] in the file and [1, 3, 8, 8] in the source" in note for note in made["notes"])


@pytest.mark.parametrize("to", ["onnx", "tflite", "executorch"])
def test_an_open_batch_is_run_in_three_sizes(to: str, run: Run, code: Path) -> None:
    pytest.importorskip({"tflite": "litert_torch"}.get(to, to), reason=f"needs the extra {to}")
    done = run(*arguments("--dynamic", "batch", "--json"), to=to)
    assert done.code == 0, done.err
    (made,) = artifacts(done)
    outputs = made["verification"]["outputs"]
    assert len(outputs) == 3
    assert {"image [2, 3, 8, 8]" in item["output"] for item in outputs} == {True, False}
    assert any("image [5, 3, 8, 8]" in item["output"] for item in outputs)
    assert all(item["sqnr_db"] > 100 for item in outputs)


def test_a_model_that_fixes_its_batch(run: Run, code: Path) -> None:
    check(run(*arguments("--dynamic", "batch", name="Fixed")), 4, "cannot keep batch open", "leave --dynamic out")


def test_words_that_mean_nothing(run: Run, code: Path) -> None:
    check(run(*arguments("--layout", "sideways")), 2, "--layout sideways", "nhwc")
    check(run(*arguments("--layout", "nhwc", "--dynamic", "batch")), 2, "do not go together")
    check(run(*arguments("--dynamic", "image.7")), 2, "--dynamic image.7: no such axis", "--dynamic batch")


def test_options_of_other_sources(run: Run, code: Path) -> None:
    check(run(*arguments("--signature", "serving_default")), 2, "--signature does not go with a PyTorch model")
    check(run(*arguments("--task", "fill-mask")), 2, "--task does not go with a PyTorch model", "Hugging Face")
