"""From a Keras file to a network that runs, with the code that a user allowed and no other."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters import user_code
from converters.keras import files, kinds, migrate, trust
from converters.keras.files import Saved
from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, UsageError, first_line
from edgekit.requests import LoadRequest

_SHOWN = 6


@dataclass
class Network:
    """A model with its weights.

    Attributes:
        saved: The file.
        model: ``keras.Model``; may still have to see its first input.
        build_config: What the file says of the shapes that it was built with.
        notes: What a user should know.
        weights_to_load: What is left to do once the model is built; ``None`` where its weights are in.
    """

    saved: Saved
    model: Any
    build_config: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    weights_to_load: Callable[[], None] | None = None


class WeightsAloneError(UsageError):
    """A file that holds weights and no network, met without ``--model``.

    Attributes:
        saved: The file.
    """

    def __init__(self, saved: Saved) -> None:
        super().__init__(
            f"{saved.path}: holds weights and no network ({len(saved.weights)} tensors, such as "
            f"{', '.join(list(saved.weights)[:3])}).",
            hint="--model FILE.py:NAME with a function that builds the network",
        )
        self.saved = saved

    def to_json(self) -> dict[str, Any]:
        """As a plain usage error: this class is not known outside the child."""
        return {**super().to_json(), "error": UsageError.__name__}


def read(request: LoadRequest) -> Network:
    """Read a file; call inside :func:`converters.user_code.user_imports`.

    Raises:
        UntrustedError: The file holds code, or names classes that are not Keras's.
        UnsupportedError: Keras 3 has no such layer or setting.
        UsageError: ``--model`` is needed, or names no model.
        ConversionError: The file is damaged, or code failed.
    """
    path = Path(request.path)
    kind = kinds.identify(path)
    if kind is None:
        raise ConversionError(f"{path}: not a Keras file.")
    saved = files.read(path, kind)
    if saved.config is None and request.model_code is None:
        raise WeightsAloneError(saved)
    objects = _custom_objects(request.model_code)
    if saved.config is None or _builds(request.model_code, saved.config):
        return _built_by_user(saved, str(request.model_code))
    return _from_file(saved, saved.config, objects, request)


def _custom_objects(model_code: str | None) -> dict[str, Any]:
    """What the module of ``--model`` brings, by name: its functions, and its classes that are Keras's children."""
    if model_code is None:
        return {}
    import keras

    module, _ = user_code.import_code(model_code)
    bases = (keras.Operation, keras.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)
    found: dict[str, Any] = {}
    for name, item in vars(module).items():
        own_class = inspect.isclass(item) and issubclass(item, bases) and not item.__module__.startswith("keras.")
        if own_class or (inspect.isfunction(item) and not item.__module__.startswith("keras.")):
            found[name] = item
    return found


def _known(name: str, objects: Mapping[str, Any]) -> bool:
    import keras

    return _bare(name) in objects or keras.saving.get_registered_object(name) is not None


def _bare(name: str) -> str:
    """The name without the package that it was registered for."""
    return name.rpartition(">")[2]


def _builds(model_code: str | None, config: dict[str, Any]) -> bool:
    """Whether ``--model`` names what builds the network, and not one of the classes that the file asks for."""
    if model_code is None:
        return False
    asked = {_bare(item.name) for item in trust.findings(config) if item.kind == "custom"}
    return user_code.split(model_code)[1] not in asked


def _from_file(saved: Saved, config: dict[str, Any], objects: dict[str, Any], request: LoadRequest) -> Network:
    import keras

    def known(name: str) -> bool:
        return name == migrate.HARD_SIGMOID or _known(name, objects)

    changed, notes, unknown = migrate.migrated(config, major=saved.major, path=saved.path, custom=known)
    trust.check(saved.path, trust.findings(changed, known), trust=request.trust)
    asked = [item.name for item in trust.findings(changed) if item.kind == "custom"]
    under_full_names = {name: objects[_bare(name)] for name in asked if _bare(name) in objects}
    own = {migrate.HARD_SIGMOID: _keras2_hard_sigmoid, **objects, **under_full_names}
    with tempfile.TemporaryDirectory() as folder:
        copy = files.write(saved, changed, Path(folder))
        with _failures(saved, request, unknown), keras.saving.custom_object_scope(own):
            model = keras.saving.load_model(copy, compile=False, safe_mode=not request.trust)
    if not isinstance(model, keras.Model):
        raise ConversionError(f"{saved.path}: holds a {type(model).__name__}, not a model.")
    build_config = changed.get("build_config")
    return Network(saved, model, build_config if isinstance(build_config, dict) else {}, notes)


