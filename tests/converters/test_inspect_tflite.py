from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from converters.tflite._paths import module_path
from converters.tflite.inspect import float_operators, inspect
from edgekit.errors import ConversionError

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tflite_files import Builder

# File: multiply-accumulates, parameters, scheme. Those of the MLPerf Tiny models are published: 12.5 M for
# ResNet-8, 7.5 M for MobileNet, 2.7 M for DS-CNN, 264 k for the autoencoder.
REAL = {
    "mlperf_tiny_resnet8/pretrainedResnet.tflite": (12_501_632, 77_706, "float32"),
    "mlperf_tiny_resnet8/pretrainedResnet_quant.tflite": (12_501_632, 77_706, "int8"),
    "mlperf_tiny_vww_mobilenetv1/vww_96_int8.tflite": (7_489_664, 210_850, "int8"),
    "mlperf_tiny_kws_dscnn/kws_ref_model.tflite": (2_656_768, 22_604, "int8"),
    "mlperf_tiny_ad_autoencoder/ad01_fp32.tflite": (264_192, 265_864, "float32"),
    "coral_mobilenet/mobilenet_v1_0.25_224_quant.tflite": (41_030_528, 467_593, "int8"),
    "aieq_mnist/mnist_quantized.tflite": (106_944, 50_608, "int8-weights"),
    # The name says float32, but its convolutions are quantized.
    "mlperf_tiny_kws_dscnn/kws_ref_model_float32.tflite": (2_656_768, 22_604, "int8-dynamic"),
    # Its dilated convolution runs between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, on 25 rows stored as 1.
    "ultraface/version-RFB-320_without_postprocessing.tflite": (100_418_560, 273_921, "float32"),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str, shared_models: Path) -> None:
    facts = inspect(str(shared_models / name))
    assert (facts["macs"], facts["parameters"], facts["quantization"]) == REAL[name]
    stored = sum(facts["weights_bytes_by_dtype"].values())
    assert 0.4 * (shared_models / name).stat().st_size < stored < (shared_models / name).stat().st_size


@pytest.mark.shared
def test_what_stayed_float(shared_models: Path) -> None:
    path = shared_models / "mlperf_tiny_kws_dscnn/kws_ref_model_float32.tflite"
    facts = inspect(str(path))
    assert facts["quantized_operators"] == {"CONV_2D": 5}
    assert [item["operator"] for item in facts["stayed_float"]].count("DEPTHWISE_CONV_2D") == 4
    assert "RESHAPE" not in {item["operator"] for item in facts["stayed_float"]}
    assert [asdict(item) for item in float_operators(path)] == list(facts["stayed_float"])


@pytest.mark.shared
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(share: float, shared_models: Path, tmp_path: Path) -> None:
    whole = (shared_models / "mlperf_tiny_resnet8/pretrainedResnet_quant.tflite").read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[: int(len(whole) * share)])
    for read in (lambda: inspect(str(cut)), lambda: float_operators(cut)):
        with pytest.raises(ConversionError, match="truncated, damaged or newer") as caught:
            read()
        assert caught.value.hint


def test_random_bytes(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x40\0\0\0TFL3" + bytes(range(256)) * 4)
    with pytest.raises(ConversionError, match="damaged"):
        inspect(str(damaged))


def test_rows_behind_a_dynamic_batch_are_counted(tmp_path: Path) -> None:
    """A dense layer on a sequence: 12 rows per sample, which the file stores as 1."""
    file = Builder()
    x = file.tensor("x", [-1, 12, 16])
    shape = file.tensor("shape", [2], "INT32")
    rows, weights = file.tensor("rows", [-1, -1]), file.tensor("w", [32, 16], data=bytes(4 * 32 * 16))
    y = file.tensor("y", [-1, 32])
    file.operator("SHAPE", [x], [shape])
    file.operator("RESHAPE", [x, shape], [rows])
    file.operator("FULLY_CONNECTED", [rows, weights, -1], [y])
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [y])))
    assert facts["macs"] == 12 * 16 * 32
    assert facts["macs_note"] == "dynamic batch taken as 1"
    plain = {"dtype": "float32", "scale": None, "zero_point": None}
    assert facts["signature"]["inputs"] == ({"name": "x", "shape": (None, 12, 16), **plain},)


