"""What inspecting a Keras file tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_files
import pytest

keras = pytest.importorskip("keras", reason="needs the extra tensorflow")
layers = keras.layers


def facts_of(folder: Path, given: Any, value: Any) -> dict[str, Any]:
    keras.Model(given, value).save(folder / "m.keras")
    return keras_files.inspect(folder / "m.keras")


def test_layers_and_weights(tmp_path: Path) -> None:
    given = keras.Input((8, 8, 3), name="image")
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.DepthwiseConv2D(3, name="deep"), layers.ReLU(name="act")], name="inner"
    )
    value = inner(layers.Dropout(0.1)(layers.Conv2D(4, 3, name="stem")(given)))
    value = layers.Activation("softmax", name="soft")(layers.Dense(2, name="head")(layers.Flatten()(value)))
    facts = facts_of(tmp_path, given, value)
    assert [(item["path"], item["kind"], item["operator"]) for item in facts["layers"]] == [
        ("stem", "conv", "Conv2D"),
        ("inner.deep", "depthwise_conv", "DepthwiseConv2D"),
        ("inner.act", "relu", "ReLU"),
        ("head", "linear", "Dense"),
        ("soft", "softmax", "Activation"),
    ]
    assert facts["operators"]["Conv2D"] == facts["operators"]["Dropout"] == 1
    assert facts["parameters"] == (27 * 4 + 4) + (9 * 4 + 4) + (64 * 2 + 2)
    assert facts["weights_bytes_by_dtype"] == {"float32": facts["parameters"] * 4}
    assert facts["macs"] == 36 * 4 * 27 + 16 * 4 * 9 + 64 * 2
    assert facts["signature"]["inputs"][0]["name"] == "image"


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (layers.LSTM(4), 6 * (3 * 16 + 4 * 16)),
        (layers.Bidirectional(layers.SimpleRNN(5)), 2 * 6 * (3 * 5 + 5 * 5)),
        (layers.TimeDistributed(layers.Dense(7)), 6 * 3 * 7),
        (layers.Conv1DTranspose(2, 3), 6 * 3 * 2 * 3),
        (layers.SeparableConv1D(5, 3), 4 * 3 * 3 + 4 * 3 * 5),
        (layers.EinsumDense("abc,cd->abd", (None, 4)), 6 * 3 * 4),
        (layers.GlobalMaxPooling1D(), 0),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "name") else "",
)
def test_multiply_accumulates(tmp_path: Path, layer: Any, macs: int) -> None:
    given = keras.Input((6, 3), name="series")
    assert facts_of(tmp_path, given, layer(given))["macs"] == macs


def test_attention(tmp_path: Path) -> None:
    given = keras.Input((6, 3), name="series")
    value = layers.MultiHeadAttention(2, 4, name="look")(given, given)
    projections = 4 * (6 * 3 * 8)
    assert facts_of(tmp_path, given, value)["macs"] == projections + 2 * (2 * 6 * 6 * 4)
