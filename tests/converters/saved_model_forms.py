"""SavedModel forms for tests, from small Keras networks and plain TensorFlow functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.saved_model import form
from edgekit.types import Signature, TensorSpec

Arrays = list[np.ndarray]


class Form:
    """A form on disk, and what it computes.

    Args:
        folder: To write it in.
        function: Takes and returns tensors in order.
        inputs, outputs: Name, shape and dtype of each.
        holds: What owns the variables.
    """

    def __init__(
        self,
        folder: Path,
        function: Callable[..., Any],
        inputs: Sequence[tuple[Any, ...]],
        outputs: Sequence[tuple[Any, ...]],
        holds: Any = None,
    ) -> None:
        self.path = str(folder)
        self.signature = Signature(
            tuple(TensorSpec(name, shape, *dtype or ("float32",)) for name, shape, *dtype in inputs),
            tuple(TensorSpec(name, shape, *dtype or ("float32",)) for name, shape, *dtype in outputs),
        )
        self.function = function
        form.write(function, self.signature, folder, holds)

    def samples(self, count: int = 4, batch: int = 1, scale: float = 1.0) -> list[Arrays]:
        """Seeded inputs; whole numbers are small ones."""
        rng = np.random.default_rng(3)
        found = []
        for _ in range(count):
            arrays: Arrays = []
            for spec in self.signature.inputs:
                shape = [batch if size is None else size for size in spec.shape]
                values = rng.normal(0, scale, shape) if spec.dtype == "float32" else rng.integers(0, 9, shape)
                arrays.append(values.astype(spec.dtype))
            found.append(arrays)
        return found

    def run(self, samples: list[Arrays]) -> list[Arrays]:
        """Its own outputs."""
        import tensorflow as tf

        found = []
        for arrays in samples:
            made = self.function(*(tf.constant(array) for array in arrays))
            found.append([np.asarray(value) for value in (made if isinstance(made, (list, tuple)) else [made])])
        return found


def of_keras(folder: Path, model: Any, batch: int | None = 1) -> Form:
    """The form of a Keras model, as the source writes it; outputs are called ``first``, ``second``…"""
    names = ("first", "second", "third")

    def function(*values: Any) -> Any:
        return model(values[0] if len(values) == 1 else list(values), training=False)

    inputs = [(item.name, (batch, *item.shape[1:]), str(item.dtype)) for item in model.inputs]
    outputs = [(name, (batch, *item.shape[1:])) for name, item in zip(names, model.outputs, strict=False)]
    return Form(folder, function, inputs, outputs, model)


def randomized(model: Any) -> Any:
    """The model with weights and statistics that are neither zero nor one."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if not weight.path.endswith("kernel"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def images() -> Any:
    """Convolutions with and without bias, normalization, pooling, a dense layer and softmax."""
    from keras import Model
    from keras import layers as of

    image = of.Input((16, 16, 3), name="image")
    x = of.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image)
    x = of.ReLU(name="stem_act")(of.BatchNormalization(name="stem_norm")(x))
    x = of.DepthwiseConv2D(3, padding="same", strides=2, name="depth")(x)
    x = of.ReLU(6.0, name="depth_act")(of.BatchNormalization(name="depth_norm")(x))
    x = of.Conv2D(12, 1, activation="relu", name="stem_1")(x)
    x = of.Flatten(name="flat")(of.MaxPooling2D(name="pool")(x))
    x = of.ReLU(name="wide_act")(of.BatchNormalization(name="wide_norm")(of.Dense(9, name="wide")(x)))
    return randomized(Model(image, of.Dense(5, activation="softmax", name="head")(x)))


def two_by_two() -> Any:
    """Two inputs and two outputs whose order is not that of their names; exact GELU."""
    from keras import Model
    from keras import layers as of

    left, right = of.Input((6,), name="zulu"), of.Input((4,), name="alpha")
    x = of.Add(name="sum")([of.Dense(7, activation="relu", name="a")(left), of.Dense(7, "gelu", name="b")(right)])
    return randomized(Model([left, right], [of.Dense(3, name="c")(x), of.Dense(2, "sigmoid", name="d")(x)]))


def recurrent(kind: str) -> Any:
    """A recurrent layer by name, and a dense one."""
    from keras import Model
    from keras import layers as of

    steps = of.Input((10, 5), name="steps")
    layer = {
        "lstm": lambda: of.LSTM(8, name="memory"),
        "gru": lambda: of.GRU(8, name="memory"),
        "both ways": lambda: of.Bidirectional(of.LSTM(6), name="memory"),
    }[kind]()
    return randomized(Model(steps, of.Dense(3, name="head")(layer(steps))))


def attention() -> Any:
    """Token ids, an embedding, attention and layer normalization."""
    from keras import Model
    from keras import layers as of

    ids = of.Input((7,), name="ids", dtype="int64")
    x = of.Embedding(20, 8, name="table")(ids)
    x = of.LayerNormalization(name="norm")(of.MultiHeadAttention(2, 4, name="heads")(x, x))
    return randomized(Model(ids, of.Dense(3, name="head")(of.GlobalAveragePooling1D(name="mean")(x))))
