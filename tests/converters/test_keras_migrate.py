"""Files of older Keras versions, and the real ones of MLPerf and others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_files
import numpy as np
import pytest

from converters.keras import migrate
from edgekit.errors import UnsupportedError

keras = pytest.importorskip("keras", reason="needs the extra tensorflow")
layers = keras.layers


def nothing(name: str) -> bool:
    return False


def model_in(folder: Path, *stack: Any) -> tuple[Any, Path]:
    model = keras.Sequential([keras.Input((6, 4), name="x"), *stack])
    model.save(folder / "m.h5")
    return model, folder / "m.h5"


def test_settings_that_change_nothing_are_left_out_and_told(tmp_path: Path) -> None:
    model, path = model_in(
        tmp_path, layers.LSTM(4, name="lstm", return_sequences=True), layers.SeparableConv1D(2, 3, name="sep")
    )

    def age(config: dict[str, Any]) -> None:
        keras_files.layer(config, "lstm").update(time_major=False, implementation=2)
        keras_files.layer(config, "sep").update(groups=1)
        keras_files.layer(config, "sep")["bias_initializer"] = {"class_name": "Zeros", "config": {"dtype": "float32"}}
        keras_files.layer(config, "sep")["depthwise_initializer"] = {"class_name": "MyOwn", "config": {}}

    loaded = keras_files.load(keras_files.edit(path, age, "2.4.0"), tmp_path / "into")
    said = " ".join(loaded["notes"])
    assert "LSTM: the setting time_major=False, which changes nothing, is left out" in said
    assert "SeparableConv1D: the setting groups=1" in said
    assert "Initializers that Keras 3 does not know" in said
    expected = model.predict(loaded["feeds"]["x"][:, 0], verbose=0)
    np.testing.assert_allclose(loaded["reference"]["sep"][:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", [{"groups": 2}, {"time_major": True}, {"invented": 1}, {"dynamic": True}])
def test_other_settings_are_refused_by_name(tmp_path: Path, setting: dict[str, Any]) -> None:
    _, path = model_in(tmp_path, layers.Dense(3, name="head"))

    def age(config: dict[str, Any]) -> None:
        keras_files.layer(config, "head").update(setting)

    (name,) = setting
    with pytest.raises(UnsupportedError, match=f"{name}=.* of head \\(Dense\\)"):
        keras_files.load(keras_files.edit(path, age, "2.4.0"), tmp_path / "into")


def test_hard_sigmoid_stays_that_of_keras_2(tmp_path: Path) -> None:
    """Keras 3 computes another function under the same name."""
    _, path = model_in(tmp_path, layers.Activation("hard_sigmoid", name="gate"))
    data = {"x": np.linspace(-4, 4, 8 * 24, dtype=np.float32).reshape(8, 6, 4)}
    new = keras_files.load(path, tmp_path / "new", data)
    x = new["feeds"]["x"]
    np.testing.assert_allclose(new["reference"]["gate"], np.clip(x / 6 + 0.5, 0, 1), atol=1e-6)
    assert new["notes"] == []
    old = keras_files.load(keras_files.edit(path, lambda config: None, "2.4.0"), tmp_path / "old", data)
    np.testing.assert_allclose(old["reference"]["gate"], np.clip(0.2 * x + 0.5, 0, 1), atol=1e-6)
    assert "hard_sigmoid computes as in Keras 2" in old["notes"][0]


def test_the_oldest_layouts(tmp_path: Path) -> None:
    """A list of layers in place of a dictionary, and the shape of the input at the first layer."""
    model, path = model_in(
        tmp_path, layers.Dense(3, name="first", activation="relu"), layers.TimeDistributed(layers.Dense(2), name="head")
    )

    def age(config: dict[str, Any]) -> dict[str, Any]:
        _, first, head = config["config"]["layers"]
        first["config"]["batch_input_shape"] = [None, 6, 4]
        head["config"]["layer"]["config"]["batch_input_shape"] = [None, 3]
        for layer in (first, head):
            layer["config"]["dtype"] = {"class_name": "Policy", "config": {"name": "float32"}}
        return {"class_name": "Sequential", "config": [first, head]}

    loaded = keras_files.load(keras_files.edit(path, age, "2.1.6"), tmp_path / "into")
    assert keras_files.names(loaded) == (["first_input"], ["head"])
    expected = model.predict(loaded["feeds"]["first_input"][:, 0], verbose=0)
    np.testing.assert_allclose(loaded["reference"]["head"][:, 0], expected, rtol=1e-4, atol=1e-5)


def test_modules_that_moved(tmp_path: Path) -> None:
    given = keras.Input((4,), name="x")
    model = keras.Model(given, layers.Dense(2, name="head")(given))
    model.save(tmp_path / "m.keras")

    def age(config: dict[str, Any]) -> None:
        config.update(module="keras.src.engine.functional", compile_config={"loss": {"class_name": "Unknown"}})
        config["config"]["layers"][1]["module"] = "keras.layers.core.dense"

    loaded = keras_files.load(keras_files.edit(tmp_path / "m.keras", age), tmp_path / "into")
    assert len(loaded["notes"]) == 2
    assert loaded["reference"]["head"].shape == (8, 1, 2)


def test_layers_of_keras_2_alone_are_refused(tmp_path: Path) -> None:
    _, path = model_in(tmp_path, layers.Dense(3, name="head"))

    def age(config: dict[str, Any]) -> None:
        config["config"]["layers"].append({"class_name": "CuDNNLSTM", "config": {"name": "fast", "units": 2}})

    with pytest.raises(UnsupportedError, match="fast \\(CuDNNLSTM\\), which is of Keras 2 on a GPU"):
        keras_files.load(keras_files.edit(path, age, "2.2.4"), tmp_path / "into")
    with pytest.raises(UnsupportedError, match=r"Keras 1\.2\.2 wrote this file"):
        keras_files.load(keras_files.edit(path, lambda config: None, "1.2.2"), tmp_path / "into")


def test_a_model_of_today_is_left_alone() -> None:
    """Every layer that Keras 3 saves has settings that it takes."""
    stack = [
        layers.Conv2D(4, 3, groups=2), layers.DepthwiseConv2D(3), layers.SeparableConv2D(4, 3),
        layers.BatchNormalization(), layers.LeakyReLU(), layers.Conv2DTranspose(2, 3), layers.UpSampling2D(),
        layers.Resizing(8, 8), layers.RandomRotation(0.1), layers.Reshape((-1, 2)),
        layers.GRU(3, return_sequences=True),
        layers.LSTM(3, return_sequences=True), layers.SimpleRNN(3, return_sequences=True), layers.LayerNormalization(),
        layers.Bidirectional(layers.LSTM(2)), layers.Dense(2, kernel_regularizer="l2", kernel_constraint="max_norm"),
    ]  # fmt: skip
    model = keras.Sequential([keras.Input((12, 12, 4)), *stack])
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    found, notes, _ = migrate.migrated(config, major=3, path=Path("m.keras"), custom=nothing)
    assert notes == []
    assert found == config


# Real files


@pytest.mark.shared
def test_the_autoencoder_scores_as_published(shared_models: Path, tmp_path: Path) -> None:
    folder = shared_models / "mlperf_tiny_ad_autoencoder"
    frames = np.fromfile(next(folder.rglob("normal_id_01_00000000_hist_librosa.bin")), "<f4").reshape(-1, 128)
    windows = np.stack([frames[start : start + 5].reshape(-1) for start in range(len(frames) - 4)])
    loaded = keras_files.load(folder / "ad01.h5", tmp_path / "into", {"x": windows}, program=False)
    (reference,) = loaded["reference"].values()
    assert np.square(reference - loaded["feeds"]["input_1"]).mean() == pytest.approx(9.491290, abs=2e-5)


@pytest.mark.shared
def test_a_file_that_keras_3_rejects(shared_models: Path, tmp_path: Path) -> None:
    path = shared_models / "mlperf_tiny_vww_mobilenetv1" / "vww_96.h5"
    with pytest.raises(Exception, match="groups"):
        keras.saving.load_model(path, compile=False)
    loaded = keras_files.load(path, tmp_path / "into")
    assert loaded["notes"] == ["DepthwiseConv2D: the setting groups=1, which changes nothing, is left out (13 places)."]
    (output,) = loaded["reference"]
    np.testing.assert_allclose(keras_files.program_outputs(loaded)[output], loaded["reference"][output], atol=1e-6)
    facts = keras_files.inspect(path)
    assert facts["parameters"] == 221_794
    assert facts["macs"] == 7_489_664


@pytest.mark.shared
def test_a_trained_classifier(shared_models: Path, tmp_path: Path) -> None:
    folder = shared_models / "hand_gesture" / "keypoint_classifier"
    rows = np.loadtxt(next(folder.rglob("keypoint.csv")), delimiter=",", dtype=np.float32)[::9]
    data = {"x": rows[:, 1:], "labels": rows[:, 0].astype(np.int64)}
    loaded = keras_files.load(folder / "keypoint_classifier.hdf5", tmp_path / "into", data, program=False)
    (scores,) = loaded["reference"].values()
    assert (scores[:, 0].argmax(1) == data["labels"]).mean() > 0.95
