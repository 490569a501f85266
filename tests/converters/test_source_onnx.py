"""ONNX files as sources: made whole without changing what they compute, and run in ONNX Runtime for reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_models import FLOAT, TensorProto, helper, model, np, onnx, ort, saved

from converters.onnx.inspect import inspect
from converters.onnx.reading import arrives
from converters.sources.onnx import SOURCE, load
from edgekit import feeds
from edgekit.dataset import Dataset
from edgekit.errors import ConversionError, UnsupportedError, UsageError
from edgekit.requests import LoadRequest
from edgekit.types import to_json

generator = np.random.default_rng(4)
WEIGHTS = generator.standard_normal((6, 4)).astype(np.float32)
MULTIPLY = helper.make_node("MatMul", ["x", "w"], ["y"])

ARRIVED = {
    "mnist_onnx/mnist.onnx": "float32",
    "winml_cifar10/ImageClassifier.onnx": "float32",
    "ultraface/version-slim-320_simplified.onnx": "float32",
}


class Loaded:
    """What a load left."""

    def __init__(self, path: Path, folder: Path, data: dict[str, Any] | None = None, **asked: Any) -> None:
        into = folder / "into"
        into.mkdir(parents=True)
        saved_data = None if data is None else str(Dataset("data", data).save(folder / "data"))
        self.answer = load(to_json(LoadRequest(str(path), data=saved_data, into=str(into), **asked)))
        self.program = Path(self.answer["program"])
        self.feeds, self.reference = feeds.read(into / "feeds"), feeds.read(into / "reference")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        sides: Any = self.answer["signature"]
        return {spec["name"]: tuple(spec["shape"]) for side in ("inputs", "outputs") for spec in sides[side]}

    def check(self) -> None:
        """The program computes what the source did, and returns what the signature says."""
        session = ort.InferenceSession(str(self.program), providers=["CPUExecutionProvider"])
        assert {item.name: tuple(item.shape) for item in session.get_inputs()}.items() <= self.shapes.items()
        for sample, expected in zip(self.feeds.samples(), self.reference.samples(), strict=True):
            found = session.run(list(expected), sample)
            for one, other in zip(found, expected.values(), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def typed(name: str, kind: Any) -> Any:
    return helper.make_value_info(name, kind)


def test_an_open_batch_is_one(tmp_path: Path) -> None:
    proto = model([MULTIPLY], {"x": ["batch", 6]}, ["y"], {"w": WEIGHTS})
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["batch", 4]))
    made = Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path)
    assert made.shapes == {"x": (1, 6), "y": (1, 4)}
    made.check()
    assert inspect(str(made.program))["signature"]["outputs"][0]["shape"] == (1, 4)
    assert any("fixed: x: float32[1,6]" in note for note in made.answer["notes"])


def test_sizes_of_one_name_are_one_size(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    path = saved(model([add], {"a": [1, "length"], "b": [1, "length"]}, ["y"], {}), tmp_path / "m.onnx")
    made = Loaded(path, tmp_path / "same", inputs=("a=1,5", "b=1,5"))
    assert made.shapes["y"] == (1, 5)
    made.check()
    with pytest.raises(UsageError, match="share the size 'length', which would be 5 and, for 'b', 7"):
        Loaded(path, tmp_path / "other", inputs=("a=1,5", "b=1,7"))


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    proto = model([MULTIPLY], {"x": None}, ["y"], {"w": WEIGHTS})
    path = saved(proto, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="says nothing of the shape of its input 'x'"):
        Loaded(path, tmp_path / "nothing")
    made = Loaded(path, tmp_path / "given", inputs=("3,6",))
    assert made.shapes == {"x": (3, 6), "y": (3, 4)}
    made.check()
    data = generator.standard_normal((5, 6)).astype(np.float32)
    made = Loaded(path, tmp_path / "data", {"x": data})
    assert made.shapes == {"x": (1, 6), "y": (1, 4)}
    np.testing.assert_allclose(made.reference.arrays["y"][:, 0], data @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_weights_that_are_inputs_too(tmp_path: Path) -> None:
    """Files of before IR version 4 list them so."""
    proto = model([MULTIPLY], {"x": [1, 6], "w": [6, 4]}, ["y"], {"w": WEIGHTS}, opset=8)
    proto.ir_version = 3
    made = Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path)
    assert list(made.shapes) == ["x", "y"]
    assert [item.name for item in onnx.load(made.program).graph.input] == ["x"]
    made.check()


def test_weights_beside_the_file(tmp_path: Path) -> None:
    proto = model([MULTIPLY], {"x": [1, 6]}, ["y"], {"w": WEIGHTS})
    (tmp_path / "sub").mkdir()
    path = saved(
        proto, tmp_path / "sub/m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )  # fmt: skip
    first = Loaded(path, tmp_path / "first")
    (tmp_path / "sub/m.data").rename(tmp_path / "away")
    first.check()  # it does not need them
    assert any("m.data" in note for note in first.answer["notes"])
    with pytest.raises(ConversionError, match=r"m\.data, is missing"):
        Loaded(path, tmp_path / "missing")
    changed = bytearray((tmp_path / "away").read_bytes())
    changed[3] ^= 1
    (tmp_path / "sub/m.data").write_bytes(changed)
    assert Loaded(path, tmp_path / "changed").answer["fingerprint"] != first.answer["fingerprint"]


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    proto = model([MULTIPLY], {"x": [1, 6]}, ["y"], {"w": WEIGHTS})
    (tmp_path / "sub").mkdir()
    saved(proto, tmp_path / "sub/m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "sub/m.data").rename(tmp_path / "m.data")
    moved = onnx.load(tmp_path / "sub/m.onnx", load_external_data=False)
    for entry in moved.graph.initializer[0].external_data:
        entry.value = "../m.data" if entry.key == "location" else entry.value
    (tmp_path / "sub/m.onnx").write_bytes(moved.SerializeToString())
    with pytest.raises(ConversionError, match="outside its folder"):
        Loaded(tmp_path / "sub/m.onnx", tmp_path)


def test_operators_of_foreign_domains_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Warp", ["x"], ["h"], domain="acme"),
        helper.make_node("Bend", ["h"], ["y"], domain="other.org"),
    ]
    proto = model(nodes, {"x": [1, 6]}, ["y"], {})
    proto.opset_import.extend([helper.make_opsetid("acme", 1), helper.make_opsetid("other.org", 1)])
    with pytest.raises(UnsupportedError, match=r"acme\.Warp \(opset acme 1\) at h; other\.org\.Bend .* at y"):
        Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path)


def test_functions_of_the_file_itself_are_no_foreign_operators(tmp_path: Path) -> None:
    proto = model([helper.make_node("Double", ["x"], ["y"], domain="acme")], {"x": [1, 6]}, ["y"], {})
    proto.opset_import.append(helper.make_opsetid("acme", 1))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    proto.functions.append(helper.make_function("acme", "Double", ["a"], ["b"], body, [helper.make_opsetid("", 20)]))
    made = Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path)
    made.check()
    assert not onnx.load(made.program).functions


def test_maps_and_sequences_are_no_tensors(tmp_path: Path) -> None:
    zipmap = helper.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    proto = model([zipmap], {"x": [1, 2]}, ["scores"], {})
    map_type = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
    proto.graph.output[0].CopyFrom(typed("scores", helper.make_sequence_type_proto(map_type)))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    with pytest.raises(UnsupportedError, match=r"scores \(sequence, made by ZipMap\)") as caught:
        Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path / "zipmap")
    assert "zipmap" in caught.value.hint
    proto = model([helper.make_node("Identity", ["s"], ["t"])], {"s": [1]}, ["t"], {})
    for item in (proto.graph.input[0], proto.graph.output[0]):
        item.type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(UnsupportedError, match=r"s \(string\), t \(string, made by Identity\)"):
        Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path / "strings")


def test_random_rows_of_a_table(tmp_path: Path) -> None:
    table = generator.standard_normal((40, 6)).astype(np.float32)
    proto = model([helper.make_node("Gather", ["table", "ids"], ["y"])], {"ids": [1, 64]}, ["y"], {"table": table})
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    made = Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path)
    assert 30 < made.feeds.arrays["ids"].max() < 40
    made.check()


def test_a_size_that_depends_on_the_sample_is_refused(tmp_path: Path) -> None:
    proto = model([helper.make_node("NonZero", ["x"], ["y"])], {"x": [1, 6]}, ["y"], {})
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    data = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]], np.float32)
    with pytest.raises(ConversionError, match="another shape for every sample"):
        Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path, {"x": data})


def test_what_onnx_runtime_says(tmp_path: Path) -> None:
    wrong = model([MULTIPLY], {"x": [1, 5]}, ["y"], {"w": WEIGHTS})
    with pytest.raises(ConversionError, match="ONNX Runtime cannot load it"):
        Loaded(saved(wrong, tmp_path / "m.onnx"), tmp_path / "loads")
    wrong = model([MULTIPLY], {"x": [1, "n"]}, ["y"], {"w": WEIGHTS})
    with pytest.raises(ConversionError, match=r"cannot run it on x: float32\[1, 5\]"):
        Loaded(saved(wrong, tmp_path / "m.onnx"), tmp_path / "runs", inputs=("x=1,5",))


@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_a_truncated_file(keep: float, tmp_path: Path) -> None:
    content = model([MULTIPLY], {"x": [1, 6]}, ["y"], {"w": WEIGHTS}).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(keep * len(content))])
    assert SOURCE.identify(path) == "ONNX model"
    with pytest.raises(ConversionError, match="truncated or damaged"):
        Loaded(path, tmp_path)


def test_quantized_files_arrive_in_their_scheme(tmp_path: Path) -> None:
    """A scale and integers around what multiplies, and a product of integers as QOperator files write it."""
    constants = {"w": WEIGHTS, "s": np.float32(0.1), "z": np.uint8(128), "q": np.ones((6, 4), np.int8), "n": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
        helper.make_node("DequantizeLinear", ["q", "s", "n"], ["c"]),
        helper.make_node("MatMul", ["b", "c"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "s", "z"], ["e"]),
        helper.make_node("DequantizeLinear", ["e", "s", "z"], ["y"]),
    ]
    path = saved(model(nodes, {"x": [1, 6]}, ["y"], constants), tmp_path / "qdq.onnx")
    assert arrives(str(path)) == "int8"
    assert Loaded(path, tmp_path / "qdq").answer["quantized"] is True
    nodes[3:5] = [helper.make_node("QLinearMatMul", ["a", "s", "z", "q", "s", "n", "s", "z"], ["e"])]
    nodes.pop(1)
    path = saved(model(nodes, {"x": [1, 6]}, ["y"], constants), tmp_path / "q.onnx")
    assert arrives(str(path)) == "int8"
    half = model([MULTIPLY], {"x": [1, 6]}, ["y"], {"w": WEIGHTS.astype(np.float16)})
    half.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    half.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    path = saved(half, tmp_path / "half.onnx")
    assert arrives(str(path)) == "float16"
    assert Loaded(path, tmp_path / "half").answer["quantized"] is False


def test_integer_borders_that_edgekit_wrote_are_fed_floats(tmp_path: Path) -> None:
    proto = model([helper.make_node("Identity", ["x"], ["y"])], {"x": [1, 4]}, ["y"], {})
    for item in (proto.graph.input[0], proto.graph.output[0]):
        item.type.tensor_type.elem_type = TensorProto.UINT8
    entry = proto.metadata_props.add()
    entry.key, entry.value = (
        "edgekit_io",
        '{"x": {"scale": 0.5, "zero_point": 10}, "y": {"scale": 0.5, "zero_point": 10}}',
    )
    data = np.array([[-8, -0.2, 0.3, 200]], np.float32)
    made = Loaded(saved(proto, tmp_path / "m.onnx"), tmp_path, {"x": np.concatenate([data, data + 1])})
    np.testing.assert_array_equal(made.reference.arrays["y"][0, 0], [-5, 0, 0.5, 122.5])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08", b"TFL3", b"\x0a\x03abc\x10\x01", bytes(64), b"\x89HDF\r\n\x1a\n" + bytes(64), b"x,y\n1,2\n"],
)
def test_what_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert SOURCE.identify(tmp_path / "m.onnx") is None


@pytest.mark.shared
@pytest.mark.parametrize("name", ARRIVED)
def test_real_files(name: str, shared_models: Path, tmp_path: Path) -> None:
    assert arrives(str(shared_models / name)) == ARRIVED[name]
    made = Loaded(shared_models / name, tmp_path)
    made.check()
    assert all(shape[0] == 1 for shape in made.shapes.values())
