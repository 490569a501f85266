"""From a file of any PyTorch kind to something that runs."""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from converters import user_code
from converters.pytorch import archives, kinds, weights
from converters.pytorch.kinds import Kind
from converters.torch_export import program as programs
from edgekit.errors import ConversionError, MissingDependencyError, UntrustedError, UsageError, first_line


@dataclass
class Network:
    """A model that runs, and what its file said about it.

    Attributes:
        kind: Of the file, in words.
        run: Callable on the inputs: an ``nn.Module``, a ``ScriptModule``, or the module of a program.
        exported: The exported program, where the file holds one.
        scripted: Whether ``run`` is TorchScript.
        args, kwargs: Example inputs from the file, or ``None``.
        notes: What a user should know.
    """

    kind: str
    run: Any
    exported: Any = None
    scripted: bool = False
    args: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class WeightsAloneError(UsageError):
    """A file that holds weights and no network, met without ``--model``.

    Attributes:
        state: Name to tensor.
    """

    def __init__(self, state: dict[str, Any], message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.state = state

    def to_json(self) -> dict[str, Any]:
        """As a plain usage error: this class is not known outside the child."""
        return {**super().to_json(), "error": UsageError.__name__}


def read(path: Path, *, model_code: str | None, trust: bool) -> Network:
    """Read a PyTorch file; call inside :func:`converters.user_code.user_imports`.

    Args:
        path: The file.
        model_code: ``--model``, or ``None``.
        trust: Whether pickled code may run.

    Raises:
        UntrustedError: The file would run code.
        UsageError: ``--model`` is needed, or of no use.
        ConversionError: The file is damaged, or the user's code failed.
    """
    kind = kinds.identify(path)
    if kind is None:
        raise ConversionError(f"{path}: not a PyTorch file.")
    if kind in (Kind.PT2, Kind.TORCHSCRIPT, Kind.SAVED):
        archives.check(path)
    readers: dict[Kind, Callable[[], Network]] = {
        Kind.PT2: lambda: _read_program(path, trust),
        Kind.TORCHSCRIPT: lambda: _read_torchscript(path, trust),
        Kind.SAVED: lambda: _read_saved(path, kind, model_code, trust),
        Kind.LEGACY: lambda: _read_saved(path, kind, model_code, trust),
        Kind.PICKLE: lambda: _read_pickle(path, model_code, trust),
        Kind.SAFETENSORS: lambda: _read_safetensors(path, model_code),
    }
    network = readers[kind]()
    if model_code is not None and kind in (Kind.PT2, Kind.TORCHSCRIPT):
        network.notes.append(f"--model {model_code} was not used: the file holds the whole network.")
    return network


def _read_program(path: Path, trust: bool) -> Network:
    import torch

    if not trust:
        archives.check_program(path)
        # torch.export.load falls back to unpickling anything; this switch of torch.load's forbids it.
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        programs.register_operators(path)
        exported = torch.export.load(path)
    except pickle.UnpicklingError as error:
        raise _untrusted(path, error) from error
    except MissingDependencyError:
        raise
    except Exception as error:  # the deserializer raises whatever the damaged place leads to
        raise ConversionError(
            f"{path}: torch {torch.__version__} cannot load this program: {first_line(error)}",
            hint="Programs load best with the torch release that saved them: export it again with this one.",
        ) from error
    finally:
        os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)
    refuse_training_mode(exported, path)
    args, kwargs = exported.example_inputs or (None, {})
    module = exported.module(check_guards=False)
    return Network(Kind.PT2, module, exported=exported, args=args, kwargs=dict(kwargs))


def refuse_training_mode(exported: Any, path: Path) -> None:
    """Batch statistics and dropout would make every run another one.

    Raises:
        ConversionError: The program was exported or traced in training mode.
    """
    positions = {"aten.batch_norm.default": 5, "aten.dropout.default": 2}
    for node in exported.graph.nodes:
        position = positions.get(str(node.target))
        if position is not None and len(node.args) > position and node.args[position] is True:
            raise ConversionError(
                f"{path}: the program was exported in training mode ({node.target}).",
                hint="Call model.eval() before torch.export.export or torch.jit.trace.",
            )


def _read_torchscript(path: Path, trust: bool) -> Network:
    import torch

    if not trust:
        archives.check_script(path)
    try:
        module = torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise ConversionError(f"{path}: torch cannot load this TorchScript archive: {first_line(error)}") from error
    return Network(Kind.TORCHSCRIPT, module, scripted=True, args=_traced_inputs(path))


def _traced_inputs(path: Path) -> tuple[Any, ...] | None:
    """Tensors shaped like the inputs that a module was traced with, or ``None`` for a scripted one.

    The archive carries their shapes and dtypes, without the values, and torch.jit.load leaves them behind. They are
    read with torch's own restricted unpickler, as torch.load(weights_only=True) does.
    """
    import torch
    import torch.jit._pickle as tags
    from torch import _weights_only_unpickler as unpickler

    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if name.endswith("/traced_inputs.pkl")), None)
        if name is None:
            return None
        content = io.BytesIO(archive.read(name))

    def blank_storage(identifier: tuple[Any, ...]) -> Any:
        _, kind, _, _, count = identifier
        size = torch._utils._element_size(kind.dtype)
        blank = torch.UntypedStorage(count * size)
        blank.fill_(0)
        return torch.storage.TypedStorage(wrap_storage=blank, dtype=kind.dtype, _internal=True)

    reader = unpickler.Unpickler(content, encoding="utf-8")
    reader.persistent_load = blank_storage
    # TorchScript's pickler tags containers; the functions that restore them only build lists and drop the tags.
    with torch.serialization.safe_globals([item for item in vars(tags).values() if callable(item)]):
        inputs = reader.load().get("forward")
    if inputs is None:
        return None
    return tuple(torch.randn_like(item) if _is_float(item) else item for item in inputs)


