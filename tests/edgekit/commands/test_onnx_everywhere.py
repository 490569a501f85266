"""Every source to every target: one small network of each, in one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conversion import Run

from edgekit import registry
from edgekit.capabilities import Way, capabilities

PLACES = Path(__file__).parents[2]
sys.path += [str(PLACES / "converters"), str(PLACES / "models")]

CODE = """\
import jax.numpy as jnp
import numpy as np

W = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")

def net(x):
    return jnp.tanh(x @ W)
"""


def huggingface(folder: Path) -> tuple[str, ...]:
    pytest.importorskip("transformers", reason="needs the extra huggingface")
    from huggingface_folders import Folders

    return (str(Folders(folder).module.distilbert(folder / "text", layers=1)),)


def jax(folder: Path) -> tuple[str, ...]:
    pytest.importorskip("jax", reason="needs the extra jax")
    (folder / "net.py").write_text(CODE)
    return f"{folder / 'net.py'}:net", "--input", "x=1,4"


def keras(folder: Path) -> tuple[str, ...]:
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
    import keras as library

    given = library.Input((8, 8, 3), name="image")
    value = library.layers.Conv2D(4, 3, 2, padding="same", activation="relu")(given)
    value = library.layers.Dense(3, name="scores")(library.layers.GlobalAveragePooling2D()(value))
    library.Model(given, value).save(folder / "net.keras")
    return (str(folder / "net.keras"),)


def onnx(folder: Path) -> tuple[str, ...]:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from onnx import helper
    from onnx_models import model, saved

    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], "conv", auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["scores"], "flatten"),
    ]
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto = model(nodes, {"image": (1, 3, 8, 8)}, ["scores"], {"w": weights})
    return (str(saved(proto, folder / "net.onnx")),)


def pytorch(folder: Path) -> tuple[str, ...]:
    return ("net.pt2",)  # of the fixture ``files``


def tensorflow(folder: Path) -> tuple[str, ...]:
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
    import saved_models

    saved_models.save_two(folder / "two")
    return (str(folder / "two"),)


def tflite(folder: Path) -> tuple[str, ...]:
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    from tflite_files import Builder

    file, generator = Builder(), np.random.default_rng(0)
    ends = file.tensor("features", [1, 6]), file.tensor("scores", [1, 5])
    file.dense(*ends, generator.standard_normal((5, 6)).astype(np.float32), np.ones(5, np.float32), relu=False)
    file.write(folder / "net.tflite", [ends[0]], [ends[1]])
    return (str(folder / "net.tflite"),)


MODELS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "huggingface": huggingface,
    "jax": jax,
    "keras": keras,
    "onnx": onnx,
    "pytorch": pytorch,
    "tensorflow": tensorflow,
    "tflite": tflite,
}
"""What makes a model of each source: the words that name it on the command line."""

SCHEMES = ("float32", "int8")
LEAST_DB = {"huggingface": 80.0}
"""Sums in another order, times the scores of attention."""


def ways(source: str) -> list[Way]:
    """To every target but the source's own format, which a float file is in already."""
    form = registry.sources()[source].form
    own = {name for name, target in registry.targets().items() if target.form == form}
    return [
        way for way in capabilities().ways if way.form == form and way.target not in own and way.scheme in SCHEMES
    ]  # fmt: skip


def test_every_source_has_a_model() -> None:
    assert set(MODELS) == set(registry.sources())


@pytest.mark.parametrize("source", MODELS)
def test_every_target_has_a_way(source: str) -> None:
    assert {(way.target, way.scheme) for way in ways(source) if way.steps is None} == set()
    assert len(ways(source)) >= len(SCHEMES) * (len(registry.targets()) - 1)


@pytest.mark.parametrize("source", MODELS)
def test_to_every_target(source: str, run: Run, tmp_path: Path) -> None:
    missing = {package for way in ways(source) for package in way.missing}
    if missing:
        pytest.skip(f"needs {', '.join(sorted(missing))}")
    done = run(*MODELS[source](tmp_path), "--json", to="all")
    assert done.code == 0, done.err
    made = {item["target"]: item for item in json.loads(done.out)["artifacts"]}
    assert set(made) == {way.target for way in ways(source)}
    for item in made.values():
        assert Path(item["path"]).stat().st_size == item["size_bytes"]
        assert (item["scheme"], item["verification"]["status"]) == ("float32", "passed")
        for output in item["verification"]["outputs"]:
            assert output["sqnr_db"] is None or output["sqnr_db"] >= LEAST_DB.get(source, 100.0)
