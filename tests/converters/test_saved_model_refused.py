"""TensorFlow models that must not be converted, or not be run, and damaged ones: by name, and before anything runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.onnx import identify as identify_onnx
from converters.saved_model.kinds import Kind, identify
from converters.sources.saved_model import load
from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, UntrustedError, UsageError
from edgekit.requests import LoadRequest
from edgekit.types import to_json

tf = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
import saved_models as models  # noqa: E402

Read = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("refused")
    models.save_two(place / "two")
    models.save_table(place / "table")
    models.write_frozen(place / "first.pb")
    yield place


@pytest.fixture
def two(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "two", tmp_path / "two"))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def call(path: Path, **options: Any) -> Any:
        into = tmp_path / "into"
        into.mkdir(exist_ok=True)
        return load(to_json(LoadRequest(str(path), into=str(into), **options)))

    return call


def saved(folder: Path, function: Callable[[Any], Any]) -> Path:
    """A SavedModel of a function of one 2 x 3 input."""
    models.save_function(folder, lambda x: {"y": function(x)}, tf.TensorSpec([2, 3], name="x"))
    return folder


# What it computes


def test_state(made: Path, read: Read) -> None:
    with pytest.raises(UnsupportedError, match=r"changes its own state.*AssignAddVariableOp") as caught:
        read(made / "two", signature="train")
    assert "--signature" in caught.value.hint


def test_strings_name_the_other_signatures(made: Path, read: Read) -> None:
    with pytest.raises(UnsupportedError, match=r"signature 'lengths' has text: string\[\?\]") as caught:
        read(made / "two", signature="lengths")
    assert "--signature serving_default" in caught.value.hint


def test_strings_inside(tmp_path: Path, read: Read) -> None:
    folder = saved(tmp_path / "model", lambda x: tf.strings.to_number(tf.strings.as_string(x)))
    with pytest.raises(UnsupportedError, match=r"computes on strings.*AsString"):
        read(folder)


def test_table(made: Path, read: Read) -> None:
    with pytest.raises(UnsupportedError, match=r"tables.*HashTableV2.*LookupTableFindV2|tables.*LookupTableFindV2"):
        read(made / "table")


def test_random_numbers(tmp_path: Path, read: Read) -> None:
    with pytest.raises(UnsupportedError, match=r"random numbers.*RandomUniform"):
        read(saved(tmp_path / "model", lambda x: tf.nn.dropout(x, 0.5)))


def test_random_numbers_with_a_seed_of_their_own_are_none(tmp_path: Path, read: Read) -> None:
    read(saved(tmp_path / "model", lambda x: x + tf.random.stateless_uniform([2, 3], [1, 2])))


def test_loop_of_tensorflow_1(tmp_path: Path, read: Read) -> None:
    def build() -> None:
        x = models.v1.placeholder(tf.float32, [1], name="x")
        models.v1.disable_control_flow_v2()
        tf.while_loop(lambda y: tf.reduce_sum(y) < 100.0, lambda y: y * 2.0 + 1.0, [x])
        models.v1.enable_control_flow_v2()

    models.write_graph(tmp_path / "loop.pb", build)
    with pytest.raises(UnsupportedError, match=r"TensorFlow 1: .*Enter.*Merge"):
        read(tmp_path / "loop.pb", outputs=("while/Exit",))


def test_unknown_operators_are_all_named(two: Path, read: Read) -> None:
    def rename(meta: Any) -> None:
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                node.op = {"Relu": "TextToSpeech", "Mul": "BeamSearch"}.get(node.op, node.op)

    models.edit(two, rename)
    with pytest.raises(UnsupportedError, match=r"not know these operators") as caught:
        read(two)
    assert "TextToSpeech (Relu in __inference" in caught.value.message
    assert "BeamSearch (mul in __inference" in caught.value.message


def test_unknown_operator_of_another_output_does_not_matter(tmp_path: Path, read: Read) -> None:
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(_frozen_detection())
    (tmp_path / "detect.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(UnsupportedError, match=r"NMS_Of_Ours \(nms\)") as caught:
        read(tmp_path / "detect.pb")
    assert "--output-name" in caught.value.hint
    assert read(tmp_path / "detect.pb", outputs=("boxes",))["signature"]["outputs"][0]["shape"] == (2, 3)


def _frozen_detection() -> bytes:
    with tf.Graph().as_default() as graph:
        x = models.v1.placeholder(tf.float32, [2, 3], name="x")
        tf.identity(tf.nn.relu(x, name="boxes"), name="nms")
    found = graph.as_graph_def()
    for node in found.node:
        node.op = "NMS_Of_Ours" if node.name == "nms" else node.op
    return bytes(found.SerializeToString())


def test_graph_without_its_weights(tmp_path: Path, read: Read) -> None:
    def build() -> None:
        x = models.v1.placeholder(tf.float32, [2, 3], name="x")
        tf.matmul(x, models.v1.get_variable("w", [3, 2]), name="y")

    models.write_graph(tmp_path / "training.pb", build)
    with pytest.raises(UnsupportedError, match=r"1 variables \(w…\) and not their values") as caught:
        read(tmp_path / "training.pb", outputs=("y",))
    assert "SavedModel folder" in caught.value.hint


# What it would do to the machine


def test_reading_a_file(tmp_path: Path, read: Read) -> None:
    (tmp_path / "secret").write_text("3.5")
    secret = str(tmp_path / "secret")
    folder = saved(tmp_path / "model", lambda x: x + tf.strings.to_number(tf.io.read_file(secret)))
    with pytest.raises(UntrustedError, match=r"ReadFile \(ReadFile in __inference") as caught:
        read(folder)
    assert "--trust" in caught.value.hint


def test_writing_a_file_happens_only_when_trusted(tmp_path: Path, read: Read) -> None:
    place = tmp_path / "written"

    def write(x: Any) -> Any:
        tf.io.write_file(str(place), "here")
        return x + 1.0

    folder = saved(tmp_path / "model", write)
    with pytest.raises(UntrustedError, match="WriteFile"):
        read(folder)
    assert not place.exists()


def test_writing_a_file_while_the_weights_are_read(two: Path, read: Read, tmp_path: Path) -> None:
    place = tmp_path / "written"

    def add(meta: Any) -> None:
        (restore,) = (item for item in meta.graph_def.library.function if "traced_restore" in item.signature.name)
        for name, text in (("file", str(place)), ("content", "here")):
            node = restore.node_def.add(name=f"evil_{name}", op="Const")
            node.attr["dtype"].type = tf.string.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(text))
        restore.node_def.add(name="evil", op="WriteFile", input=["evil_file:output:0", "evil_content:output:0"])
        restore.signature.control_output.append("evil")
        restore.control_ret["evil"] = "evil"

    models.edit(two, add)
    with pytest.raises(UntrustedError, match=r"WriteFile \(evil in __inference__traced_restore"):
        read(two)
    assert not place.exists()
    read(two, trust=True)
    assert place.read_text() == "here"  # so the check above was about something


def test_python_function(tmp_path: Path, read: Read) -> None:
    folder = saved(tmp_path / "model", lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), [2, 3]))
    with pytest.raises(UntrustedError, match="PyFunc"):
        read(folder)


def test_printing_to_a_file(tmp_path: Path, read: Read) -> None:
    place = tmp_path / "printed"

    def show(x: Any) -> Any:
        tf.print("x", output_stream=f"file://{place}")
        return x + 1.0

    with pytest.raises(UntrustedError, match="PrintV2"):
        read(saved(tmp_path / "model", show))
    assert not place.exists()


def test_filling_tables_is_not_run(two: Path, read: Read, tmp_path: Path) -> None:
    place = tmp_path / "written"

    def add(meta: Any) -> None:
        for name, text in (("file", str(place)), ("content", "here")):
            node = meta.graph_def.node.add(name=f"evil_{name}", op="Const")
            node.attr["dtype"].type = tf.string.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(text))
        meta.graph_def.node.add(name="evil", op="WriteFile", input=["evil_file", "evil_content"])
        meta.collection_def["saved_model_main_op"].node_list.value[:] = ["evil"]

    models.edit(two, add)
    read(two)
    assert not place.exists()


# Damage, and what else may lie in a folder


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
def test_truncated_graph(two: Path, made: Path, read: Read, keep: float) -> None:
    for file, whole in ((two / "saved_model.pb", two), (two.parent / "cut.pb", two.parent / "cut.pb")):
        content = (file if file.exists() else made / "first.pb").read_bytes()
        file.write_bytes(content[: int(len(content) * keep)])
        assert identify(whole) is not None
        with pytest.raises(ConversionError, match="truncated or damaged"):
            read(whole)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "variables" / "variables.index").unlink(), "variables.index: no such file"),
        (lambda folder: shutil.rmtree(folder / "variables"), "variables.index: no such file"),
        (lambda folder: next(folder.glob("variables/*.data*")).unlink(), "missing in part, truncated or damaged: "),
        (lambda folder: _cut(next(folder.glob("variables/*.data*"))), "missing in part, truncated or damaged: "),
        (lambda folder: _cut(folder / "variables" / "variables.index"), "missing in part, truncated or damaged: "),
        (lambda folder: (folder / "saved_model.pb").write_bytes(b""), "holds no graph"),
    ],
)
def test_damaged_weights(two: Path, read: Read, damage: Callable[[Path], None], said: str) -> None:
    damage(two)
    assert identify(two) is Kind.FOLDER
    with pytest.raises(ConversionError, match=said) as caught:
        read(two)
    assert caught.value.hint and "Graph execution error" not in caught.value.message


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_git_lfs_pointer(two: Path, read: Read) -> None:
    (two / "saved_model.pb").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UnsupportedError, match="Git LFS pointer") as caught:
        read(two)
    assert caught.value.hint == "git lfs pull"


def test_file_without_its_folder(two: Path, read: Read) -> None:
    assert identify(two / "saved_model.pb") is Kind.PROTO
    with pytest.raises(UsageError, match="a part of a SavedModel") as caught:
        read(two / "saved_model.pb")
    assert caught.value.hint == "Name the folder: two"


def test_no_signature(tmp_path: Path, read: Read) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(UnsupportedError, match="has no signature") as caught:
        read(tmp_path / "bare")
    assert "signatures=" in caught.value.hint


# Identification


def test_identify(made: Path, tmp_path: Path) -> None:
    assert identify(made / "two") is Kind.FOLDER
    assert identify(made / "first.pb") is Kind.GRAPH
    assert identify_onnx(made / "first.pb") is None and identify_onnx(made / "two" / "saved_model.pb") is None
    empty = tmp_path / "empty"
    empty.mkdir()
    assert identify(empty) is None
    (empty / "saved_model.pb").mkdir()
    assert identify(empty) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x00" * 100,
        b"\x08\x07\x12\x07pytorch",  # how ONNX begins
        b"\x08\x04\x12\x10\x0a\x05image\x12\x03rgb\x1a\x02ab",  # how Core ML does
        b"\x0a\x05LeNet\x12\x04data",  # how Caffe does
        b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02",  # how SentencePiece does
        b"\xff" * 64,
        b"PK\x03\x04",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pb").write_bytes(content)
    assert identify(tmp_path / "file.pb") is None


def test_noise_and_flipped_bytes_never_raise(made: Path, tmp_path: Path, read: Read) -> None:
    generator = np.random.default_rng(3)
    whole = (made / "first.pb").read_bytes()
    file = tmp_path / "noise.pb"
    for index in range(60):
        noise = bytearray(generator.bytes(200) if index % 2 else whole)
        for place in generator.integers(0, min(400, len(noise)), 8):
            noise[place] = generator.integers(0, 256)
        file.write_bytes(bytes(noise))
        if identify(file) is None:
            continue
        try:
            read(file, program=False)
        except EdgekitError as error:
            assert error.exit_code in (2, 4, 5, 9)
