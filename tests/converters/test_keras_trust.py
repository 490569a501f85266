"""Nothing within a Keras file runs, and nothing is imported for it, unless a user said so."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_files
import numpy as np
import pytest

from converters.keras import trust
from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, UntrustedError, UsageError

keras = pytest.importorskip("keras", reason="needs the extra tensorflow")

MARKER = "ran.txt"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that leaves a file when it is imported; what runs leaves one as well."""
    (tmp_path / "evil.py").write_text(f"open({MARKER!r}, 'w').close()\nclass Evil: pass\ndef evil(x): return x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def lambda_model() -> Any:
    given = keras.Input((4,), name="x")
    code = keras.layers.Lambda(
        lambda x: (__import__("pathlib").Path("ran.txt").touch(), x * 2)[1], name="double", output_shape=(4,)
    )
    return keras.Model(given, keras.layers.Dense(2, name="head")(code(given)))


@pytest.fixture
def dense(here: Path) -> Callable[[str], Path]:
    """A harmless file to put payloads in."""

    def save(suffix: str) -> Path:
        model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2, name="head")])
        model.save(here / f"dense{suffix}")
        return here / f"dense{suffix}"

    return save


def refused(path: Path, *said: str, error: type[EdgekitError] = UntrustedError, **options: Any) -> EdgekitError:
    """Reading and inspecting say no, and nothing ran."""
    for job in (
        lambda: keras_files.load(path, path.parent / "into", **options),
        lambda: keras_files.inspect(path, **options),
    ):
        Path(MARKER).unlink(missing_ok=True)
        with pytest.raises(error) as caught:
            job()
        assert not Path(MARKER).exists()
        for part in said:
            assert part in caught.value.message + caught.value.hint
    return caught.value


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_runs_with_trust_alone(here: Path, lambda_model: Any, suffix: str) -> None:
    path = here / f"lambda{suffix}"
    lambda_model.save(path)
    error = refused(path, "Python code", "double (Lambda)", "--trust", "--model FILE.py:NAME")
    assert error.exit_code == 9
    loaded = keras_files.load(path, here / "trusted", trust=True)
    assert Path(MARKER).exists()
    np.testing.assert_allclose(keras_files.program_outputs(loaded)["head"], loaded["reference"]["head"], rtol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_weights_go_into_a_network_that_the_user_builds(here: Path, lambda_model: Any, suffix: str) -> None:
    path = here / f"lambda{suffix}"
    lambda_model.save(path)
    (here / "net.py").write_text(
        "import keras\n"
        "def build():\n"
        "    x = keras.Input((4,), name='x')\n"
        "    return keras.Model(x, keras.layers.Dense(2, name='head')(x * 2))\n"
    )
    Path(MARKER).unlink(missing_ok=True)
    loaded = keras_files.load(path, here / "into", model_code="net.py:build")
    assert not Path(MARKER).exists()
    assert any("gave its weights alone" in note for note in loaded["notes"])
    expected = lambda_model.predict(loaded["feeds"]["x"][:, 0], verbose=0)
    np.testing.assert_allclose(loaded["reference"]["head"][:, 0], expected, rtol=1e-5)


KERAS_2_LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "old", "function": ["4wEAAAAAAAA=\n", None, None], "function_type": "lambda", "arguments": {}},
}
OBJECTS: dict[str, Any] = {
    "function of a module": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    "function of a file": {"module": "evil", "class_name": "function", "config": "evil", "registered_name": "evil"},
    "class of a file": {"module": "evil", "class_name": "Evil", "config": {}, "registered_name": "Evil"},
    "class of another package": {"module": "keras_hub.models", "class_name": "Backbone", "config": {}},
    "bytecode": {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAA=", "defaults": None, "closure": None}},
    "type": {
        "class_name": "__typespec__",
        "spec_name": "Evil",
        "module": "evil",
        "registered_name": None,
        "config": [],
    },
    "type of TensorFlow": {"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []},
    "loader": {"module": "keras.saving", "class_name": "function", "config": "load_model", "registered_name": None},
    "download": {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": None},
    "module of Keras": {"module": "keras.src.utils.python_utils", "class_name": "func_load", "config": {}},
    "builtin": {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
    "registered as another": {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {},
        "registered_name": "my>Evil",
    },
    "lambda of Keras 2": KERAS_2_LAMBDA,
    "no text": {"module": ["evil"], "class_name": "Evil", "config": {}},
    "layer's module": {"class_name": "backend", "config": {}},
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("payload", OBJECTS)
@pytest.mark.parametrize("place", ["activation", "layer", "initializer", "inner", "build"])
def test_payloads(dense: Callable[[str], Path], suffix: str, payload: str, place: str) -> None:
    """Configurations are judged before Keras sees them, wherever in them an object stands."""
    item = copy.deepcopy(OBJECTS[payload])
    config: dict[str, Any] = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}
    head = {"class_name": "Dense", "config": {"name": "head", "units": 2}}
    if place == "layer":
        config["config"]["layers"].append(item)
    elif place == "build":
        config["build_config"] = {"input_shape": item}
    else:
        key = {"activation": "activation", "initializer": "kernel_initializer", "inner": "anything"}[place]
        head["config"][key] = [{"deep": item}] if place == "inner" else item  # type: ignore[index]
        config["config"]["layers"].append(head)
    assert [found.kind for found in trust.findings(config)] != []
    with pytest.raises(UntrustedError):
        trust.check(Path("m.keras"), trust.findings(config), trust=False)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("payload", ["function of a module", "class of a file", "bytecode", "lambda of Keras 2"])
def test_payloads_in_files(dense: Callable[[str], Path], suffix: str, payload: str) -> None:
    def plant(config: dict[str, Any]) -> None:
        keras_files.layer(config, "head")["activation"] = OBJECTS[payload]

    refused(keras_files.edit(dense(suffix), plant))


def test_custom_names_are_not_brought_by_trust(dense: Callable[[str], Path]) -> None:
    def plant(config: dict[str, Any]) -> None:
        keras_files.layer(config, "head")["activation"] = "my_swish"

    path = keras_files.edit(dense(".h5"), plant)
    refused(path, "my_swish is not Keras's, in head (Dense)", "--model FILE.py:my_swish")
    refused(path, "--trust alone does not help", trust=True)


def test_layers_that_run_what_lies_elsewhere(dense: Callable[[str], Path]) -> None:
    def plant(config: dict[str, Any]) -> None:
        config["config"]["layers"].append(
            {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"name": "t"}}
        )

    refused(keras_files.edit(dense(".keras"), plant), "t (TFSMLayer), which runs a SavedModel", error=UnsupportedError)


def test_text_is_refused_by_name(here: Path) -> None:
    given = keras.Input((1,), dtype="string", name="word")
    keras.Model(given, keras.layers.StringLookup(vocabulary=["a"], name="look")(given)).save(here / "text.keras")
    refused(here / "text.keras", "look (StringLookup), which takes text", error=UnsupportedError)


def test_a_file_on_disk_is_not_read_as_vocabulary(here: Path) -> None:
    (here / "secret.txt").write_text("1\n2\n")
    given = keras.Input((1,), dtype="int64", name="x")
    keras.Model(given, keras.layers.IntegerLookup(vocabulary=[1, 2], name="look")(given)).save(here / "look.keras")

    def plant(config: dict[str, Any]) -> None:
        keras_files.layer(config, "look")["vocabulary"] = str(here / "secret.txt")

    with pytest.raises(EdgekitError):
        keras_files.load(keras_files.edit(here / "look.keras", plant), here / "into")


CUSTOM = """\
import keras

def my_swish(x):
    return x * keras.ops.sigmoid(3 * x)

@keras.saving.register_keras_serializable("mine")
class Scale(keras.layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

class Net(keras.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation=my_swish)
        self.scale = Scale(2.0)

    def call(self, pixels, training=False):
        return self.scale(self.hidden(pixels)) + (100.0 if training else 0.0)

    def get_config(self):
        return {**super().get_config(), "units": self.units}

def build():
    return Net(5)

def wrong():
    return 3
"""


@pytest.fixture
def custom(here: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the module above defines, which this process has not imported."""
    (here / "custom.py").write_text(CUSTOM)
    names: dict[str, Any] = {"__name__": "custom"}
    exec(CUSTOM, names)  # noqa: S102
    monkeypatch.setattr("sys.modules", {k: v for k, v in __import__("sys").modules.items() if k != "custom"})
    yield names
    keras.saving.get_custom_objects().clear()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_custom_layers_and_functions(here: Path, custom: dict[str, Any], suffix: str) -> None:
    given = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(3, activation=custom["my_swish"], name="hidden")(given)
    model = keras.Model(given, custom["Scale"](2.0, name="scale")(hidden))
    model.save(here / f"m{suffix}")
    keras.saving.get_custom_objects().clear()
    refused(here / f"m{suffix}", "my_swish, mine>Scale are not Keras's, in hidden (Dense), scale")
    loaded = keras_files.load(here / f"m{suffix}", here / "into", model_code="custom.py:Scale")
    expected = model.predict(loaded["feeds"]["x"][:, 0], verbose=0)
    np.testing.assert_allclose(loaded["reference"]["scale"][:, 0], expected, rtol=1e-5)


def test_a_subclassed_model(here: Path, custom: dict[str, Any]) -> None:
    model = custom["Net"](5)
    model(np.zeros((2, 7), np.float32))
    model.save(here / "net.keras")
    keras.saving.get_custom_objects().clear()
    refused(here / "net.keras", "Net is not Keras's")
    loaded = keras_files.load(here / "net.keras", here / "into", model_code="custom.py:Net")
    assert keras_files.names(loaded) == (["pixels"], ["output"])
    assert loaded["signature"].inputs[0].shape == (1, 7)
    expected = model.predict(loaded["feeds"]["pixels"][:, 0], verbose=0)
    np.testing.assert_allclose(loaded["reference"]["output"][:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(keras_files.program_outputs(loaded)["output"], loaded["reference"]["output"])


def test_what_model_must_return(here: Path, custom: dict[str, Any], dense: Callable[[str], Path]) -> None:
    path = dense(".keras")
    refused(path, "returned a int, not a keras.Model", model_code="custom.py:wrong", error=UsageError)
    refused(path, "has no 'Nothing'", model_code="custom.py:Nothing", error=UsageError)
    (here / "broken.py").write_text("import keras\nraise ValueError('the culprit')\n")
    refused(path, "the culprit", "broken.py, line 2", model_code="broken.py:x", error=ConversionError)


def test_harmless_models_hold_nothing() -> None:
    layers = keras.layers
    given = keras.Input((8, 3), name="x")
    value = layers.Bidirectional(layers.GRU(4, return_sequences=True, activation="relu"))(given)
    value = layers.TimeDistributed(layers.Dense(4, activation=keras.activations.gelu, kernel_regularizer="l2"))(value)
    value = keras.ops.relu(layers.LayerNormalization()(value)) + 1
    model = keras.Model(given, layers.Conv1D(2, 3, dtype="mixed_float16", kernel_constraint="non_neg")(value))
    assert trust.findings(json.loads(model.to_json())) == []
