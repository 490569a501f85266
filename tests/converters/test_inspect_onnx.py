from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from onnx_models import FLOAT, helper, model, np, onnx, saved

from converters.onnx.inspect import float_operators, inspect
from edgekit.errors import ConversionError

# Multiply-accumulates, parameters; the second UltraFace is the same network as a TFLite file of another exporter.
REAL = {
    "mnist_onnx/mnist.onnx": (786_560, 5_994),
    "mnist_onnx/mnist_winml.onnx": (786_560, 5_994),
    "winml_cifar10/ImageClassifier.onnx": (6_133_200, 50_182),
    "winml_iris/Network.onnx": (744, 795),
    "ultraface/version-RFB-320.onnx": (100_418_560, 307_624),
    "ultraface/version-slim-320_simplified.onnx": (81_410_560, 257_916),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str, shared_models: Path) -> None:
    facts = inspect(str(shared_models / name))
    assert (facts["macs"], facts["parameters"]) == REAL[name]
    assert (facts["quantization"], facts["stayed_float"]) == ("float32", ())


@pytest.mark.shared
def test_real_model_quantized_both_ways(shared_models: Path, tmp_path: Path) -> None:
    from onnxruntime import quantization as q

    source, static, dynamic = (str(tmp_path / name) for name in ("s.onnx", "q.onnx", "d.onnx"))
    q.shape_inference.quant_pre_process(str(shared_models / "winml_cifar10/ImageClassifier.onnx"), source)

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"modelInput": np.ones((1, 3, 32, 32), np.float32)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    q.quantize_static(source, static, Reader(), per_channel=True, activation_type=q.QuantType.QUInt8)
    q.quantize_dynamic(source, dynamic, op_types_to_quantize=["MatMul", "Gemm"])
    facts = inspect(static)
    assert facts["quantization"] == "int8"
    # The model is of opset 10; MaxPool takes integers from 12 on.
    assert [item["operator"] for item in facts["stayed_float"]] == ["MaxPool"]
    assert (facts["macs"], facts["parameters"]) == REAL["winml_cifar10/ImageClassifier.onnx"]
    facts = inspect(dynamic)
    assert facts["quantization"] == "int8-dynamic"
    assert [item["operator"] for item in facts["stayed_float"]].count("Conv") == 4
    assert {item["operator"] for item in facts["stayed_float"]} == {"Conv", "Relu", "MaxPool"}
    assert (facts["macs"], facts["parameters"]) == REAL["winml_cifar10/ImageClassifier.onnx"]


def dense(batch: Any = 2) -> Any:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="act"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="second"),
    ]
    weights = {"w": np.ones((40, 30), np.float32), "b": np.ones(30, np.float32), "v": np.ones((30, 5), np.float32)}
    return model(nodes, {"x": [batch, 40]}, ["y"], weights)


def test_dynamic_batch_is_taken_as_one_and_said(tmp_path: Path) -> None:
    facts = inspect(str(saved(dense("batch"), tmp_path / "m.onnx")))
    assert facts["signature"]["inputs"] == (
        {"name": "x", "shape": (None, 40), "dtype": "float32", "scale": None, "zero_point": None},
    )
    assert (facts["macs"], facts["macs_note"]) == (40 * 30 + 30 * 5, "dynamic batch taken as 1")
    assert inspect(str(saved(dense(2), tmp_path / "m.onnx")))["macs"] == 2 * (40 * 30 + 30 * 5)


def test_other_dynamic_sizes_leave_macs_unknown(tmp_path: Path) -> None:
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")],
        {"x": ["batch", "length", 8]},
        ["y"],
        {"w": np.ones((8, 4), np.float32)},
    )
    facts = inspect(str(saved(proto, tmp_path / "m.onnx")))
    assert (facts["macs"], facts["macs_note"]) == (None, "MatMul m: it has a size that is only known at run time")


def test_external_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    saved(dense(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    facts = inspect(str(path))
    assert facts["parameters"] == 40 * 30 + 30 + 30 * 5
    assert facts["notes"] == ("Its weights are in m.data, which must stay beside it.",)
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(ConversionError, match="has 5 bytes where"):
        inspect(str(path))
    (tmp_path / "m.data").unlink()
    with pytest.raises(ConversionError, match="is missing"):
        float_operators(path)


def test_weights_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    proto = dense()
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "../../secret", 0, 10)
    proto.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ConversionError, match="outside its folder"):
        inspect(str(path))


def test_nodes_out_of_order_and_float16(tmp_path: Path) -> None:
    """As ONNX Runtime's float16 converter writes them: the casts at the end."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = convert_float_to_float16(dense(), keep_io_types=True)
    nodes = sorted(proto.graph.node, key=lambda node: node.op_type == "Cast")
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    facts = inspect(str(saved(proto, tmp_path / "m.onnx")))
    assert (facts["quantization"], facts["macs"]) == ("float16", 2 * (40 * 30 + 30 * 5))


def test_packed_four_bit_weights(tmp_path: Path) -> None:
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=64, N=8, bits=4, block_size=32
    )
    weights = {"w": np.zeros((8, 2, 16), np.uint8), "s": np.ones(16, np.float32)}
    facts = inspect(str(saved(model([node], {"x": [3, 64]}, ["y"], weights), tmp_path / "m.onnx")))
    assert (facts["quantization"], facts["macs"], facts["parameters"]) == ("int4-weights", 3 * 64 * 8, 64 * 8)


def test_functions_and_branches(tmp_path: Path) -> None:
    body = helper.make_function(
        "own", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["d", "w"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["d"], ["same"])],
        "else",
        [],
        [helper.make_tensor_value_info("same", FLOAT, None)],
    )
    nodes = [
        helper.make_node("Double", ["x"], ["d"], domain="own"),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=other),
    ]
    proto = model(nodes, {"x": [4, 4]}, ["y"], {"w": np.ones((4, 4), np.float32), "yes": np.array(True)})
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    facts = inspect(str(saved(proto, tmp_path / "m.onnx")))
    assert facts["operators"] == {"Add": 1, "If": 1, "MatMul": 1, "Identity": 1}
    assert (facts["macs"], facts["macs_note"]) == (0, "not counted: If (1)")
    assert facts["parameters"] == 16


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated(share: float, tmp_path: Path) -> None:
    whole = dense().SerializeToString()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: int(len(whole) * share)])
    for read in (lambda: inspect(str(cut)), lambda: float_operators(cut)):
        with pytest.raises(ConversionError, match="damaged") as caught:
            read()
        assert caught.value.hint


def test_weights_of_the_wrong_size_are_damage(tmp_path: Path) -> None:
    proto = dense()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    with pytest.raises(ConversionError, match="'w' should be 4800 bytes and is 4796"):
        inspect(str(saved(proto, tmp_path / "m.onnx")))


def test_module_paths_come_from_torch_onnx(tmp_path: Path) -> None:
    proto = dense()
    scopes = "['', 'block', 'block.fc', 'linear']"
    proto.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    proto.graph.node[1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'relu']")
    proto.graph.node[2].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="not a list")
    found = float_operators(saved(proto, tmp_path / "m.onnx"))
    assert [asdict(item) for item in found] == [
        {"operator": "Gemm", "name": "block.fc"},
        {"operator": "Relu", "name": "act"},
        {"operator": "MatMul", "name": "second"},
    ]
