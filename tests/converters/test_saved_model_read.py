"""TensorFlow models: what is read of them, what is written, and that both compute the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.saved_model.inspect import inspect
from converters.sources.saved_model import SOURCE, load
from edgekit import feeds
from edgekit.data import Dataset
from edgekit.errors import ConversionError, UsageError
from edgekit.requests import LoadRequest
from edgekit.types import Signature, from_json, to_json

tf = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
import saved_models as models  # noqa: E402

Read = Callable[..., "Opened"]


class Opened:
    """What loading left, and the written form."""

    def __init__(self, result: Any, into: Path) -> None:
        self.signature = from_json(Signature, result["signature"])
        self.notes: list[str] = result["notes"]
        self.kind: str = result["kind"]
        self.fingerprint: str = result["fingerprint"]
        self.feeds = feeds.read(into / "feeds").arrays
        self.reference = feeds.read(into / "reference").arrays
        self.serve = tf.saved_model.load(result["program"]).signatures["serving_default"]

    def program_outputs(self, sample: int) -> list[np.ndarray]:
        arrays = [self.feeds[spec.name][sample] for spec in self.signature.inputs]
        made = self.serve(**{f"input_{index:03}": tf.constant(array) for index, array in enumerate(arrays)})
        return [made[f"output_{index:03}"].numpy() for index in range(len(self.signature.outputs))]

    def check(self) -> None:
        """The program has fixed sizes, varies with its input, and computes what the source does."""
        for index, spec in enumerate(self.signature.inputs):
            given = self.serve.structured_input_signature[1][f"input_{index:03}"]
            assert tuple(given.shape.as_list()) == spec.shape and None not in spec.shape
        for sample in range(2):
            for spec, made in zip(self.signature.outputs, self.program_outputs(sample), strict=True):
                expected = self.reference[spec.name][sample]
                assert made.shape == spec.shape == expected.shape and made.dtype == spec.dtype
                np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
        first = self.reference[self.signature.outputs[0].name]
        assert not np.array_equal(first[0], first[1])


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def call(path: Path, data: dict[str, np.ndarray] | None = None, **options: Any) -> Opened:
        into = tmp_path / f"into{len(list(tmp_path.iterdir()))}"
        into.mkdir()
        saved = None if data is None else str(Dataset("data", data).save(into / "data"))
        return Opened(load(to_json(LoadRequest(str(path), into=str(into), data=saved, **options))), into)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("saved_models")
    models.save_two(place / "two")
    models.save_unnamed(place / "unnamed")
    models.save_first(place / "first")
    models.write_frozen(place / "first.pb")
    image = models.Image()
    tf.saved_model.save(image, str(place / "image"), signatures={"serving_default": image.__call__})
    words = models.Words()
    tf.saved_model.save(words, str(place / "words"), signatures={"serving_default": words.__call__})
    rounds = models.Rounds()
    tf.saved_model.save(rounds, str(place / "rounds"), signatures={"serving_default": rounds.__call__})
    yield place


def facts(path: Path, **options: Any) -> dict[str, Any]:
    return inspect(to_json(LoadRequest(str(path), **options)))


# Signatures


def test_order_is_that_of_the_function_and_the_names_are_the_users(read: Read, folder: Path) -> None:
    opened = read(folder / "two")
    assert [str(spec) for spec in opened.signature.inputs] == ["zeta: float32[1,4]", "alpha: float32[1,3]"]
    assert [spec.name for spec in opened.signature.outputs] == ["double", "sum"]
    opened.check()
    assert any("'serving_default' was taken" in note and "lengths, train" in note for note in opened.notes)
    assert any("Assert" in note for note in opened.notes)


def test_chosen_signature_and_outputs(read: Read, folder: Path) -> None:
    opened = read(folder / "unnamed", signature="predict", outputs=("sum",), inputs=("zeta=3,4", "alpha=3,3"))
    assert [str(spec) for spec in opened.signature.outputs] == ["sum: float32[3,3]"]
    opened.check()


def test_ambiguous_signature_lists_all(read: Read, folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(folder / "unnamed")
    assert "predict: alpha: float32[?,3], zeta: float32[?,4] -> double: float32[?,3], sum" in caught.value.message
    assert "train: zeta: float32[?,4] -> loss: float32[]" in caught.value.message
    assert caught.value.hint == "--signature predict"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signature": "predicted"}, "--signature predicted: "),
        ({"outputs": ("total",)}, "--output-name total: the outputs of"),
        ({"inputs": ("zeta=1,5",)}, "--input zeta=1,5"),
        ({"inputs": ("beta=1,4",)}, "--input beta=…: the inputs of"),
    ],
)
def test_wrong_options(read: Read, folder: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(folder / "two", **options)
    assert said in caught.value.message and caught.value.hint


def test_many_outputs_are_in_the_order_of_their_numbers(read: Read, folder: Path) -> None:
    opened = read(folder / "words")
    assert [spec.name for spec in opened.signature.outputs] == [f"output_{index}" for index in range(11)]


# Sizes


def test_open_sizes_need_to_be_said(read: Read, folder: Path) -> None:
    with pytest.raises(UsageError, match="leaves sizes of its input open"):
        read(folder / "image")


def test_sizes_of_the_option_reach_every_operator(read: Read, folder: Path) -> None:
    opened = read(folder / "image", inputs=("image=1,8,6,3",))
    assert [spec.shape for spec in opened.signature.outputs] == [(1, 8, 6, 3), (1, 5)]
    opened.check()
    made = {item.type: item.outputs[0].shape.as_list() for item in _operations(opened)}
    assert made["Conv2D"] == [1, 4, 3, 8] and made["Conv2DBackpropInput"] == [1, 8, 6, 4]


def test_sizes_of_the_data(read: Read, folder: Path) -> None:
    opened = read(folder / "image", data={"x": np.random.default_rng(0).random((4, 6, 4, 3), np.float32)})
    assert opened.signature.inputs[0].shape == (1, 6, 4, 3)
    opened.check()


def test_rows_of_an_embedding_bound_random_numbers_and_loops_stay(read: Read, folder: Path) -> None:
    opened = read(folder / "words")
    ids = opened.feeds["ids"]
    assert ids.dtype == np.int32 and 2 < ids.max() < 11
    opened.check()
    assert "While" in {item.type.removeprefix("Stateless") for item in _operations(opened)}


def test_lists_of_loops_get_fixed_sizes(read: Read, folder: Path) -> None:
    opened = read(folder / "rounds", inputs=("steps=2,5,3",))
    assert opened.signature.outputs[0].shape == (2, 5, 4)
    opened.check()
    lists = [item for item in _operations(opened) if item.type in ("TensorListReserve", "TensorListStack")]
    sizes = [tf.get_static_value(item.inputs[item.type == "TensorListStack"]).tolist() for item in lists]
    assert sizes == [[2, 4], [2, 4]]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([opened.serve])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    assert converter.convert()  # which refuses lists whose elements have an open size


def test_loop_whose_tensor_grows(read: Read, tmp_path: Path) -> None:
    def run(x: Any) -> Any:
        _, grown = tf.while_loop(
            lambda index, _: index < 3,
            lambda index, y: (index + 1, tf.concat([y, y[:1] * 2.0], 0)),
            (0, x),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 2])),
        )
        return {"y": grown}

    models.save_function(tmp_path / "model", run, tf.TensorSpec([1, 2], name="x"))
    opened = read(tmp_path / "model")
    assert opened.signature.outputs[0].shape == (4, 2)
    opened.check()


def _operations(opened: Opened) -> list[Any]:
    """Of the written program, calls entered."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(opened.serve, lower_control_flow=False)
    return list(frozen.graph.get_operations())


