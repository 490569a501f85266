"""What older versions of Keras wrote otherwise, rewritten for Keras 3: in a copy of the configuration, never silently.

A setting that Keras 3 does not know is left out where its value changes nothing, and is refused otherwise. What
only training reads is left out where Keras 3 would stumble over it.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.keras import trust
from edgekit.errors import ConversionError

HARD_SIGMOID = "keras2_hard_sigmoid"
"""Keras 2's is ``0.2 x + 0.5`` and Keras 3's ``x / 6 + 0.5``, under one name."""

_ANY = object()
_NO_OPS: dict[str, tuple[Any, ...]] = {
    "groups": (1, None),
    "time_major": (False,),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (_ANY,),
    "fused": (_ANY,),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "implementation": (_ANY,),
    "input_length": (_ANY,),
    "experimental_run_tf_function": (_ANY,),
    "dynamic": (False,),
    "ragged": (False,),
    "sparse": (False,),
    "output_padding": (None,),
    "unit_forget_bias": (_ANY,),
    "zero_output_for_mask": (False,),
    "keepdims": (False,),
    "crop_to_aspect_ratio": (False,),
    "force_generator": (_ANY,),
    "rng_type": (_ANY,),
    "seed_generator": (_ANY,),
    "sync_replicas": (_ANY,),
    "build_input_shape": (_ANY,),
    "is_graph_network": (_ANY,),
}
"""Settings by name, and the values with which they change nothing in a run. Some layers of Keras 3 still have some of
them; it is only asked for those that do not."""

_HANDLED = frozenset("batch_input_shape input_shape input_dim shared_object_id".split())
_HANDLED_BY = {"Embedding": ("input_length",), "GRU": ("implementation",), "LSTM": ("implementation",)}
"""Settings that Keras 3 takes where no signature shows it: of all layers, and of some."""

_TRAINING = ("_initializer", "_regularizer", "_constraint")
_OLD_MODULES = ("keras.engine.", "keras.src.engine.", "tensorflow.python.keras.", "tensorflow.keras.", "tf_keras.")
_OLD_LAYERS = ("keras.layers.", *_OLD_MODULES)


@dataclass
class _Changes:
    """What was changed, by what is said of it, and in how many places."""

    said: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        return [f"{text} ({count} {'place' if count == 1 else 'places'})." for text, count in self.said.items()]


def migrated(
    config: dict[str, Any], *, major: int, path: Path, custom: Callable[[str], bool]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """A configuration that Keras 3 takes.

    Args:
        config: As the file has it; it is left alone.
        major: Version of Keras that wrote it.
        path: Of the file, for messages.
        custom: Whether a name is that of an object that ``--model`` brought: those are left alone.

    Returns:
        The configuration, a note on each kind of change, and the settings that no signature of Keras 3 shows and that
        are not known to change nothing: they are left in, for Keras to take or to refuse.

    Raises:
        ConversionError: It is no configuration.
    """
    changes = _Changes()
    found = copy.deepcopy(config)
    try:
        _visit(found, major, changes, custom)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ConversionError(
            f"{path}: its configuration makes no sense ({type(error).__name__}: {error}).",
            hint="Copy or download it again, or name what builds the network: --model FILE.py:NAME",
        ) from error
    return found, changes.notes(), changes.unknown


def _visit(node: Any, major: int, changes: _Changes, custom: Callable[[str], bool]) -> None:
    if isinstance(node, list):
        for item in node:
            _visit(item, major, changes, custom)
        return
    if not isinstance(node, dict):
        return
    if isinstance(node.get("class_name"), str):
        _object(node, major, changes, custom)
    for value in node.values():
        _visit(value, major, changes, custom)


def _object(node: dict[str, Any], major: int, changes: _Changes, custom: Callable[[str], bool]) -> None:
    node.pop("compile_config", None)  # losses, metrics and optimizers; without them nothing is compiled
    if any(custom(str(node.get(key))) for key in ("class_name", "registered_name")):
        return
    _move(node, changes)
    name, inner = node["class_name"], node.get("config")
    if name == "Sequential":
        _sequential(node, inner)
        inner = node["config"]
    if not isinstance(inner, dict):
        return
    _dtype(inner, changes)
    cls = _layer_class(name)
    if cls is None or str(node.get("module")).startswith("keras.src.ops."):
        return
    if major < 3:
        _hard_sigmoid(inner, changes)
    _training(inner, changes)
    for within in ("layer", "backward_layer", "cell"):  # a shape for the input of a layer that has none of its own
        wrapped = inner.get(within)
        if isinstance(wrapped, dict) and isinstance(wrapped.get("config"), dict):
            wrapped["config"].pop("batch_input_shape", None)
    _settings(cls, name, inner, changes)


def _move(node: dict[str, Any], changes: _Changes) -> None:
    """Classes that Keras has moved since."""
    module, name = node.get("module"), node["class_name"]
    if "module" not in node and "inbound_nodes" in node and (_layer_class(name) is None or _as_operation(node)):
        if place := trust.operation_module(name):
            node.update(module=place, registered_name=None)
            changes.said["Operations of keras.ops got their module, which Keras leaves out of HDF5 files"] += 1
        return
    if not isinstance(module, str):
        return
    if module.startswith(_OLD_MODULES) and name in ("Functional", "Model", "Sequential"):
        place = {"Functional": "keras.src.models.functional"}.get(name, "keras")
        node.update(module=place, registered_name=name if name == "Functional" else None)
        changes.said[f"{module} of an older Keras is {place} now"] += 1
    elif module.startswith(_OLD_LAYERS) and _layer_class(name) is not None:
        node.update(module="keras.layers", registered_name=None)
        changes.said[f"{module} of an older Keras is keras.layers now"] += 1


def _as_operation(node: dict[str, Any]) -> bool:
    """Whether a name that both a layer and an operation have (``Add``) is called with values side by side."""
    nodes = node["inbound_nodes"]
    first = nodes[0] if isinstance(nodes, list) and nodes else None
    return isinstance(first, dict) and isinstance(first.get("args"), list) and len(first["args"]) > 1


def _sequential(node: dict[str, Any], inner: Any) -> None:
    """The list of layers of the oldest files; and the input of files that gave its shape to the first layer."""
    if isinstance(inner, list):
        node["config"] = inner = {"name": "sequential", "layers": inner}
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(layers, list) or not layers or "module" in layers[0]:
        return
    first = layers[0].get("config")
    if layers[0].get("class_name") in ("InputLayer", "Sequential", "Functional", "Model") or not isinstance(
        first, dict
    ):
        return
    shape = first.pop("batch_input_shape", None)
    if shape is not None:
        # The name that Keras 2 gave to this input.
        settings = {"batch_shape": shape, "dtype": _input_dtype(layers[0]), "name": f"{first.get('name', 'x')}_input"}
        layers.insert(0, {"class_name": "InputLayer", "config": settings})


def _input_dtype(layer: dict[str, Any]) -> str:
    dtype = layer["config"].get("dtype")
    return dtype if isinstance(dtype, str) and layer["class_name"] != "Embedding" else "float32"


def _dtype(inner: dict[str, Any], changes: _Changes) -> None:
    """The mixed precision of Keras 2."""
    dtype = inner.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") in ("Policy", "PolicyV1") and "module" not in dtype:
        inner["dtype"] = dtype.get("config", {}).get("name", "float32")
        changes.said["A dtype policy of Keras 2 is one of Keras 3 now"] += 1


def _hard_sigmoid(inner: dict[str, Any], changes: _Changes) -> None:
    for key in [key for key in inner if key.endswith("activation")]:
        value = inner[key]
        named = value.get("config") if isinstance(value, dict) and value.get("class_name") == "function" else value
        if named == "hard_sigmoid":
            inner[key] = HARD_SIGMOID
            changes.said["hard_sigmoid computes as in Keras 2, 0.2 x + 0.5, and not as in Keras 3"] += 1


def _training(inner: dict[str, Any], changes: _Changes) -> None:
    """Initializers, regularizers and constraints that Keras 3 would not build; a run needs none of them."""
    for key in [key for key in inner if key.endswith(_TRAINING)]:
        if not _builds(inner[key]):
            del inner[key]
            changes.said[f"{key.rpartition('_')[2].capitalize()}s that Keras 3 does not know are left out: they are "
                         "for training"] += 1  # fmt: skip


def _builds(value: Any) -> bool:
    """Whether Keras 3 has this initializer, regularizer or constraint, with these settings."""
    import keras

    places = (keras.initializers, keras.regularizers, keras.constraints)
    if not isinstance(value, dict):
        return value is None or any(hasattr(place, str(value)) for place in places)
    name, inner = value.get("class_name"), value.get("config")
    cls = next((found for place in places if isinstance(found := getattr(place, str(name), None), type)), None)
    if cls is None or not isinstance(inner, dict):
        return False
    if "module" in value:
        return value["module"] in tuple(place.__name__.replace("keras.api", "keras") for place in places)
    if name == "VarianceScaling" and inner.get("distribution") == "normal":
        return False
    return set(inner) <= set(inspect.signature(cls).parameters)


def _settings(cls: type, name: str, inner: dict[str, Any], changes: _Changes) -> None:
    """Settings that the layer of Keras 3 does not have."""
    taken = _taken(cls) | set(_HANDLED_BY.get(name, ()))
    if name == "BatchNormalization" and isinstance(inner.get("axis"), list) and len(inner["axis"]) == 1:
        inner["axis"] = inner["axis"][0]  # Keras 3 does the same, but not for layers within layers
    for key in [key for key in inner if key not in taken]:
        value = inner[key]
        if any(no_op is _ANY or (no_op == value and type(no_op) is type(value)) for no_op in _NO_OPS.get(key, ())):
            del inner[key]
            changes.said[f"{name}: the setting {key}={value!r}, which changes nothing, is left out"] += 1
        else:
            changes.unknown.append(f"{key}={value!r} of {inner.get('name', name)} ({name})")


def _taken(cls: type) -> set[str]:
    """The settings that a class takes, those of its bases included as long as it hands them on."""
    found = set(_HANDLED)
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {item.name for item in parameters}
        if not any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters):
            break
    return found


def _layer_class(name: str) -> type | None:
    """The layer of Keras 3 with that name; none for models, whose settings are structure."""
    import keras

    found = getattr(keras.layers, name, None)
    return found if isinstance(found, type) and issubclass(found, keras.Layer) else None
