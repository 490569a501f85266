"""What a Keras configuration would run or import, found before Keras sees it.

A configuration is a tree in which each object names its class. Only what Keras itself offers for building networks is
taken: layers, models, operations, initializers and the like. All else is code, either of the file (Python bytecode of a
Lambda) or of its author (classes and functions that are not in the file).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import EdgekitError, UnsupportedError, UntrustedError

_DATA = frozenset(
    "__keras_tensor__ __tensor__ __numpy__ __bytes__ __ellipsis__ __slice__ __tuple__ TensorShape".split()
)
_CODE = "__lambda__"
_PUBLIC = (
    "keras", "keras.layers", "keras.models", "keras.initializers", "keras.regularizers", "keras.constraints",
    "keras.dtype_policies", "keras.quantizers",
)  # fmt: skip
_FUNCTIONS = (
    "keras.activations",
    "keras.ops",
    "keras.ops.image",
    "keras.ops.linalg",
    "keras.ops.numpy",
    "keras.ops.nn",
)
_INTERNAL = tuple(
    f"keras.src.{part}" for part in "layers models ops initializers regularizers constraints dtype_policies".split()
)
"""Where Keras keeps classes that it saves by their place: ``Functional``, the operations of ``keras.ops``."""

_OPERATIONS = ("core", "image", "linalg", "math", "nn", "numpy")

_ELSEWHERE = {
    "TFSMLayer": "runs a SavedModel that lies elsewhere",
    "TorchModuleWrapper": "unpickles a PyTorch module",
    "JaxLayer": "runs a function of JAX",
    "FlaxLayer": "runs a module of Flax",
}
_ONLY_KERAS_2 = {
    "TFOpLambda": "is a TensorFlow function that Keras 2 wrapped",
    "SlicingOpLambda": "is a slice of a tensor, as Keras 2 wrote it",
    "TensorFlowOpLayer": "is a TensorFlow operation that Keras 2 wrapped",
    "CuDNNLSTM": "is of Keras 2 on a GPU",
    "CuDNNGRU": "is of Keras 2 on a GPU",
    "LocallyConnected1D": "is not in Keras 3",
    "LocallyConnected2D": "is not in Keras 3",
    "ThresholdedReLU": "is not in Keras 3",
    "DenseFeatures": "is not in Keras 3",
}
_TEXT = ("StringLookup", "TextVectorization")


@dataclass(frozen=True)
class Finding:
    """Something that is no plain part of Keras.

    Attributes:
        kind: ``code`` that the file holds, ``custom`` objects that it only names, or what edgekit has no way for.
        name: Of the class or function.
        where: The layer that it is in.
        why: What it is, where ``kind`` is ``unsupported``.
    """

    kind: Literal["code", "custom", "unsupported"]
    name: str
    where: str
    why: str = ""


Known = Callable[[str], bool]
"""Whether a custom name has been provided."""


def findings(config: dict[str, Any], known: Known = lambda name: False) -> list[Finding]:
    """All of them, in the order of the layers, each once."""
    return list(dict.fromkeys(_walk(config, "", known)))


def check(path: Path, found: Iterable[Finding], *, trust: bool) -> None:
    """Refuse what may not, or cannot, be built.

    Raises:
        UntrustedError: Names the layers, and what would allow them.
        UnsupportedError: Keras 3, or an edge runtime, has nothing like them.
    """
    items = list(found)
    custom = [item for item in items if item.kind == "custom"]
    code = [item for item in items if item.kind == "code" and not trust]
    if custom or code:
        raise _untrusted(path, code, custom, trust)
    unsupported = [item for item in items if item.kind == "unsupported"]
    if unsupported:
        raise _unsupported(path, unsupported)


def _untrusted(path: Path, code: list[Finding], custom: list[Finding], trust: bool) -> EdgekitError:
    said, hints = [], []
    if code:
        said.append(f"it holds Python code that loading would run, in {_listed(item.where for item in code)}")
        hints.append("--trust runs that code: use it for files that you made yourself.")
    if custom:
        names = _listed(item.name for item in custom)
        places = _listed(item.where for item in custom)
        said.append(f"{names} {'is' if len({item.name for item in custom}) == 1 else 'are'} not Keras's, in {places}")
        name = custom[0].name.rpartition(">")[2]
        hints.append(
            f"--model FILE.py:{name} imports the file that defines {names}"
            + (" (--trust alone does not help: they are not in the model file)." if trust else ".")
        )
    hints.append("Or --model FILE.py:NAME with a function that builds the network: the weights alone are read then.")
    return UntrustedError(f"{path}: {'; and '.join(said)}.", hint="\n".join(hints))


def _unsupported(path: Path, found: list[Finding]) -> EdgekitError:
    listed = _listed(f"{item.where}, which {item.why}" for item in found)
    text = all(item.name in _TEXT for item in found)
    hint = (
        "Edge runtimes take numbers: look tokens up before the model, and save the part of it behind that."
        if text
        else "--model FILE.py:NAME with a function that builds the same network of Keras 3 layers: the weights alone "
        "are read then."
    )
    return UnsupportedError(f"{path}: there is no way for {listed}.", hint=hint)


def _listed(words: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(words))
    return ", ".join(distinct[:8]) + (f" and {len(distinct) - 8} more" if len(distinct) > 8 else "")


def _walk(node: Any, where: str, known: Known) -> Iterator[Finding]:
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, where, known)
        return
    if not isinstance(node, dict):
        return
    name = node.get("class_name")
    inner = node.get("config")
    if name is None:
        yield from _members(node, where, known)
        return
    here = _label(node, where)
    if name in _DATA:
        yield from _members(node, here, known)
    elif name == _CODE:
        yield Finding("code", _CODE, here)
    elif name == "function":
        if not _is_own_function(node) and not _provided(node, known):
            yield Finding("custom", _custom_name(node), here)
    elif _provided(node, known):
        yield from _walk(inner, here, known)
    elif not isinstance(name, str) or not _is_own_class(name, node.get("module")):
        yield _foreign(node, here)
        yield from _walk(inner, here, known)
    elif name == "Lambda":
        yield from _lambda(inner, here, known)
    else:
        if name in _TEXT:
            yield Finding("unsupported", name, here, "takes text")
        if not _registered_as_own(node, name):
            yield Finding("custom", str(node.get("registered_name")), here)
        if isinstance(inner, dict):
            yield from _activations(inner, here, known)
        yield from _members({key: value for key, value in node.items() if key != "class_name"}, here, known)


def _members(node: dict[str, Any], where: str, known: Known) -> Iterator[Finding]:
    for value in node.values():
        yield from _walk(value, where, known)


def _label(node: dict[str, Any], where: str) -> str:
    """``name (Class)`` of a layer; objects inside belong to it."""
    inner = node.get("config")
    own = inner.get("name") if isinstance(inner, dict) else None
    if isinstance(own, str) and (node.get("module") or "keras.layers") not in ("keras.dtype_policies", "keras"):
        return f"{own} ({node['class_name']})"
    return where or str(node["class_name"])


def _provided(node: dict[str, Any], known: Known) -> bool:
    """Whether Keras would take an object that was provided: it looks those up first, by the name that is asked here."""
    name = _custom_name(node) if node["class_name"] == "function" else node.get("registered_name", node["class_name"])
    return isinstance(name, str) and known(name)


def _custom_name(node: dict[str, Any]) -> str:
    if node["class_name"] == "function":
        return str(node.get("config"))
    return str(node.get("registered_name") or node["class_name"])


def _foreign(node: dict[str, Any], where: str) -> Finding:
    name = str(node["class_name"])
    for words in (_ELSEWHERE, _ONLY_KERAS_2):
        if name in words and not node.get("registered_name"):
            return Finding("unsupported", name, where, words[name])
    return Finding("custom", _custom_name(node), where)


def _registered_as_own(node: dict[str, Any], name: str) -> bool:
    """Keras's own classes are not registered; a file that says otherwise means another class."""
    said = node.get("registered_name")
    return said is None or said == name or said == node.get("class_name")


