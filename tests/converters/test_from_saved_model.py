"""SavedModel -> TFLite and ONNX: parity, names, layer paths, operators that are missing, and int8 on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.onnx import calibrate as onnx_calibrate
from converters.onnx import from_saved_model as to_onnx
from converters.onnx import layers as onnx_layers
from converters.onnx import quantize as onnx_quantize
from converters.tflite import _file
from converters.tflite import calibrate as tflite_calibrate
from converters.tflite import from_saved_model as to_tflite
from converters.tflite import layers as tflite_layers
from converters.tflite import quantize as tflite_quantize
from edgekit import feeds
from edgekit.errors import UnsupportedError
from edgekit.types import Quantization, to_json
from profiles.runtimes import litert

tf = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
pytest.importorskip("tf2onnx", reason="needs the extra tensorflow")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from ai_edge_litert.interpreter import Interpreter  # noqa: E402 - behind the skips
from saved_model_forms import Arrays, Form, attention, images, of_keras, recurrent, two_by_two  # noqa: E402

FLOAT_DB = {"tflite": 100.0, "onnx": 100.0}
TARGETS = ("tflite", "onnx")


def sqnr_db(expected: list[Arrays], found: list[Arrays]) -> float:
    """The least of all outputs."""
    worst = np.inf
    for index in range(len(expected[0])):
        want = np.concatenate([arrays[index].ravel() for arrays in expected]).astype(float)
        have = np.concatenate([arrays[index].ravel() for arrays in found]).astype(float)
        noise = float(((want - have) ** 2).sum())
        assert want.std() > 0
        worst = min(worst, np.inf if noise == 0 else 10 * np.log10(float((want**2).sum()) / noise))
    return worst


def convert(target: str, form: Form, folder: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """The file and the step's result."""
    output = folder / f"made.{target}"
    step = {"tflite": to_tflite.convert, "onnx": to_onnx.convert}[target]
    return output, dict(step(form.path, str(output), "float32", to_json(form.signature), None, {}, **options))


def run(file: Path, form: Form, samples: list[Arrays]) -> list[Arrays]:
    """In its runtime, by the user's names."""
    names = [spec.name for spec in form.signature.inputs]
    outputs = [spec.name for spec in form.signature.outputs]
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file)
        return [session.run(outputs, dict(zip(names, arrays, strict=True))) for arrays in samples]
    runner = Interpreter(str(file), num_threads=1).get_signature_runner("serving_default")
    made = [runner(**dict(zip(names, arrays, strict=True))) for arrays in samples]
    return [[found[name] for name in outputs] for found in made]


def layers_of(file: Path) -> Any:
    return (onnx_layers if file.suffix == ".onnx" else tflite_layers).layers_of(file)


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Form]:
    """Forms by name, each written once."""
    made: dict[str, Form] = {}
    build: dict[str, Callable[[Path], Form]] = {
        "images": lambda folder: of_keras(folder, images()),
        "any batch": lambda folder: of_keras(folder, images(), None),
        "two by two": lambda folder: of_keras(folder, two_by_two()),
        "attention": lambda folder: of_keras(folder, attention()),
        **{
            kind: lambda folder, kind=kind: of_keras(folder, recurrent(kind))  # type: ignore[misc]
            for kind in ("lstm", "gru", "both ways")
        },
        "copies": lambda folder: Form(
            folder,
            lambda a, b: (a, a * 2.0, a),
            [("x", (1, 4)), ("unused", (1, 3))],
            [("same", (1, 4)), ("twice", (1, 4)), ("again", (1, 4))],
        ),
        "whole numbers": lambda folder: Form(
            folder,
            lambda a, b: (tf.gather(tf.reshape(tf.range(24.0), (12, 2)), a), b + 1),
            [("rows", (1, 4), "int64"), ("counts", (1, 3), "int32")],
            [("found", (1, 4, 2)), ("more", (1, 3), "int32")],
        ),
        "module": _module,
        "select": lambda folder: Form(folder, _select, [("x", (1, 4))], [("y", (1, 4))]),
        "hopeless": lambda folder: Form(folder, _hopeless, [("x", (1, 4))], [("y", (1, 4))]),
    }

    def get(name: str) -> Form:
        if name not in made:
            made[name] = build[name](tmp_path_factory.mktemp("form") / "program")
        return made[name]

    return get


