"""TFLite files as sources: put in order without changing what they compute, and run in LiteRT for reference."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tflite_files import Builder

from converters.sources.tflite import SOURCE, load
from converters.tflite import _file
from converters.tflite.inspect import inspect
from converters.tflite.layers import layers_of
from converters.tflite.reading import arrives
from edgekit import feeds
from edgekit.dataset import Dataset
from edgekit.errors import ConversionError, UnsupportedError, UsageError
from edgekit.requests import LoadRequest
from edgekit.types import to_json

generator = np.random.default_rng(3)
WEIGHTS, BIAS = generator.standard_normal((4, 6)).astype(np.float32), np.arange(4, dtype=np.float32)

ARRIVED = {
    "aieq_mnist/conv_fc_mnist.tflite": "float32",
    "aieq_mnist/conv_fc_mnist_srq_a8w8.tflite": "int8",
    "aieq_mnist/mnist_quantized.tflite": "int8-weights",
    "coral_mobilenet/mobilenet_v1_0.25_128_quant.tflite": "int8",
    "coral_mobilenet/mobilenet_v1_0.25_224_1_default_1.tflite": "float32",
    "mlperf_tiny_ad_autoencoder/ad01_int8.tflite": "int8",
    "mlperf_tiny_kws_dscnn/kws_ref_model.tflite": "int8",
    "mlperf_tiny_kws_dscnn/kws_ref_model_float32.tflite": "int8-dynamic",
}


class Loaded:
    """What a load left."""

    def __init__(self, path: Path, folder: Path, data: dict[str, Any] | None = None, **asked: Any) -> None:
        into = folder / "into"
        into.mkdir()
        saved = None if data is None else str(Dataset("data", data).save(folder / "data"))
        self.answer = load(to_json(LoadRequest(str(path), data=saved, into=str(into), **asked)))
        self.program = Path(self.answer["program"])
        self.feeds, self.reference = feeds.read(into / "feeds"), feeds.read(into / "reference")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        sides: Any = self.answer["signature"]
        return {spec["name"]: tuple(spec["shape"]) for side in ("inputs", "outputs") for spec in sides[side]}


def run(path: Path, sample: dict[str, Any]) -> dict[str, Any]:
    """A file through its only signature."""
    from ai_edge_litert.interpreter import Interpreter

    return dict(Interpreter(model_path=str(path)).get_signature_runner()(**sample))


def dense(path: Path, batch: int = -1, names: tuple[str, str] = ("x", "y")) -> Path:
    """A dense layer in a file without a signature."""
    file = Builder()
    x, y = file.tensor(names[0], [batch, 6]), file.tensor(names[1], [batch, 4])
    file.dense(x, y, WEIGHTS, BIAS)
    return file.write(path, [x], [y])


def several(path: Path, *keys: str) -> Path:
    """A signature and subgraph for each key; the place of a layer among them is what it multiplies by."""
    file = Builder()
    for place, key in enumerate(keys):
        graph = file.new_graph() if place else 0
        x, y = file.tensor("x", [1, 6]), file.tensor("y", [1, 4])
        file.dense(x, y, (place + 1) * WEIGHTS, BIAS)
        file.borders([x], [y])
        file.signature(key, {f"{key}_in": x}, {f"{key}_out": y}, graph)
    return file.write(path, [x], [y])


def test_a_file_without_a_signature_gets_one(tmp_path: Path) -> None:
    made = Loaded(dense(tmp_path / "m.tflite"), tmp_path)
    assert made.shapes == {"x": (1, 6), "y": (1, 4)}
    assert inspect(str(made.program))["signature"]["inputs"][0]["shape"] == (1, 6)
    for sample, expected in zip(made.feeds.samples(), made.reference.samples(), strict=True):
        np.testing.assert_allclose(expected["y"], sample["x"] @ WEIGHTS.T + BIAS, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(run(made.program, sample)["y"], expected["y"])
    assert any("fixed: x: float32[1,6]" in note for note in made.answer["notes"])
    assert made.answer["quantized"] is False


def test_tensors_without_a_name_of_their_own(tmp_path: Path) -> None:
    made = Loaded(dense(tmp_path / "m.tflite", 1, names=("", "input_0")), tmp_path)
    assert list(made.shapes) == ["input_0", "input_0_output"]
    assert len(made.answer["notes"]) == 2
    assert set(run(made.program, next(made.feeds.samples()))) == {"input_0_output"}


def test_codes_in_the_old_field_alone(tmp_path: Path) -> None:
    """What read as zero in the new field is addition there."""
    file = Builder()
    x, y = file.tensor("x", [1, 6]), file.tensor("y", [1, 4])
    file.dense(x, y, WEIGHTS, BIAS)
    file.model.operatorCodes[0].builtinCode = 0
    made = Loaded(file.write(tmp_path / "m.tflite", [x], [y]), tmp_path)
    raw = _file.read(made.program).raw
    assert [code.builtinCode for code in raw.operatorCodes] == [file.schema.BuiltinOperator.FULLY_CONNECTED]


def test_an_open_size_takes_that_of_the_data(tmp_path: Path) -> None:
    """The rows are counted at run time, by operators that the fixed copy keeps."""
    file = Builder()
    x, sizes = file.tensor("x", [-1, -1, 6]), file.tensor("sizes", [2], "INT32", np.array([-1, 6], np.int32).tobytes())
    rows, y = file.tensor("rows", [-1, 6]), file.tensor("y", [-1, 4])
    file.operator("RESHAPE", [x, sizes], [rows], options="ReshapeOptions")
    file.dense(rows, y, WEIGHTS, BIAS)
    path = file.write(tmp_path / "m.tflite", [x], [y])
    with pytest.raises(UsageError, match="leaves sizes") as caught:
        (tmp_path / "refused").mkdir()
        Loaded(path, tmp_path / "refused")
    assert "--input x=1,1,6" in caught.value.hint
    data = generator.standard_normal((5, 7, 6)).astype(np.float32)
    made = Loaded(path, tmp_path, {"x": data})
    assert made.shapes == {"x": (1, 7, 6), "y": (7, 4)}
    stored = {tensor.name: tensor.sizes for tensor in _file.read(made.program).tensors[0]}
    assert (stored["x"], stored["rows"], stored["y"]) == ((1, 7, 6), (7, 6), (7, 4))
    found = run(made.program, {"x": data[:1]})["y"]
    np.testing.assert_allclose(found, data[0] @ WEIGHTS.T + BIAS, rtol=1e-5, atol=1e-5)


def test_one_of_several_signatures(tmp_path: Path) -> None:
    path = several(tmp_path / "m.tflite", "first", "serving_default", "last")
    for asked, factor in ((None, 2), ("last", 3), ("first", 1)):
        key = asked or "serving_default"
        folder = tmp_path / key
        folder.mkdir()
        made = Loaded(path, folder, signature=asked)
        assert list(made.shapes) == [f"{key}_in", f"{key}_out"]
        model = _file.read(made.program)
        assert (len(model.subgraphs), model.entry) == (1, 0)
        assert made.program.stat().st_size < path.stat().st_size - 100
        sample = next(made.feeds.samples())
        expected = sample[f"{key}_in"] @ (factor * WEIGHTS).T + BIAS
        np.testing.assert_allclose(next(made.reference.samples())[f"{key}_out"], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(run(made.program, sample)[f"{key}_out"], expected, rtol=1e-5, atol=1e-5)
        assert any("--signature takes another" in note for note in made.answer["notes"])


@pytest.mark.parametrize(
    ("keys", "asked", "said"),
    [
        (("encode", "decode"), None, "has 2 signatures (encode, decode)"),
        (("encode", "decode"), "code", "--signature code: "),
        (("only",), "other", "has the signatures only"),
    ],
)
def test_no_such_signature(keys: tuple[str, ...], asked: str | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Loaded(several(tmp_path / "m.tflite", *keys), tmp_path, signature=asked)
    assert said in caught.value.message
    assert caught.value.hint == f"--signature {keys[0]}"


def test_a_loop_keeps_its_subgraphs(tmp_path: Path) -> None:
    """The entry is the second subgraph and calls the third and first: their new places must be in the loop."""
    file = Builder()
    body_in, body_out = file.tensor("a", [1, 4]), file.tensor("b", [1, 4])
    half = file.tensor("half", [1], data=np.array([0.5], np.float32).tobytes())
    file.operator("MUL", [body_in, half], [body_out], options="MulOptions")
    file.borders([body_in], [body_out])
    main = file.new_graph()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    file.operator("WHILE", [x], [y], options="WhileOptions", condSubgraphIndex=2, bodySubgraphIndex=0)
    file.borders([x], [y])
    file.signature("halve", {"x": x}, {"y": y}, main)
    file.new_graph()
    state, largest, verdict = file.tensor("s", [1, 4]), file.tensor("m", [1]), file.tensor("v", [1], "BOOL")
    axes = file.tensor("axes", [1], "INT32", np.array([1], np.int32).tobytes())
    one = file.tensor("one", [1], data=np.array([1], np.float32).tobytes())
    file.operator("REDUCE_MAX", [state, axes], [largest], options="ReducerOptions")
    file.operator("GREATER", [largest, one], [verdict], options="GreaterOptions")
    path = file.write(tmp_path / "m.tflite", [state], [verdict])
    made = Loaded(path, tmp_path, {"x": np.array([[8, 4, 0, 0], [0, 0.5, 0, -1]], np.float32)})
    np.testing.assert_array_equal(made.reference.arrays["y"][:, 0], [[1, 0.5, 0, 0], [0, 0.5, 0, -1]])
    assert _file.read(made.program).entry == 0
    for sample, expected in zip(made.feeds.samples(), made.reference.samples(), strict=True):
        np.testing.assert_array_equal(run(made.program, sample)["y"], expected["y"])


def test_integer_borders_are_fed_and_read_as_floats(tmp_path: Path) -> None:
    file = Builder()
    x, y = file.tensor("x", [1, 4], "INT8", scale=0.5, zero_point=10), file.tensor("y", [1, 4], "INT8", scale=0.5,
                                                                                 zero_point=10)  # fmt: skip
    file.operator("RELU", [x], [y])
    data = np.array([[-3, -0.2, 0.3, 100], [1, 2, 3, 4]], np.float32)
    made = Loaded(file.write(tmp_path / "m.tflite", [x], [y]), tmp_path, {"x": data})
    side: Any = made.answer["signature"]
    assert (side["inputs"][0]["scale"], side["inputs"][0]["zero_point"]) == (0.5, 10)
    # Half steps round to even; 127 - 10 steps are the most there is.
    np.testing.assert_array_equal(made.reference.arrays["y"][:, 0], [[0, 0, 0.5, 58.5], [1, 2, 3, 4]])


def test_random_rows_of_a_table(tmp_path: Path) -> None:
    file = Builder()
    ids, y = file.tensor("ids", [64], "INT32"), file.tensor("y", [64, 6])
    table = file.tensor("table", [40, 6], data=generator.standard_normal((40, 6)).astype(np.float32).tobytes())
    file.operator("GATHER", [table, ids], [y], options="GatherOptions")
    made = Loaded(file.write(tmp_path / "m.tflite", [ids], [y]), tmp_path)
    assert 30 < made.feeds.arrays["ids"].max() < 40


@pytest.mark.parametrize("names", [("FlexErf", "FlexRoll"), ("Warp",)])
def test_operators_that_litert_lacks_are_named(names: tuple[str, ...], tmp_path: Path) -> None:
    file = Builder()
    x = source = file.tensor("x", [1, 6])
    for name in names:
        result = file.tensor(name, [1, 6])
        file.operator("CUSTOM", [source], [result], custom=name)
        source = result
    with pytest.raises(UnsupportedError, match=", ".join(names)) as caught:
        Loaded(file.write(tmp_path / "m.tflite", [x], [source]), tmp_path)
    assert ("TensorFlow" in caught.value.hint) == (names[0] != "Warp")


def test_text_is_no_tensor_of_numbers(tmp_path: Path) -> None:
    file = Builder()
    x, y = file.tensor("words", [1], "STRING"), file.tensor("y", [1], "STRING")
    file.operator("RESHAPE", [x], [y])
    with pytest.raises(UnsupportedError, match=r"words: string\[1\]"):
        Loaded(file.write(tmp_path / "m.tflite", [x], [y]), tmp_path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = dense(tmp_path / "m.tflite")
    path.write_bytes(path.read_bytes()[:300])
    assert SOURCE.identify(path) == "TFLite model"
    with pytest.raises(ConversionError, match="truncated, damaged"):
        Loaded(path, tmp_path)


def test_packed_labels_are_told_of(tmp_path: Path) -> None:
    path = dense(tmp_path / "m.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    made = Loaded(path, tmp_path)
    assert any("labels.txt" in note for note in made.answer["notes"])
    assert not zipfile.is_zipfile(made.program)


def test_the_program_is_written_only_where_it_is_wanted(tmp_path: Path) -> None:
    assert not Loaded(dense(tmp_path / "m.tflite"), tmp_path, program=False).program.exists()


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\0\0\0TFL", b"PK\x03\x04" + bytes(60), bytes(4096)])
def test_what_is_no_tflite_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(content)
    assert SOURCE.identify(tmp_path / "m.tflite") is None


def test_layers_are_called_as_in_the_keras_model(tmp_path: Path) -> None:
    file = Builder()
    x, sums = file.tensor("x", [1, 6]), "net/act/Relu;net/dense/BiasAdd;net/other/MatMul;net/dense/MatMul"
    hidden, y = file.tensor(sums, [1, 4]), file.tensor("StatefulPartitionedCall/net/flat/Reshape", [4])
    file.dense(x, hidden, WEIGHTS, BIAS)
    file.operator("RESHAPE", [hidden], [y], options="ReshapeOptions", newShape=[4])
    assert [layer.path for layer in layers_of(file.write(tmp_path / "m.tflite", [x], [y]))] == ["act+dense", "flat"]


@pytest.mark.shared
@pytest.mark.parametrize("name", ARRIVED)
def test_real_files_arrive(name: str, shared_models: Path) -> None:
    assert arrives(str(shared_models / name)) == ARRIVED[name]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("mlperf_tiny_kws_dscnn/kws_ref_model.tflite", [(1, 12)]),
        ("coral_mobilenet/mobilenet_v1_0.25_128_quant.tflite", [(1, 1001)]),
        ("ultraface/version-RFB-320_without_postprocessing.tflite", [(1, 4420, 4), (1, 4420, 2)]),
    ],
)
def test_real_files_compute_the_same_in_order(
    name: str, outputs: list[tuple[int, ...]], shared_models: Path, tmp_path: Path
) -> None:
    """Files of before 2020 with 1-byte codes, open sizes, uint8 borders, packed labels."""
    from ai_edge_litert.interpreter import Interpreter

    path = shared_models / name
    made = Loaded(path, tmp_path)
    assert list(made.shapes.values())[1:] == outputs
    assert not any(None in tensor.sizes for tensor in _file.read(made.program).tensors[0])
    interpreters = [Interpreter(model_path=str(file)) for file in (path, made.program)]
    details = interpreters[0].get_input_details()[0]
    limit = 256 if details["dtype"] is np.uint8 else 128
    values = generator.integers(0, limit, made.shapes[details["name"]]).astype(details["dtype"])
    results = []
    for interpreter in interpreters:
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        results.append([interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
