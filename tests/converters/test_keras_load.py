"""Keras models of all kinds: names and shapes, reference outputs, and the written SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_files
import numpy as np
import pytest

from edgekit.errors import ConversionError, DataError, UsageError

keras = pytest.importorskip("keras", reason="needs the extra tensorflow")
layers = keras.layers


def series() -> Any:
    return keras.Input((6, 3), name="series")


def recurrent(layer: Callable[..., Any]) -> Callable[[], Any]:
    def build() -> Any:
        given = series()
        return keras.Model(given, layer(given))

    return build


def several() -> Any:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([b, a], [layers.Subtract(name="difference")([a, b]), layers.Dense(2, name="head")(a)])


def named() -> Any:
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    outputs = {"total": layers.Add(name="add")([left, right]), "score": layers.Dense(2)(left)}
    return keras.Model({"right": right, "left": left}, outputs)


def nested() -> Any:
    given = keras.Input((4,), name="x")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()], name="inner")
    return keras.Model(given, layers.Dropout(0.9, name="drop")(inner(given)))


def preprocessing() -> Any:
    given = keras.Input((8, 8, 3), name="image")
    normal = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])
    value = normal(layers.Rescaling(1 / 255.0)(layers.RandomFlip()(given)))
    return keras.Model(given, layers.GlobalAveragePooling2D(name="mean")(layers.Conv2D(2, 3)(value)))


def tokens() -> Any:
    given = keras.Input((6,), dtype="int32", name="ids")
    return keras.Model(given, layers.LSTM(3, name="last")(layers.Embedding(10, 4, mask_zero=True)(given)))


def operations() -> Any:
    given = series()
    value = keras.ops.relu(keras.ops.mean(given, axis=1) * 2 + 1)
    return keras.Model(given, layers.Activation("tanh", name="top")(value))


MODELS: dict[str, tuple[Callable[[], Any], list[str], list[str]]] = {
    "lstm": (recurrent(layers.LSTM(4, return_state=True, name="l")), ["series"], ["l", "l_1", "l_2"]),
    "gru": (recurrent(layers.Bidirectional(layers.GRU(4), name="both")), ["series"], ["both"]),
    "several": (several, ["b", "a"], ["difference", "head"]),
    "named": (named, ["left", "right"], ["score", "total"]),
    "nested": (nested, ["x"], ["drop"]),
    "preprocessing": (preprocessing, ["image"], ["mean"]),
    "tokens": (tokens, ["ids"], ["last"]),
    "operations": (operations, ["series"], ["top"]),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path: Path, name: str, suffix: str) -> None:
    build, inputs, outputs = MODELS[name]
    model = build()
    path = tmp_path / f"m{suffix}"
    model.save(path)
    loaded = keras_files.load(path, tmp_path / "into")
    assert keras_files.names(loaded) == (inputs, outputs)
    assert all(spec.shape[0] == 1 and None not in spec.shape for spec in loaded["signature"].inputs)
    feeds, count = loaded["feeds"], len(next(iter(loaded["feeds"].values())))
    given = {key: value[:, 0] for key, value in feeds.items()}
    expected = model.predict(given if name == "named" else [given[key] for key in inputs], verbose=0)
    flat = keras.tree.flatten(expected)
    written = keras_files.program_outputs(loaded)
    for output, wanted in zip(outputs, flat, strict=True):
        np.testing.assert_allclose(loaded["reference"][output].reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(written[output], loaded["reference"][output], rtol=1e-5, atol=1e-6)
    assert count == 8


def test_one_fingerprint_for_one_model(tmp_path: Path) -> None:
    several().save(tmp_path / "a.keras")
    first = keras_files.load(tmp_path / "a.keras", tmp_path / "1", program=False)
    again = keras_files.load(tmp_path / "a.keras", tmp_path / "2", program=False)
    several().save(tmp_path / "b.keras")
    other = keras_files.load(tmp_path / "b.keras", tmp_path / "3", program=False)
    assert first["fingerprint"] == again["fingerprint"] != other["fingerprint"]
    assert not Path(first["program"]).exists()


def test_open_sizes(tmp_path: Path) -> None:
    given = keras.Input((None, 3), name="series")
    keras.Model(given, layers.GlobalMaxPooling1D(name="top")(given)).save(tmp_path / "m.keras")
    with pytest.raises(UsageError, match="leaves sizes of its input open"):
        keras_files.load(tmp_path / "m.keras", tmp_path / "into")
    loaded = keras_files.load(tmp_path / "m.keras", tmp_path / "into", inputs=("2,5,3",))
    assert loaded["signature"].inputs[0].shape == (2, 5, 3)
    data = {"x": np.ones((4, 7, 3), np.float32)}
    assert keras_files.load(tmp_path / "m.keras", tmp_path / "2", data)["signature"].inputs[0].shape == (1, 7, 3)


def test_data_that_does_not_fit(tmp_path: Path) -> None:
    preprocessing().save(tmp_path / "m.keras")
    for wrong in (np.ones((4, 3, 8, 8), np.float32), np.ones((4, 8, 8, 3), np.uint8)):
        with pytest.raises(DataError, match="expected"):
            keras_files.load(tmp_path / "m.keras", tmp_path / "into", {"x": wrong})
    with pytest.raises(UsageError, match="takes image"):
        keras_files.load(tmp_path / "m.keras", tmp_path / "into", inputs=("image=1,8,8,4",))


# Weights alone

NET = """\
import keras