def _lambda(inner: Any, where: str, known: Known) -> Iterator[Finding]:
    """A Lambda: bytecode in the layout of Keras 2 or 3, or the name of a function."""
    config = inner if isinstance(inner, dict) else {"function": inner}
    for key in ("function", "output_shape", "mask"):
        value = config.get(key)
        if isinstance(value, list) and any(isinstance(item, str) for item in value):
            yield Finding("code", _CODE, where)
        elif isinstance(value, str) and key == "function":
            if config.get("function_type") == "lambda":
                yield Finding("code", _CODE, where)
            elif not known(value):
                yield Finding("custom", value, where)
        elif isinstance(value, str) and config.get(f"{key}_type") in ("lambda", "function"):
            yield Finding("code", _CODE, where)
        else:
            yield from _walk(value, where, known)
    yield from _walk(config.get("arguments"), where, known)


def _activations(inner: dict[str, Any], where: str, known: Known) -> Iterator[Finding]:
    """Functions that are named by a word alone."""
    import keras

    for key, value in inner.items():
        named = key.endswith("activation") and isinstance(value, str) and not known(value)
        if named and not inspect.isfunction(getattr(keras.activations, value, None)):
            yield Finding("custom", value, where)


def _is_own_function(node: dict[str, Any]) -> bool:
    import keras

    name, module = node.get("config"), node.get("module")
    if not isinstance(name, str):
        return False
    if module == "builtins":
        return inspect.isfunction(getattr(keras.activations, name, None))
    if module not in _FUNCTIONS:
        return False
    return inspect.isfunction(getattr(_module(str(module)), name, None))


def _is_own_class(name: str, module: Any) -> bool:
    """Whether Keras would find a class of its own, of a kind that builds networks."""
    if module is None:  # the layout of Keras 2
        if name in ("Functional", "Model", "Sequential", "Policy"):
            return True
        return any(_is_building(getattr(_module(place), name, None)) for place in _PUBLIC) or bool(
            operation_module(name)
        )
    if not isinstance(module, str) or name in _ELSEWHERE:
        return False
    if module in _PUBLIC:
        return _is_building(getattr(_module(module), name, None))
    return name.isidentifier() and any(module == place or module.startswith(place + ".") for place in _INTERNAL)


def operation_module(name: str) -> str:
    """Where Keras 3 keeps an operation of ``keras.ops``; empty if it has none of that name.

    HDF5 files do not say it.
    """
    import keras

    for part in _OPERATIONS:
        place = f"keras.src.ops.{part}"
        found = getattr(importlib.import_module(place), name, None)
        if isinstance(found, type) and issubclass(found, keras.Operation) and found.__module__ == place:
            return place
    return ""


def _is_building(found: Any) -> bool:
    import keras

    kinds = (
        keras.Operation, keras.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint,
        keras.DTypePolicy, keras.dtype_policies.DTypePolicyMap, keras.quantizers.Quantizer,
    )  # fmt: skip
    return isinstance(found, type) and issubclass(found, kinds) and found.__name__ not in _ELSEWHERE


def _module(place: str) -> Any:
    """One of the modules named above; never one that a file names."""
    import keras

    found: Any = keras
    for part in place.split(".")[1:]:
        found = getattr(found, part, None)
    return found