def test_a_dynamic_length_has_no_macs(tmp_path: Path) -> None:
    file = Builder()
    x, weights = file.tensor("x", [1, -1, 16]), file.tensor("w", [32, 16], data=bytes(4 * 32 * 16))
    y = file.tensor("net.Net/torch.nn.modules.linear.Linear_dense;1", [1, -1, 32])
    file.operator("FULLY_CONNECTED", [x, weights, -1], [y])
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [y])))
    assert facts["macs"] is None
    assert facts["macs_note"] == "FULLY_CONNECTED dense: a size of it is only known at run time"


def test_shared_buffers_count_once_and_indices_are_no_parameters(tmp_path: Path) -> None:
    file = Builder()
    x, weights = file.tensor("x", [1, 4]), file.tensor("w", [4, 4], data=bytes(64))
    same = file.tensor("w again", [4, 4])
    file.graph.tensors[same].buffer = file.graph.tensors[weights].buffer
    order = file.tensor("order", [2], "INT32", data=bytes(8))
    y, z, t = (file.tensor(name, [1, 4]) for name in "yzt")
    file.operator("FULLY_CONNECTED", [x, weights, -1], [y])
    file.operator("FULLY_CONNECTED", [y, same, -1], [z])
    file.operator("TRANSPOSE", [z, order], [t])
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [t])))
    assert facts["parameters"] == 16
    assert facts["weights_bytes_by_dtype"] == {"float32": 64, "int32": 8}
    assert facts["macs"] == 2 * 16


@pytest.mark.parametrize(
    ("kind", "scaled", "scheme", "floats"),
    [
        ("FLOAT32", False, "float32", ["FULLY_CONNECTED"]),
        ("INT8", True, "int8-dynamic", []),
        ("INT4", True, "int4-weights", []),
    ],
)
def test_weights_decide_in_dynamic_range_files(
    kind: str, scaled: bool, scheme: str, floats: list[str], tmp_path: Path
) -> None:
    file = Builder()
    x, y = file.tensor("x", [1, 8]), file.tensor("y", [1, 8])
    weights = file.tensor("w", [8, 8], kind, data=bytes(64), scale=0.1 if scaled else None)
    file.operator("FULLY_CONNECTED", [x, weights, -1], [y])
    path = file.write(tmp_path / "m.tflite", [x], [y])
    assert inspect(str(path))["quantization"] == scheme
    assert [item.operator for item in float_operators(path)] == floats


def test_custom_and_flex_operators_are_said(tmp_path: Path) -> None:
    file = Builder()
    x, y, z = (file.tensor(name, [1, 4]) for name in "xyz")
    file.operator("CUSTOM", [x], [y], custom="FlexErfinv")
    file.operator("CUSTOM", [y], [z], custom="Magic")
    facts = inspect(str(file.write(tmp_path / "m.tflite", [x], [z])))
    assert facts["operators"] == {"custom:FlexErfinv": 1, "custom:Magic": 1}
    assert facts["macs_note"] == "not counted: custom:FlexErfinv (1), custom:Magic (1)"
    assert any("Flex delegate" in note and "FlexErfinv" in note for note in facts["notes"])
    assert any("custom operators" in note and "Magic" in note for note in facts["notes"])


def test_names_follow_the_order_of_the_graph_not_of_the_signature(tmp_path: Path) -> None:
    file = Builder()
    tensors = [file.tensor(f"t{index}", [1, index + 1]) for index in range(11)]
    signature = file.schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [], []
    for index in sorted(range(11), key=str):  # 0, 1, 10, 2: as converters sort them
        entry: Any = file.schema.TensorMapT()
        entry.name, entry.tensorIndex = f"args_{index}".encode(), tensors[index]
        signature.inputs.append(entry)
    file.model.signatureDefs = [signature]
    facts = inspect(str(file.write(tmp_path / "m.tflite", tensors, [])))
    assert [item["name"] for item in facts["signature"]["inputs"]] == [f"args_{n}" for n in range(11)]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.Net/torch.nn.modules.conv.Conv2d_stem;1", "stem"),
        ("net.Net;;net.Net/net.Block_block/torch.nn.modules.conv.Conv2d_my_conv;2", "block.my_conv"),
        ("n.Net/n.B_b;;n.Net/n.B_b/torch.nn.BatchNorm2d_bn;;n.Net/n.B_b/torch.nn.Conv2d_pw;2", "b.bn+b.pw"),
        ("net.Net;5", ""),
        ("model/activation/Relu;model/conv2d/Conv2D", ""),
        ("serving_default_output_0_output", ""),
    ],
)
def test_module_path(name: str, path: str) -> None:
    assert module_path(name) == path
