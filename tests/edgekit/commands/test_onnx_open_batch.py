"""``--dynamic`` on ONNX files through the whole command; the result is run in sizes that the check does not take."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import Run, check

torch = pytest.importorskip("torch", reason="needs the extra torch")
ort = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")


@pytest.fixture
def net(here: Path) -> Path:
    """A network whose flattening reads the batch from its input, one that fixes it, and one of fixed sizes."""
    torch.manual_seed(4)

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, batch: int | None) -> None:
            super().__init__()
            self.batch = batch
            self.conv, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4 * 36, 5)

        def forward(self, image: Any) -> Any:
            x = torch.relu(self.conv(image))
            return self.head(x.reshape(self.batch or x.shape[0], 144))

    for name, batch, axes in (("net", None, {0: "batch"}), ("baked", 1, {0: "batch"}), ("fixed", None, {})):
        buffer = io.BytesIO()
        torch.onnx.export(
            Net(batch).eval(), (torch.zeros(1, 3, 8, 8),), buffer, dynamo=False,
            input_names=["image"], output_names=["scores"], dynamic_axes={"image": axes, "scores": axes},
        )  # fmt: skip
        (here / f"{name}.onnx").write_bytes(buffer.getvalue())
    return here


@pytest.mark.filterwarnings("ignore")
def test_a_file_for_every_batch(run: Run, net: Path) -> None:
    runtime = pytest.importorskip("executorch.runtime", reason="needs the extra executorch")
    done = run("net.onnx", "--dynamic", "batch", "--json", to="executorch")
    assert done.code == 0, done.err
    (made,) = json.loads(done.out)["artifacts"]
    outputs = made["verification"]["outputs"]
    assert len(outputs) == 3
    assert all(item["sqnr_db"] is None or item["sqnr_db"] > 100 for item in outputs)
    assert "--dynamic batch" in made["command"]
    session = ort.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    program = runtime.Runtime.get().load_program(Path("out/net.float32.pte").read_bytes())
    method = program.load_method("forward")
    for batch in (1, 3, 8):
        image = np.random.default_rng(batch).standard_normal((batch, 3, 8, 8), np.float32)
        (found,) = method.execute([torch.from_numpy(image)])
        np.testing.assert_allclose(found.numpy(), session.run(None, {"image": image})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_quantized_for_onnx_runtime(run: Run, net: Path) -> None:
    done = run("net.onnx", "--dynamic", "batch", "--int8-dynamic", to="onnx")
    assert done.code == 0, done.err
    made = onnx.load("out/net.int8-dynamic.onnx")
    assert [dim.dim_param or dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
        8,
        8,
    ]


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_stay_open(run: Run, net: Path) -> None:
    check(
        run("baked.onnx", "--dynamic", "batch", to="executorch"), 4, "the source itself fails with image [2, 3, 8, 8]"
    )
    check(
        run("fixed.onnx", "--dynamic", "batch", to="executorch"), 4, "axis 0 of the input image", "is fixed in the file"
    )
