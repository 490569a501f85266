"""TFLite -> ONNX: float and int8 files, against what LiteRT computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.onnx import from_tflite
from converters.onnx.layers import layers_of
from converters.tflite import _file, reading
from converters.tflite.calibrate import calibrate
from converters.tflite.from_saved_model import convert as to_tflite
from converters.tflite.quantize import quantize
from edgekit import feeds
from edgekit.errors import UnsupportedError
from edgekit.types import Quantization, Signature, to_json

tf = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
pytest.importorskip("tf2onnx", reason="needs the extra tensorflow")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from saved_model_forms import Form, images, of_keras, recurrent, two_by_two  # noqa: E402 - behind the skips

MIN_FLOAT_DB, MIN_INT8_DB = 100.0, 28.0
REAL = {
    "mlperf_tiny_resnet8/pretrainedResnet.tflite": 100.0,
    "mlperf_tiny_resnet8/pretrainedResnet_quant.tflite": 40.0,
    "mlperf_tiny_kws_dscnn/kws_ref_model.tflite": 40.0,
    "mlperf_tiny_vww_mobilenetv1/vww_96_int8.tflite": 40.0,
    "mlperf_tiny_ad_autoencoder/ad01_int8.tflite": 60.0,
    "coral_mobilenet/mobilenet_v1_0.25_128_quant.tflite": 25.0,
    "tflm_hello_world/hello_world_int8.tflite": 60.0,
    "aieq_mnist/conv_fc_mnist_srq_a8w8.tflite": 40.0,
}
"""Files of others, and what is asked of them; those above are what was measured, less a margin."""


class File:
    """A TFLite file as the source hands it on, and as ONNX."""

    def __init__(self, path: Path, folder: Path) -> None:
        source = reading.open_source(path, None)
        self.path, self.onnx, self.signature = folder / "program.tflite", folder / "made.onnx", _fixed(source.signature)
        self.path.write_bytes(source.program())
        self.runner = reading.Runner(path.read_bytes(), source.key, self.signature, path)
        scheme = reading.arrives(str(path))
        step = from_tflite.convert
        self.result = step(str(self.path), str(self.onnx), scheme, to_json(self.signature), None, {})

    def sqnr_db(self, count: int = 6) -> float:
        """ONNX Runtime against LiteRT, both in floats; the least of all outputs."""
        rng = np.random.default_rng(0)
        session = onnxruntime.InferenceSession(self.onnx)
        pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for _ in range(count):
            given = {spec.name: _random(spec, rng) for spec in self.signature.inputs}
            expected = self.runner(given)
            names = [spec.name for spec in self.signature.outputs]
            for spec, values in zip(self.signature.outputs, session.run(names, given), strict=True):
                assert values.dtype == spec.dtype
                found = values if spec.scale is None else (values.astype(np.float32) - spec.zero_point) * spec.scale
                pairs.setdefault(spec.name, []).append((expected[spec.name], found))
        return min(_db(values) for values in pairs.values())


def _fixed(signature: Signature) -> Signature:
    from dataclasses import replace

    def fix(specs: Any) -> Any:
        return tuple(replace(spec, shape=tuple(size or 1 for size in spec.shape)) for spec in specs)

    return Signature(fix(signature.inputs), fix(signature.outputs))


def _random(spec: Any, rng: np.random.Generator) -> np.ndarray:
    if spec.dtype == "float32":
        return rng.normal(size=spec.shape).astype(np.float32)
    limits = np.iinfo(spec.dtype)
    return rng.integers(limits.min, limits.max, spec.shape, endpoint=True).astype(spec.dtype)


def _db(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    expected, found = (np.stack([np.asarray(pair[side], float) for pair in pairs]) for side in (0, 1))
    assert expected.std() > 0
    noise = ((expected - found) ** 2).sum()
    return float(np.inf if noise == 0 else 10 * np.log10((expected**2).sum() / noise))


def _tflite(form: Form, folder: Path) -> Path:
    to_tflite(form.path, str(folder / "float.tflite"), "float32", to_json(form.signature), None, {})
    return folder / "float.tflite"


def _dense(x: Any) -> Any:
    """A dense layer on three dimensions whose flattening TFLite leaves to the operator, and clamps of all sorts."""
    rng = np.random.default_rng(2)
    weights = tf.constant(rng.normal(size=(5, 4)).astype(np.float32))
    y = tf.nn.relu(tf.matmul(tf.reshape(x, (-1, 5)), weights) + tf.constant([1.0, -2.0, 3.0, 0.5]))
    return tf.nn.gelu(y, approximate=True) + tf.clip_by_value(y, -1.0, 1.0) + tf.nn.softmax(y * 0.25)


@pytest.mark.parametrize("name", ["images", "two by two", "lstm", "dense"])
def test_float_files(name: str, tmp_path: Path) -> None:
    form = {
        "images": lambda: of_keras(tmp_path / "form", images()),
        "two by two": lambda: of_keras(tmp_path / "form", two_by_two()),
        "lstm": lambda: of_keras(tmp_path / "form", recurrent("lstm")),
        "dense": lambda: Form(tmp_path / "form", _dense, [("x", (1, 3, 5))], [("y", (3, 4))]),
    }[name]()
    file = File(_tflite(form, tmp_path), tmp_path)
    assert file.sqnr_db() >= MIN_FLOAT_DB
    graph = onnx.load(file.onnx).graph
    assert [item.name for item in graph.input] == [spec.name for spec in form.signature.inputs]
    assert [item.name for item in graph.output] == [spec.name for spec in form.signature.outputs]
    onnx.checker.check_model(onnx.load(file.onnx), full_check=True)
    if name == "images":
        paths = {layer.kind: layer.path for layer in layers_of(file.onnx)}
        assert "depth" in paths["depthwise_conv"].split("+")
        assert paths["max_pool"] == "pool"


@pytest.mark.parametrize("io", ["float", "int8"])
def test_int8_files(io: str, tmp_path: Path) -> None:
    form = of_keras(tmp_path / "form", images())
    source = _tflite(form, tmp_path)
    rng = np.random.default_rng(5)
    feeds.write(tmp_path / "feeds", feeds.Feeds({"image": rng.normal(size=(16, 1, 16, 16, 3)).astype(np.float32)}))
    calibrate(str(source), str(tmp_path / "ranges.json"), str(tmp_path / "feeds"), 99.99)
    small = tmp_path / "int8.tflite"
    settings = to_json(Quantization(io=io))
    signature = to_json(form.signature)
    quantize(str(source), str(small), "int8", signature, str(tmp_path / "ranges.json"), settings)
    file = File(small, tmp_path)
    assert file.sqnr_db() >= MIN_INT8_DB
    model = onnx.load(file.onnx)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds
    stored = {item.data_type for item in model.graph.initializer if len(item.dims) > 1}
    assert onnx.TensorProto.INT8 in stored and onnx.TensorProto.FLOAT not in stored  # weights stay integers
    expected = onnx.TensorProto.INT8 if io == "int8" else onnx.TensorProto.FLOAT
    assert model.graph.input[0].type.tensor_type.elem_type == expected
    scales = {item.key: json.loads(item.value) for item in model.metadata_props}
    assert set(scales.get("edgekit_io", {})) == ({"image", "first"} if io == "int8" else set())


def test_what_onnx_lacks_is_listed_at_once(tmp_path: Path) -> None:
    form = of_keras(tmp_path / "form", images())
    source = _tflite(form, tmp_path)
    model = _file.read(source)
    from ai_edge_litert import schema_py_generated as schema

    foreign = {
        schema.BuiltinOperator.MAX_POOL_2D: schema.BuiltinOperator.L2_POOL_2D,
        schema.BuiltinOperator.SOFTMAX: schema.BuiltinOperator.STABLEHLO_CBRT,
    }
    for code in model.raw.operatorCodes:
        code.builtinCode = foreign.get(code.builtinCode, code.builtinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    source.write_bytes(_file.serialized(model.raw, b""))
    with pytest.raises(UnsupportedError) as caught:
        from_tflite.convert(str(source), str(tmp_path / "made.onnx"), "float32", to_json(form.signature), None, {})
    assert "L2_POOL_2D at pool; STABLEHLO_CBRT at head" in caught.value.message


def test_repeated_and_empty_tensor_names(tmp_path: Path) -> None:
    form = of_keras(tmp_path / "form", images())
    source = _tflite(form, tmp_path)
    model = _file.read(source)
    for index, tensor in enumerate(model.raw.subgraphs[0].tensors):
        tensor.name = b"" if index % 2 else b"same"
    source.write_bytes(_file.serialized(model.raw, b""))
    assert File(source, tmp_path).sqnr_db() >= MIN_FLOAT_DB


def test_composites_are_taken_apart(tmp_path: Path) -> None:
    import copy

    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import flexbuffers

    form = Form(tmp_path / "form", lambda x: tf.tanh(x) * 2.0 - x, [("x", (1, 4))], [("y", (1, 4))])
    source = _tflite(form, tmp_path)
    assert File(source, tmp_path).sqnr_db() >= MIN_FLOAT_DB
    raw = _file.read(source).raw
    (main,) = raw.subgraphs
    body = copy.deepcopy(main)
    multiply = main.operators[1]
    body.operators, body.inputs, body.outputs = [copy.deepcopy(multiply)], [multiply.inputs[0]], [multiply.outputs[0]]
    body.name = b"double"
    raw.subgraphs.append(body)
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.STABLEHLO_COMPOSITE, 127
    raw.operatorCodes.append(code)
    composite = schema.OperatorT()
    composite.opcodeIndex = len(raw.operatorCodes) - 1
    composite.inputs, composite.outputs = body.inputs, body.outputs
    composite.builtinOptions2Type = schema.BuiltinOptions2.StableHLOCompositeOptions
    composite.builtinOptions2 = schema.StableHLOCompositeOptionsT()
    composite.builtinOptions2.name, composite.builtinOptions2.decompositionSubgraphIndex = b"own.double", 1
    composite.builtinOptions2.compositeAttributes = np.frombuffer(flexbuffers.Dumps({}), np.uint8)
    main.operators[1] = composite
    source.write_bytes(_file.serialized(raw, b""))
    assert "STABLEHLO_COMPOSITE" in [item.kind for item in _file.read(source).subgraphs[0]]
    assert File(source, tmp_path).sqnr_db() >= MIN_FLOAT_DB
    assert sorted(node.op_type for node in onnx.load(tmp_path / "made.onnx").graph.node) == ["Mul", "Sub", "Tanh"]


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str, shared_models: Path, tmp_path: Path) -> None:
    assert File(shared_models / name, tmp_path).sqnr_db() >= REAL[name]
