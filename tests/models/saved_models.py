"""Small TensorFlow models: SavedModels of TensorFlow 2 and 1, frozen graphs, and some that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

v1 = tf.compat.v1


def _weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.3


class Two(tf.Module):
    """Two inputs whose names are not sorted, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(_weights(4, 3), name="weights")
        self.step = tf.Variable(0, name="step")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="zeta"), tf.TensorSpec([None, 3], name="alpha")])
    def __call__(self, zeta: Any, alpha: Any) -> dict[str, Any]:
        tf.debugging.assert_less(alpha, 1e9)
        return {"sum": tf.nn.relu(zeta @ self.weights) + alpha, "double": alpha * 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="zeta")])
    def train(self, zeta: Any) -> dict[str, Any]:
        self.step.assign_add(1)
        return {"loss": tf.reduce_sum(zeta @ self.weights)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def lengths(self, text: Any) -> dict[str, Any]:
        return {"length": tf.strings.length(text)}


class Image(tf.Module):
    """Convolutions over pictures of any size, and an output that is a copy of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = tf.Variable(_weights(3, 3, 3, 8), name="stem/kernel")
        self.depth = tf.Variable(_weights(3, 3, 8, 1), name="depth/kernel")
        self.up = tf.Variable(_weights(2, 2, 4, 8), name="up/kernel")
        self.head = tf.Variable(_weights(4, 5), name="head/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="image")])
    def __call__(self, image: Any) -> dict[str, Any]:
        with tf.name_scope("stem"):
            x = tf.nn.relu(tf.nn.conv2d(image, self.stem, 2, "SAME"))
        with tf.name_scope("depth"):
            x = tf.nn.depthwise_conv2d(x, self.depth, [1, 1, 1, 1], "SAME")
        with tf.name_scope("up"):
            size = tf.shape(x)
            x = tf.nn.conv2d_transpose(x, self.up, tf.stack([size[0], size[1] * 2, size[2] * 2, 4]), 2, "SAME")
        with tf.name_scope("head"):
            return {"scores": tf.reduce_mean(x, (1, 2)) @ self.head, "same": image}


class Words(tf.Module):
    """An embedding, and a loop over its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(_weights(11, 4), name="table")

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.int32, name="ids")])
    def __call__(self, ids: Any) -> Any:
        rows = tf.gather(self.table, ids)
        state = tf.zeros_like(rows[:, 0])
        for index in tf.range(6):
            state = tf.tanh(state + rows[:, index])
        return {f"output_{index}": state[:, :1] + index for index in range(11)}


class Rounds(tf.Module):
    """A loop that reads one list and fills another, traced for any batch, as the RNNs of Keras are."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(_weights(3, 4), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 5, 3], name="steps")])
    def __call__(self, steps: Any) -> dict[str, Any]:
        given = tf.TensorArray(tf.float32, 5).unstack(tf.transpose(steps, [1, 0, 2]))
        made = tf.TensorArray(tf.float32, 5)
        state = tf.zeros([tf.shape(steps)[0], 4])
        for index in tf.range(5):
            state = tf.tanh(state + given.read(index) @ self.kernel)
            made = made.write(index, state)
        return {"states": tf.transpose(made.stack(), [1, 0, 2])}


def save_two(folder: Path) -> None:
    two = Two()
    signatures = {"serving_default": two.__call__, "train": two.train, "lengths": two.lengths}
    tf.saved_model.save(two, str(folder), signatures=signatures)


def save_unnamed(folder: Path) -> None:
    """Two signatures and no default."""
    two = Two()
    tf.saved_model.save(two, str(folder), signatures={"predict": two.__call__, "train": two.train})


def save_function(folder: Path, function: Callable[..., Any], *specs: Any) -> None:
    """A SavedModel of one function."""
    module = tf.Module()
    module.run = tf.function(function, input_signature=list(specs))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.run})


def save_table(folder: Path) -> None:
    keys, values = tf.constant([1, 2], tf.int64), tf.constant([3.0, 4.0])
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1.0)
    module.run = tf.function(module.table.lookup, input_signature=[tf.TensorSpec([None], tf.int64, name="key")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.run})


def _first_graph() -> tuple[Any, Any]:
    """A network of TensorFlow 1 with a branch for training and a placeholder with a default."""
    image = v1.placeholder(tf.float32, [None, 4, 4, 2], name="image")
    training = v1.placeholder_with_default(False, [], name="is_training")
    kernel = v1.get_variable("conv/kernel", initializer=_weights(3, 3, 2, 3), use_resource=False)
    made = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME", name="conv/Conv2D"), name="conv/Relu")
    dropped = v1.cond(training, lambda: tf.nn.dropout(made, 0.5), lambda: tf.identity(made))
    weights = v1.get_variable("dense/kernel", initializer=_weights(3, 2), use_resource=True)
    scores = tf.nn.softmax(tf.reduce_mean(dropped, (1, 2)) @ weights, name="scores")
    return image, scores


def save_first(folder: Path) -> None:
    """A SavedModel of TensorFlow 1, with its own name for the signature."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.disable_control_flow_v2()
        image, scores = _first_graph()
        v1.enable_control_flow_v2()
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.signature_def_utils.predict_signature_def({"pixels": image}, {"classes": scores})
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={"predict": signature})
        builder.save()


def write_frozen(path: Path) -> None:
    """The same, frozen."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.disable_control_flow_v2()
        _, scores = _first_graph()
        v1.enable_control_flow_v2()
        session.run(v1.global_variables_initializer())
        frozen = v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), [scores.op.name])
    path.write_bytes(frozen.SerializeToString())


def write_graph(path: Path, build: Callable[[], Any]) -> None:
    """A frozen graph of whatever a function builds."""
    with tf.Graph().as_default() as graph:
        build()
    path.write_bytes(graph.as_graph_def().SerializeToString())


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the only graph of a SavedModel, as someone with bad intentions would."""
    file = folder / "saved_model.pb"
    saved = SavedModel()
    saved.ParseFromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
