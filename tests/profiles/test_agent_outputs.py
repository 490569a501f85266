from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import OpenSession

from edgekit import feeds
from edgekit.feeds import Feeds
from profiles.agent import outputs
from profiles.runtimes import Tensor

COUNT = 200


def tensor(
    name: str, *shape: int | None, dtype: str = "float32", scale: float | None = None, zero_point: int | None = None
) -> Tensor:
    return {"name": name, "shape": list(shape), "dtype": dtype, "scale": scale, "zero_point": zero_point}


class Fake:
    """A loaded file that computes with a function, and remembers how many samples each run had."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        inputs: Sequence[Tensor] = (tensor("x", None, 3),),
        results: Sequence[Tensor] = (tensor("y", None, 3),),
    ) -> None:
        self.function = function
        self.inputs, self.outputs = list(inputs), list(results)
        self.notes: list[str] = []
        self.runs: list[int] = []

    def run(self, feed: Mapping[str, Any]) -> Mapping[str, Any]:
        arrays = list(feed.values())
        self.runs.append(len(arrays[0]) if arrays[0].ndim else 0)
        return {self.outputs[0]["name"]: self.function(*arrays)}

    def undelegated(self) -> None:
        return None

    def nodes(self) -> None:
        return None


def samples(count: int = COUNT, *shape: int) -> Feeds:
    array = np.random.default_rng(0).normal(size=(count, *(shape or (1, 3)))).astype(np.float32)
    return Feeds({"x": array})


def written(model: Fake, given: Feeds, into: Path, said: list[int] | None = None) -> tuple[Any, list[str]]:
    progress = [] if said is None else said
    notes = outputs.write(model, given, into, progress.append)
    return feeds.read(into).arrays["y"], notes


def refusing(most: int) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        if len(x) > most:
            raise RuntimeError(f"no more than {most}\nand a long trace")
        return 2 * x

    return function


def test_an_open_batch_is_used(tmp_path: Path) -> None:
    model, given = Fake(lambda x: 2 * x), samples()
    found, notes = written(model, given, tmp_path / "out")
    np.testing.assert_array_equal(found, 2 * given.arrays["x"])
    assert notes == []
    assert model.runs == [1] * 8 + [8] * 25  # the first both ways, each sample alone just once


@pytest.mark.parametrize(
    ("count", "inputs", "results", "shape"),
    [
        (COUNT, tensor("x", 1, 3), tensor("y", None, 3), (1, 3)),
        (COUNT, tensor("x", None, 3), tensor("y", 1, 3), (1, 3)),
        (COUNT, tensor("x", None, 3), tensor("y", None, 3), (2, 3)),  # samples are batches, or the axis is time
        (16, tensor("x", None, 3), tensor("y", None, 3), (1, 3)),  # too few
        (COUNT, tensor("x"), tensor("y"), ()),
    ],
)
def test_where_samples_are_run_one_by_one(
    count: int, inputs: Tensor, results: Tensor, shape: tuple[int, ...], tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    model = Fake(lambda x: np.asarray(2 * x), [inputs], [results])
    found, notes = written(model, Feeds({"x": array}), tmp_path / "out")
    np.testing.assert_array_equal(found, 2 * array)
    assert model.runs == [shape[0] if shape else 0] * count
    assert notes == []


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (refusing(4), "a batch of 8 fails (RuntimeError: no more than 4)"),
        (lambda x: x[:1], "a batch of 8 gives output 'y' the shape [1, 3]"),
        (lambda x: np.cumsum(x, axis=0), "in a batch of 8 output 'y' has other values"),
        (lambda x: np.round(x / x.max() * 127) * x.max(), "in a batch of 8 output 'y' has other values"),
    ],
)
def test_a_batch_that_is_none_is_said(function: Callable[[Any], Any], why: str, tmp_path: Path) -> None:
    model, given = Fake(function), samples()
    found, notes = written(model, given, tmp_path / "out")
    np.testing.assert_array_equal(found, [function(one) for one in given.arrays["x"]])
    assert notes == [f"Samples were run one by one: {why}."]
    assert model.runs == [1] * 8 + [8] + [1] * 192


def test_a_batch_that_fails_later_is_run_again(tmp_path: Path) -> None:
    given = samples()
    given.arrays["x"][150] = 99

    def function(x: Any) -> Any:
        if len(x) > 1 and x.max() == 99:
            raise ValueError
        return 2 * x

    model = Fake(function)
    found, notes = written(model, given, tmp_path / "out")
    np.testing.assert_array_equal(found, 2 * given.arrays["x"])
    assert notes == ["Samples were run one by one: a batch of 8 fails (ValueError)."]
    assert model.runs == [1] * 8 + [8] * 19 + [1] * 56


def test_batches_are_small_where_samples_are_large(tmp_path: Path) -> None:
    model = Fake(lambda x: x[:, :3], [tensor("x", None, 50_000)])
    written(model, samples(20, 1, 50_000), tmp_path / "out")
    assert set(model.runs) == {1, 4}


def test_integers_are_scaled_in_and_out(tmp_path: Path) -> None:
    model = Fake(
        lambda x: x,
        [tensor("x", None, 3, dtype="int8", scale=0.5, zero_point=3)],
        [tensor("y", None, 3, dtype="int8", scale=0.25, zero_point=-1)],
    )
    given = samples()
    found, notes = written(model, given, tmp_path / "out")
    integers = np.rint(given.arrays["x"] / 0.5) + 3
    np.testing.assert_array_equal(found, (integers + 1) * 0.25)
    assert (found.dtype, notes) == (np.float32, [])


def test_outputs_that_change_their_shape(tmp_path: Path) -> None:
    given = Feeds({"x": np.arange(5, dtype=np.float32).reshape(5, 1)})
    model = Fake(lambda x: x if x[0] < 3 else np.zeros(2, np.float32), [tensor("x", 1)], [tensor("y", None)])
    with pytest.raises(ValueError, match=r"output 'y' has shape \[2\] for sample 3 and \[1\] for the ones before"):
        written(model, given, tmp_path / "out")


def test_a_sample_that_does_not_fit_is_said_of_one_sample(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"input 'x' is float32\[\?,3\], the samples hold 'x' as float32\[1,4\]"):
        written(Fake(lambda x: x), samples(COUNT, 1, 4), tmp_path / "out")
    large = Feeds({"x": np.full((3, 1, 3), 1 << 40, np.int64)})
    with pytest.raises(ValueError, match=r"is int32\[\?,3\], the samples hold 'x' as int64\[1,3\]"):
        written(Fake(lambda x: x, [tensor("x", None, 3, dtype="int32")]), large, tmp_path / "out")


def test_places_go_with_the_outputs(tmp_path: Path) -> None:
    places = np.arange(COUNT)[::-1]
    written(Fake(lambda x: x), Feeds(samples().arrays, places=places), tmp_path / "out")
    found = feeds.read(tmp_path / "out").places
    assert found is not None
    np.testing.assert_array_equal(found, places)


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_SAY_EVERY_S", 0.0)
    said: list[int] = []
    written(Fake(lambda x: x), samples(), tmp_path / "out", said)
    assert said == [*range(1, 9), *range(16, 201, 8), 200]


def network(path: Path, batch: str | int, dynamic: bool = False) -> Path:
    """``y = softmax(x W)``; with ``dynamic``, ``x`` is rounded to 8 bits by the range of all that is given."""
    onnx = pytest.importorskip("onnx", reason="needs the onnx extra")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["d" if dynamic else "x", "W"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"]),
    ]
    if dynamic:
        nodes.insert(0, helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]))
        nodes.insert(1, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", float32, [batch, 12])],
        [helper.make_tensor_value_info("y", float32, [batch, 5])],
        [onnx.numpy_helper.from_array(weights, "W")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_batches_in_onnxruntime_give_what_single_runs_give(open_session: OpenSession, tmp_path: Path) -> None:
    given = feeds.write(tmp_path / "given", samples(COUNT, 1, 12))
    found = []
    for batch in (1, "N"):
        with open_session(network(tmp_path / f"{batch}.onnx", batch)) as session:
            said: list[int] = []
            found.append(feeds.read(session.outputs(given, tmp_path / f"out{batch}", said.append)).arrays["y"])
            assert session.outputs_notes == ()
            assert said[-1] == COUNT
    assert found[0].shape == found[1].shape == (COUNT, 1, 5)
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-6)


def test_scales_chosen_anew_for_each_run_are_noticed(open_session: OpenSession, tmp_path: Path) -> None:
    given = feeds.write(tmp_path / "given", samples(COUNT, 1, 12))
    found = []
    for batch in (1, "N"):
        with open_session(network(tmp_path / f"{batch}.onnx", batch, dynamic=True)) as session:
            found.append(feeds.read(session.outputs(given, tmp_path / f"out{batch}")).arrays["y"])
            notes = session.outputs_notes
    np.testing.assert_array_equal(found[1], found[0])
    assert notes == ("Samples were run one by one: in a batch of 8 output 'y' has other values.",)


def test_an_open_batch_of_litert_on_a_trained_network(
    open_session: OpenSession, shared_models: Path, tmp_path: Path
) -> None:
    path = shared_models / "aieq_mnist" / "conv_fc_mnist_srq_a8w8.tflite"
    random = np.random.default_rng(0).uniform(size=(300, 1, 28, 28, 1)).astype(np.float32)
    given = feeds.write(tmp_path / "given", Feeds({"x": random}))
    few = feeds.write(tmp_path / "few", Feeds({"x": random[200:300]}))
    with open_session(path) as session:
        together = feeds.read(session.outputs(given, tmp_path / "together")).arrays["dense_1"]
        assert session.outputs_notes == ()
        alone = feeds.read(session.outputs(few, tmp_path / "alone")).arrays["dense_1"]
    np.testing.assert_allclose(together[200:300], alone, rtol=0, atol=1e-6)