def _is_float(value: Any) -> bool:
    return hasattr(value, "dtype") and bool(value.dtype.is_floating_point)


def _read_saved(path: Path, kind: Kind, model_code: str | None, trust: bool) -> Network:
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            raise _untrusted(path, error) from error
        loaded = _unpickle_trusted(path, model_code, lambda: torch.load(path, map_location="cpu", weights_only=False))
    except Exception as error:  # the unpickler raises whatever the damaged place leads to
        raise ConversionError(
            f"{path}: torch.load cannot read it: {first_line(error)}",
            hint="Copy or download it again and compare the size.",
        ) from error
    if isinstance(loaded, torch.nn.Module):
        return Network(kind, loaded.eval())
    state, key = weights.find_state_dict(loaded, str(path))
    notes = [f"The weights were under {key!r}."] if key else []
    return _with_weights(path, kind, state, model_code, notes)


def _numpy_scalars() -> list[Any]:
    """What it takes to restore NumPy numbers, which checkpoints hold beside the weights: ``best_acc``, ``loss``.

    A dtype and a function that fills one number of it with bytes; no arrays, no objects.
    """
    restore: Any = np.float64(0).__reduce__()[0]
    numbers = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
    return [
        (restore, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
        (restore, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(name)) for name in numbers),
    ]


def _unpickle_trusted(path: Path, model_code: str | None, load: Callable[[], Any]) -> Any:
    """Unpickle with the names of ``--model`` in ``__main__``, where classes of the script that saved it are looked up.

    Raises:
        ConversionError: User code raised, or a class was not found.
    """
    main = sys.modules["__main__"]
    stand_in = sys.modules["__main__"] = ModuleType("__main__")
    if model_code:
        module, _ = user_code.import_code(model_code)
        vars(stand_in).update({n: v for n, v in vars(module).items() if not n.startswith("__")})
    try:
        return user_code.guarded(f"{path}: unpickling it", load)
    except ConversionError as error:
        missing = re.search(r"attribute '(\w+)' on <module '__main__'", error.message)
        if missing is None:
            raise
        raise ConversionError(
            f"{path}: {missing[1]} was defined in the script that saved the file"
            + (f", and --model {model_code} does not have it." if model_code else ", which is not known here."),
            hint=f"--model FILE.py:{missing[1]}   (the script, or another file that defines it)",
        ) from error
    finally:
        sys.modules["__main__"] = main


def _read_pickle(path: Path, model_code: str | None, trust: bool) -> Network:
    if not trust:
        raise _untrusted(path, None)

    def unpickle() -> Any:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301 - the user said --trust

    loaded = _unpickle_trusted(path, model_code, unpickle)
    import torch

    if isinstance(loaded, torch.nn.Module):
        return Network(Kind.PICKLE, loaded.eval())
    state, _ = weights.find_state_dict(loaded, str(path))
    return _with_weights(path, Kind.PICKLE, state, model_code, [])


def _read_safetensors(path: Path, model_code: str | None) -> Network:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ConversionError(f"{path}: not a complete safetensors file: {error}", hint="Copy it again.") from error
    return _with_weights(path, Kind.SAFETENSORS, state, model_code, [])


def _with_weights(path: Path, kind: Kind, state: dict[str, Any], model_code: str | None, notes: list[str]) -> Network:
    import torch

    if model_code is None:
        count = sum(item.numel() for item in state.values())
        raise WeightsAloneError(
            state,
            f"{path}: weights alone ({len(state)} tensors, {count:,} numbers: {', '.join(list(state)[:3])}, …); "
            "the network they belong to is needed.",
            hint=f"edgekit convert {path.name} --model FILE.py:NAME   (a class or function that returns the network)",
        )
    module = user_code.build(model_code)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"--model {model_code}: returned a {type(module).__name__}, not a torch.nn.Module.",
            hint="Name the class of the network, or a function that returns an instance.",
        )
    notes += weights.load_into(module, state, str(path), model_code)
    return Network(kind, module.eval(), notes=notes)


def _untrusted(path: Path, error: Exception | None) -> UntrustedError:
    """Names what would have run."""
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            needs = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the old format cannot be scanned, a plain pickle neither
        needs = []
    needs = needs or re.findall(r"(?:GLOBAL |but got <class ')([\w.]+)", str(error))
    what = f" ({', '.join(needs[:5])})" if needs else ""
    return UntrustedError(
        f"{path}: a pickle that needs code of its own{what}. Loading it would run that code; nothing was run.",
        hint="Add --trust if you know where the file comes from; "
        "or save the weights alone: torch.save(model.state_dict(), 'weights.pt').",
    )
