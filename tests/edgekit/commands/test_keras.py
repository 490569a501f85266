"""``edgekit convert`` from Keras: end to end, and what stops it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check, left

pytest.importorskip("tensorflow", reason="needs the extra tensorflow")


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: a model, one with a Lambda, and weights alone."""
    import keras

    folder = tmp_path_factory.mktemp("keras")
    given = keras.Input((8, 8, 3), name="image")
    value = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(given)
    value = keras.layers.Dense(3, name="scores")(keras.layers.GlobalAveragePooling2D()(value))
    model = keras.Model(given, value)
    model.save(folder / "net.keras")
    model.save_weights(folder / "net.weights.h5")
    code = keras.layers.Lambda(lambda x: (__import__("pathlib").Path("ran.txt").touch(), x * 2)[1], name="double")
    keras.Model(given, code(value)).save(folder / "lambda.h5")
    return folder


@pytest.fixture(autouse=True)
def linked(keras_files: Path, here: Path) -> None:
    for file in keras_files.iterdir():
        (here / file.name).symlink_to(file)


def test_names_and_results(run: Run, here: Path) -> None:
    pytest.importorskip("tf2onnx", reason="needs the extra tensorflow")
    done = run("net.keras", to="onnx")
    assert done.code == 0, done.err
    signature = json.loads((here / "out" / "net.float32.onnx.json").read_text())["artifact"]["signature"]
    assert [item["name"] for item in signature["inputs"]] == ["image"]
    assert [item["name"] for item in signature["outputs"]] == ["scores"]


def test_8_bits_with_data(run: Run, here: Path) -> None:
    for package in ("litert_quantizer", "ai_edge_litert"):
        pytest.importorskip(package, reason="needs the extra tflite")
    np.savez(here / "data.npz", x=np.random.default_rng(3).standard_normal((24, 8, 8, 3), np.float32))
    done = run("net.keras", "--int8", "--data", "data.npz", to="tflite")
    assert done.code == 0, done.err
    assert "net.int8.tflite" in left(here / "out")


def test_code_in_a_file(run: Run, here: Path) -> None:
    done = run("lambda.h5", to="onnx")
    check(done, 9, "lambda.h5: it holds Python code that loading would run, in double (Lambda)", "--trust")
    assert not (here / "ran.txt").exists()


def test_weights_alone(run: Run) -> None:
    check(run("net.weights.h5", to="onnx"), 2, "holds weights and no network", "--model FILE.py:NAME")


def test_a_damaged_file(run: Run, here: Path) -> None:
    (here / "cut.keras").write_bytes((here / "net.keras").read_bytes()[:3000])
    check(run("cut.keras", to="onnx"), 5, "cut.keras: this Keras file is cut short or damaged")


def test_options_of_other_sources(run: Run) -> None:
    check(run("net.keras", "--task", "x", to="onnx"), 2, "--task does not go with a Keras model.")