def build():
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="hidden"),
                             keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(2, name="head")])

def wider():
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(5, name="hidden"),
                             keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(2, name="head")])

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = build()
    def call(self, features):
        return self.inner(features)
"""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_for_weights.py").write_text(NET)
    names: dict[str, Any] = {}
    exec(NET, names)  # noqa: S102
    model = names["build"]()
    model.save_weights("new.weights.h5")
    model.save("full.h5")
    import h5py

    with h5py.File("full.h5") as full, h5py.File("old.h5", "w") as file:  # as Keras 2 wrote them
        file.attrs.update(full["model_weights"].attrs)
        for name in full["model_weights"]:
            full["model_weights"].copy(name, file)
    return {"model": model, **names}


@pytest.mark.parametrize("name", ["new.weights.h5", "old.h5"])
def test_weights_alone(weights: dict[str, Any], tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="holds weights and no network") as caught:
        keras_files.load(Path(name), tmp_path / "into")
    assert "--model FILE.py:NAME" in caught.value.hint
    facts = keras_files.inspect(Path(name))
    assert facts["kind"].startswith("Keras weights")
    assert facts["parameters"] == weights["model"].count_params()
    loaded = keras_files.load(Path(name), tmp_path / "into", model_code="net_for_weights.py:build")
    expected = weights["model"].predict(loaded["feeds"]["x"][:, 0], verbose=0)
    np.testing.assert_allclose(loaded["reference"]["head"][:, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["new.weights.h5", "old.h5", "full.h5"])
def test_weights_that_do_not_fit(weights: dict[str, Any], tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"do not fit the network of --model net_for_weights\.py:wider") as caught:
        keras_files.load(Path(name), tmp_path / "into", model_code="net_for_weights.py:wider")
    assert "hidden" in caught.value.hint
    assert "[4, 5]" in caught.value.hint.partition("In the network alone")[2]


def test_a_model_that_does_not_say_its_input(weights: dict[str, Any], tmp_path: Path) -> None:
    net = weights["Net"]()
    net(np.zeros((1, 4), np.float32))
    net.save_weights("net.weights.h5")
    code = "net_for_weights.py:Net"
    with pytest.raises(UsageError, match="does not say what its input looks like") as caught:
        keras_files.load(Path("net.weights.h5"), tmp_path / "into", model_code=code)
    assert "--input features=" in caught.value.hint
    for given in ({"inputs": ("1,4",)}, {"data": {"x": np.ones((3, 4), np.float32)}}):
        loaded = keras_files.load(Path("net.weights.h5"), tmp_path / "into", model_code=code, **given)  # type: ignore[arg-type]
        assert keras_files.names(loaded) == (["features"], ["output"])
        expected = net.predict(loaded["feeds"]["features"][:, 0], verbose=0)
        np.testing.assert_allclose(loaded["reference"]["output"][:, 0], expected, rtol=1e-5, atol=1e-6)


# Damage


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_files_that_are_cut_short(tmp_path: Path, suffix: str, part: float) -> None:
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64)])
    model.save(tmp_path / f"m{suffix}")
    whole = (tmp_path / f"m{suffix}").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * part)])
    for job in (
        lambda: keras_files.load(tmp_path / "cut", tmp_path / "into"),
        lambda: keras_files.inspect(tmp_path / "cut"),
    ):
        with pytest.raises(ConversionError, match=r"damaged|not a Keras file"):
            job()


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    several().save(tmp_path / "m.keras")

    def spoil(config: dict[str, Any]) -> None:
        config["config"]["layers"] = 3

    with pytest.raises(ConversionError):
        keras_files.load(keras_files.edit(tmp_path / "m.keras", spoil), tmp_path / "into")


def test_pixels_that_were_not_scaled_are_told(tmp_path: Path) -> None:
    """A classifier that is right on x / 255, and no better than guessing on x."""
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Dense(2)])
    model.layers[-1].set_weights([np.array([[-1, 1], [0, 0]], np.float32), np.array([0.9, 0], np.float32)])
    model.save(tmp_path / "m.keras")
    labels = np.arange(40) % 2
    pixels = np.stack([np.where(labels, 250, 10), np.arange(40)], 1).astype(np.float32)
    raw = keras_files.load(tmp_path / "m.keras", tmp_path / "raw", {"x": pixels, "labels": labels})
    assert "x / 255" in raw["notes"][0]
    scaled = keras_files.load(tmp_path / "m.keras", tmp_path / "fit", {"x": pixels / 255, "labels": labels})
    assert scaled["notes"] == []