# TensorFlow 1 and frozen graphs


def test_saved_model_of_tensorflow_1(read: Read, folder: Path) -> None:
    opened = read(folder / "first")
    names = [spec.name for spec in (*opened.signature.inputs, *opened.signature.outputs)]
    assert names == ["pixels", "classes"]
    opened.check()
    assert not {"Switch", "Merge", "RandomUniform"} & {item.type for item in _operations(opened)}


def test_frozen_graph(read: Read, folder: Path) -> None:
    opened = read(folder / "first.pb")
    assert [str(spec) for spec in opened.signature.inputs] == ["image: float32[1,4,4,2]"]
    assert [str(spec) for spec in opened.signature.outputs] == ["scores: float32[1,2]"]
    opened.check()


def test_part_of_a_frozen_graph(read: Read, folder: Path) -> None:
    opened = read(folder / "first.pb", inputs=("conv/Conv2D=1,4,4,3",), outputs=("conv/Relu", "scores:0"))
    assert [str(spec) for spec in opened.signature.inputs] == ["conv/Conv2D: float32[1,4,4,3]"]
    assert [spec.name for spec in opened.signature.outputs] == ["conv/Relu", "scores:0"]
    opened.check()
    given = opened.feeds["conv/Conv2D"]
    np.testing.assert_array_equal(opened.reference["conv/Relu"], np.maximum(given, 0))


def test_frozen_graph_with_several_ends(read: Read, tmp_path: Path) -> None:
    def build() -> None:
        x = models.v1.placeholder(tf.float32, [2, 3], name="x")
        tf.split(x, 3, 1, name="parts")
        tf.add(x, 1.0, name="more")

    models.write_graph(tmp_path / "ends.pb", build)
    with pytest.raises(UsageError, match=r"2 ends.*parts \(Split\), more \(AddV2\)") as caught:
        read(tmp_path / "ends.pb")
    assert caught.value.hint == "--output-name parts --output-name more"
    opened = read(tmp_path / "ends.pb", outputs=("parts:2", "more"))
    opened.check()
    assert opened.signature.outputs[0].shape == (2, 1)
    with pytest.raises(UsageError, match=r"parts \(Split\) returns 3 tensors"):
        read(tmp_path / "ends.pb", outputs=("parts:3",))
    with pytest.raises(UsageError, match="no operator of that name") as caught:
        read(tmp_path / "ends.pb", outputs=("mores",))
    assert "more" in caught.value.hint
    assert [item["name"] for item in facts(tmp_path / "ends.pb")["signature"]["outputs"]] == [
        "parts", "parts:1", "parts:2", "more",
    ]  # fmt: skip