def _module(folder: Path) -> Form:
    """Plain TensorFlow: scopes as the user wrote them."""
    rng = np.random.default_rng(0)

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(rng.normal(size=(3, 3, 2, 4)).astype(np.float32), name="block/conv_2/kernel")
            self.table = tf.Variable(rng.normal(size=(4, 3)).astype(np.float32), name="head/table")

        def __call__(self, x: Any) -> Any:
            with tf.name_scope("block"), tf.name_scope("conv_2"):
                x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 2, "SAME"))
            with tf.name_scope("head"):
                return tf.reduce_mean(x, (1, 2)) @ self.table

    net = Net()
    return Form(folder, net, [("x", (1, 8, 8, 2))], [("y", (1, 3))], net)


def _select(x: Any) -> Any:
    with tf.name_scope("early"):
        x = tf.math.cumprod(x, 1)
    with tf.name_scope("late"):
        return x + tf.linalg.det(tf.reshape(x, (1, 2, 2)))


def _hopeless(x: Any) -> Any:
    with tf.name_scope("early"):
        x = tf.math.erfinv(tf.tanh(tf.math.cumprod(x, 1)))
    with tf.name_scope("late"):
        return tf.math.lgamma(tf.abs(x) + 1.0) + tf.math.digamma(tf.abs(x) + 1.0)