def _keras2_hard_sigmoid(x: Any) -> Any:
    import keras

    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@contextmanager
def _failures(saved: Saved, request: LoadRequest, unknown: list[str]) -> Iterator[None]:
    """What Keras says when a configuration and a network do not come together."""
    try:
        yield
    except EdgekitError:
        raise
    except Exception as error:  # whatever Keras, bytecode or user code raised
        if unknown:
            raise UnsupportedError(
                f"{saved.path}: Keras 3 does not know {', '.join(unknown[:_SHOWN])}, and leaving it out may change the "
                "results.",
                hint="--model FILE.py:NAME with a function that builds the same network of Keras 3 layers: the weights "
                "alone are read then.",
            ) from error
        text = str(error)
        marker = "Exception encountered: "
        inner = text.rpartition(marker)[2].strip().splitlines() if marker in text else []
        said = inner[0][:300] if inner else first_line(error)
        code = " Bytecode needs the Python version that wrote it." if request.trust else ""
        raise ConversionError(
            f"{saved.path}: Keras cannot build this model (written by Keras {saved.version}): "
            f"{type(error).__name__}: {said}",
            hint=f"--model FILE.py:NAME with a function that builds the network; the weights alone are read.{code}",
        ) from error


def _built_by_user(saved: Saved, model_code: str) -> Network:
    import keras

    model = user_code.build(model_code)
    if not isinstance(model, keras.Model):
        raise UsageError(
            f"--model {model_code}: it returned a {type(model).__name__}, not a keras.Model.",
            hint="Name a function without arguments that returns the network, or a class that the file asks for.",
        )
    network = Network(saved, model)
    network.weights_to_load = lambda: _load_weights(saved, model, model_code)
    if saved.config is not None:
        network.notes.append(f"The network is that of --model {model_code}; the file gave its weights alone.")
    return network


def _load_weights(saved: Saved, model: Any, model_code: str) -> None:
    """Put the file's weights into a built model, all of them and no others.

    Raises:
        UsageError: They do not fit; names those on either side.
    """
    wanted = sorted(tuple(int(size) for size in item.shape) for item in model.weights)
    held = sorted(shape for shape, _ in saved.weights.values())
    problem = ""
    if wanted == held:
        with tempfile.TemporaryDirectory() as folder:
            try:
                model.load_weights(files.weights_file(saved, Path(folder)))
                return
            except ValueError as error:
                problem = f" {first_line(error)}"
    raise UsageError(
        f"{saved.path}: the weights do not fit the network of --model {model_code}.{problem}",
        hint=_differences(saved, model),
    )


def _differences(saved: Saved, model: Any) -> str:
    """Weights that one side has and the other has not, by shape."""
    held = [(name, shape) for name, (shape, _) in saved.weights.items()]
    wanted = [(item.path, tuple(int(size) for size in item.shape)) for item in model.weights]
    lines = []
    for title, mine, others in (("In the file alone", held, wanted), ("In the network alone", wanted, held)):
        left = [shape for _, shape in others]
        only = []
        for name, shape in mine:
            if shape in left:
                left.remove(shape)
            else:
                only.append(f"{name} {list(shape)}")
        if only:
            more = f" and {len(only) - _SHOWN} more" if len(only) > _SHOWN else ""
            lines.append(f"{title}: {', '.join(only[:_SHOWN])}{more}.")
    return "\n".join(lines) or "The shapes are the same and their order is not: the layers differ in name or order."
