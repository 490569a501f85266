"""Quantized ONNX files through the whole command, to the runtimes that can keep their integers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import Run, check

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
quantization = pytest.importorskip("onnxruntime.quantization", reason="needs the extra onnx")
pytest.importorskip("torch", reason="needs the extra torch")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution and a linear layer as ONNX Runtime quantizes them: uint8 data, int8 weights per channel."""
    folder = tmp_path_factory.mktemp("quantized")
    generator = np.random.default_rng(7)

    def stored(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32) / 3, name)

    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c"], "conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], "relu"),
        node("MaxPool", ["r"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["m"], ["f"], "flat"),
        node("MatMul", ["f", "w2"], ["scores"], "dense"),
    ]
    sides = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in
             (("image", [1, 3, 8, 8]), ("scores", [1, 10]))]  # fmt: skip
    weights = [stored("w1", 4, 3, 3, 3), stored("b1", 4), stored("w2", 64, 10)]
    graph = onnx.helper.make_graph(nodes, "net", sides[:1], sides[1:], weights)
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9))
    onnx.save(model, folder / "float.onnx")
    samples = generator.standard_normal((40, 1, 3, 8, 8), np.float32)
    np.savez(folder / "data.npz", image=samples[:, 0])

    class Samples(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = list(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self.left.pop()} if self.left else None

    unsigned, signed = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
    quantization.quantize_static(
        folder / "float.onnx",
        folder / "net.onnx",
        Samples(),
        activation_type=unsigned,
        weight_type=signed,
        per_channel=True,
    )
    return folder


@pytest.fixture(autouse=True)
def linked(models: Path, here: Path) -> None:
    for name in ("net.onnx", "data.npz"):
        (here / name).symlink_to(models / name)


def made_by(run: Run, *arguments: str, to: str) -> dict[str, Any]:
    done = run("net.onnx", *arguments, "--data", "data.npz", "--json", to=to)
    assert done.code == 0, done.err
    (made,) = json.loads(done.out)["artifacts"]
    assert made["verification"]["status"] == "passed"
    return dict(made)


@pytest.mark.parametrize(
    ("to", "package"), [("executorch", "executorch"), ("tflite", "litert_torch")], ids=["executorch", "tflite"]
)
def test_int8_stays_int8(to: str, package: str, run: Run) -> None:
    """No scheme is asked for, and none is needed: nothing is calibrated, all layers are integer ones."""
    pytest.importorskip(package, reason=f"needs the extra {to}")
    made = made_by(run, to=to)
    assert (made["scheme"], made["calibration"]) == ("int8", None)
    assert (made["stayed_float"], made["undelegated"]) == ([], [])
    assert made["verification"]["outputs"][0]["sqnr_db"] is None or made["verification"]["outputs"][0]["sqnr_db"] > 35
    assert made["steps"][0] == "quantized ONNX -> torch.export"
    assert any("not quantized anew" in note for note in made["notes"])


def test_float_is_what_the_integers_stand_for(run: Run) -> None:
    pytest.importorskip("litert_torch", reason="needs the extra tflite")
    made = made_by(run, "--quant", "float32", to="tflite")
    assert made["scheme"] == "float32"
    assert any("Not kept: the rounding of its activations" in note for note in made["notes"])


def test_what_needs_data_says_so(run: Run) -> None:
    done = run("net.onnx", "--quant", "int16x8", to="tflite")
    check(done, 2, "takes its ranges from data")


def test_rules_are_for_float_models(run: Run) -> None:
    done = run("net.onnx", "--int8", "--exclude", "conv", to="executorch")
    check(done, 4, "arrived in int8, which is kept as it is")