MODELS = ("images", "two by two", "attention", "lstm", "gru", "both ways", "copies", "whole numbers", "module")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_parity_and_names(name: str, target: str, form: Callable[[str], Form], tmp_path: Path) -> None:
    model = form(name)
    file, _ = convert(target, model, tmp_path)
    samples = model.samples()
    assert sqnr_db(model.run(samples), run(file, model, samples)) >= FLOAT_DB[target]
    content = file.read_bytes()
    assert b"output_000" not in content and b"unk__" not in content and str(tmp_path).encode() not in content
    if target == "onnx":
        graph = onnx.load(file).graph
        assert [item.name for item in graph.input] == [spec.name for spec in model.signature.inputs]
        assert [item.name for item in graph.output] == [spec.name for spec in model.signature.outputs]
        sizes = [[dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in (*graph.input, *graph.output)]
        assert sizes == [list(spec.shape) for spec in (*model.signature.inputs, *model.signature.outputs)]
        onnx.checker.check_model(onnx.load(file), full_check=True)
    else:
        (definition,) = _file.read(file).raw.signatureDefs
        assert [item.name.decode() for item in definition.inputs] == [spec.name for spec in model.signature.inputs]
        assert [item.name.decode() for item in definition.outputs] == [spec.name for spec in model.signature.outputs]


@pytest.mark.parametrize("target", TARGETS)
def test_an_open_batch_stays_open(target: str, form: Callable[[str], Form], tmp_path: Path) -> None:
    model = form("any batch")
    file, _ = convert(target, model, tmp_path)
    for batch in (1, 3):
        samples = model.samples(2, batch)
        found = run(file, model, samples)
        assert found[0][0].shape == (batch, 5)
        assert sqnr_db(model.run(samples), found) >= FLOAT_DB[target]
    if target == "onnx":
        dims = [item.type.tensor_type.shape.dim[0].dim_param for item in onnx.load(file).graph.input]
        assert dims == ["batch"]


def test_variables_are_constants_and_layers_are_fused(form: Callable[[str], Form], tmp_path: Path) -> None:
    file, _ = convert("tflite", form("images"), tmp_path)
    kinds = Counter(item.kind for item in _file.read(file).subgraphs[0])
    assert kinds == {
        "CONV_2D": 2,
        "DEPTHWISE_CONV_2D": 1,
        "MAX_POOL_2D": 1,
        "RESHAPE": 1,
        "FULLY_CONNECTED": 2,
        "SOFTMAX": 1,
    }


def test_onnx_computes_what_is_constant_beforehand(form: Callable[[str], Form], tmp_path: Path) -> None:
    file, result = convert("onnx", form("images"), tmp_path)
    kinds = Counter(node.op_type for node in onnx.load(file).graph.node)
    assert kinds["BatchNormalization"] == kinds["Mul"] == kinds["Add"] == kinds["Shape"] == 0
    assert result["notes"] == ["1 Transpose at the border of the file."]
    file, _ = convert("onnx", form("attention"), tmp_path)
    assert not {"Shape", "Concat", "ReduceProd"} & {node.op_type for node in onnx.load(file).graph.node}


@pytest.mark.parametrize("target", TARGETS)
def test_layers_have_the_users_names(target: str, form: Callable[[str], Form], tmp_path: Path) -> None:
    file, _ = convert(target, form("images"), tmp_path)
    found = {layer.kind: layer.path.split("+") for layer in layers_of(file) if layer.kind != "conv"}
    convolutions = [layer.path.split("+") for layer in layers_of(file) if layer.kind == "conv"]
    assert ["stem" in path for path in convolutions] == [True, False]  # stem_1 is another layer
    assert "stem_1" in convolutions[1]
    assert "depth" in found["depthwise_conv"]
    assert found["max_pool"] == ["pool"] and found["softmax"] == ["head"]
    assert found["linear"] == ["head"]
    file, _ = convert(target, form("attention"), tmp_path)
    paths = {layer.path for layer in layers_of(file) if layer.kind == "linear"}
    assert paths == {"heads.query", "heads.key", "heads.value", "heads.attention_output", "head"}
    file, _ = convert(target, form("module"), tmp_path)
    assert {layer.kind: layer.path for layer in layers_of(file)}["conv"] == "block.conv_2"
    assert {layer.kind: layer.path for layer in layers_of(file)}["linear"] == "head"


def test_a_loop_is_a_layer(form: Callable[[str], Form], tmp_path: Path) -> None:
    file, _ = convert("onnx", form("lstm"), tmp_path)
    assert [layer.path for layer in layers_of(file) if layer.operator == "Loop"] == ["memory"]


def test_what_tflite_lacks_is_listed_at_once(form: Callable[[str], Form], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        convert("tflite", form("select"), tmp_path)
    assert "Cumprod at early; MatrixDeterminant at late" in caught.value.message
    assert "--allow-select-ops" in caught.value.hint
    for options in ({}, {"allow_select_ops": True}):
        with pytest.raises(UnsupportedError) as caught:
            convert("tflite", form("hopeless"), tmp_path, **options)
        assert all(part in caught.value.message for part in ("Cumprod at early", "Erfinv at early", "Digamma at late"))
        assert "--allow-select-ops" not in caught.value.hint
    assert not list(tmp_path.glob("made*"))


def test_select_operators_where_they_are_allowed(form: Callable[[str], Form], tmp_path: Path) -> None:
    file, result = convert("tflite", form("select"), tmp_path, allow_select_ops=True)
    assert {item.kind for item in _file.read(file).subgraphs[0]} >= {
        "custom:FlexCumprod",
        "custom:FlexMatrixDeterminant",
    }
    assert any("Flex delegate" in note and "Cumprod at early" in note for note in result["notes"])
    with pytest.raises(RuntimeError, match=r"operators of TensorFlow \(Flex\)"):
        litert.load(str(file), 1)


def test_allowing_select_operators_changes_nothing_else(form: Callable[[str], Form], tmp_path: Path) -> None:
    file, result = convert("tflite", form("images"), tmp_path, allow_select_ops=True)
    assert not any(item.kind.startswith("custom:") for item in _file.read(file).subgraphs[0])
    assert result["notes"] == []


def test_what_onnx_lacks_is_listed_at_once(form: Callable[[str], Form], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        convert("onnx", form("hopeless"), tmp_path)
    assert all(part in caught.value.message for part in ("Erfinv at early", "Lgamma at late", "Digamma at late"))


def test_two_conversions_are_equal(form: Callable[[str], Form], tmp_path: Path) -> None:
    for target in TARGETS:
        first, _ = convert(target, form("images"), tmp_path)
        before = first.read_bytes()
        second, _ = convert(target, form("images"), tmp_path)
        assert second.read_bytes() == before


@pytest.mark.shared
@pytest.mark.parametrize("target", TARGETS)
def test_a_trained_network_and_its_int8(target: str, shared_models: Path, tmp_path: Path) -> None:
    import keras

    network = keras.models.load_model(shared_models / "mlperf_tiny_resnet8/pretrainedResnet.h5", compile=False)
    model = of_keras(tmp_path / "form", network)
    pixels = np.load(shared_models / "_data_cifar10/cifar10_lossless_dev100.npz")["x"].astype(np.float32)
    (name,) = (spec.name for spec in model.signature.inputs)
    feeds.write(tmp_path / "feeds", feeds.Feeds({name: pixels[:64, None]}, None, "tests"))
    samples = [[image[None]] for image in pixels[64:96]]
    expected = model.run(samples)
    file, _ = convert(target, model, tmp_path)
    assert sqnr_db(expected, run(file, model, samples)) >= FLOAT_DB[target]
    calibrate, quantize = {
        "tflite": (tflite_calibrate.calibrate, tflite_quantize.quantize),
        "onnx": (onnx_calibrate.calibrate, onnx_quantize.quantize),
    }[target]
    calibrate(str(file), str(tmp_path / "ranges.json"), str(tmp_path / "feeds"), 99.99)
    small = tmp_path / f"int8.{target}"
    settings = to_json(Quantization())
    result = quantize(str(file), str(small), "int8", to_json(model.signature), str(tmp_path / "ranges.json"), settings)
    assert sqnr_db(expected, run(small, model, samples)) >= 20
    assert result["stayed_float"] == []
    assert small.stat().st_size < 0.4 * file.stat().st_size