def test_unknown_rank_needs_the_option(read: Read, tmp_path: Path) -> None:
    def build() -> None:
        x = models.v1.placeholder(tf.float32, None, name="x")
        tf.nn.softmax(x, name="y")

    models.write_graph(tmp_path / "rank.pb", build)
    with pytest.raises(UsageError, match="does not say the shape of its input x") as caught:
        read(tmp_path / "rank.pb")
    assert "--input x=" in caught.value.hint
    opened = read(tmp_path / "rank.pb", inputs=("2,7",))
    assert opened.signature.outputs[0].shape == (2, 7)
    opened.check()


def test_model_that_does_not_fit_the_sizes(read: Read, tmp_path: Path) -> None:
    def run(x: Any) -> Any:
        return {"y": tf.reshape(x, [-1, 6]) @ tf.ones([6, 2])}

    models.save_function(tmp_path / "model", run, tf.TensorSpec([None, None], name="x"))
    with pytest.raises(ConversionError, match=r"cannot have inputs x: float32\[1,5\]"):
        read(tmp_path / "model", inputs=("1,5",))
    read(tmp_path / "model", inputs=("1,12",)).check()


# Facts, and the fingerprint


def test_facts_of_pictures(folder: Path) -> None:
    found = facts(folder / "image", inputs=("1,8,8,3",))
    assert found["format"] == "TensorFlow"
    # stem 4x4x8 values of 27, depth 4x4x8 of 9, up 4x4x8 that each meet 2x2x4, head 4x5
    assert found["macs"] == 128 * 27 + 128 * 9 + 128 * 16 + 20
    assert found["parameters"] == 216 + 72 + 128 + 20
    assert found["operators"]["DepthwiseConv2dNative"] == 1
    layers = {item["path"]: item["kind"] for item in found["layers"] if item["kind"] not in ("relu", "mean")}
    assert layers == {"stem": "conv", "depth": "depthwise_conv", "up": "conv_transpose", "head": "linear"}


def test_facts_with_open_sizes(folder: Path) -> None:
    found = facts(folder / "two")
    assert [item["shape"] for item in found["signature"]["inputs"]] == [(None, 4), (None, 3)]
    assert [item["shape"] for item in found["signature"]["outputs"]] == [(None, 3), (None, 3)]
    assert found["macs"] == 12 and found["macs_note"] == "open batch taken as 1"
    assert found["metadata"]["signature train"] == "zeta: float32[?,4] -> loss: float32[]"
    assert [item["shape"] for item in facts(folder / "first.pb")["signature"]["outputs"]] == [(None, 2)]
    unknown = facts(folder / "image")
    assert unknown["macs"] is None and "known at run time" in unknown["macs_note"]


def test_fingerprint_is_that_of_the_weights(read: Read, folder: Path, tmp_path: Path) -> None:
    opened, again, other = read(folder / "two"), read(folder / "two"), read(folder / "two", outputs=("sum",))
    assert opened.fingerprint == again.fingerprint != other.fingerprint
    models.Two()
    two = models.Two()
    two.weights.assign(two.weights + 1.0)
    tf.saved_model.save(two, str(tmp_path / "moved"), signatures={"serving_default": two.__call__})
    assert read(tmp_path / "moved").fingerprint != opened.fingerprint


# A real model that tf.saved_model.load refuses


@pytest.mark.shared
def test_keyword_spotting(read: Read, shared_models: Path) -> None:
    place = shared_models / "mlperf_tiny_kws_dscnn"
    samples = np.load(place / "kws01_dev_first500.npz")
    opened = read(place / "kws_ref_model", data={"x": samples["x_float"], "y": samples["y"]})
    assert str(opened.signature.inputs[0]) == "input_1: float32[1,49,10,1]"
    scores = opened.reference["dense"]
    assert (scores[:, 0].argmax(1) == samples["y"]).mean() == pytest.approx(0.912)  # as its README says
    opened.check()
    found = facts(place / "kws_ref_model")
    assert found["parameters"] == 24_908 and found["macs"] == 2_656_768


@pytest.mark.shared
def test_identify_real_models(shared_models: Path) -> None:
    assert SOURCE.identify(shared_models / "mlperf_tiny_kws_dscnn" / "kws_ref_model") == "TensorFlow SavedModel"
    others = [file for file in shared_models.rglob("*") if file.is_file() and file.name != "saved_model.pb"]
    assert len(others) > 30
    assert not [file for file in others if SOURCE.identify(file) is not None]
