"""A JAX model from its file to a program and reference outputs, in one child.

User code runs in here, with edgekit's own packages out of sight: everything of edgekit's that is needed is imported
at the top of this file and nowhere later (see :mod:`converters.user_code`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from converters import opening, user_code
from converters.jax import artifact as artifacts
from converters.jax import callables, kinds, rows
from converters.jax import program as programs
from converters.pytorch.inputs import specs_for
from converters.shapes import settle
from edgekit.errors import UsageError
from edgekit.inputs import parse
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import TensorSpec

PROGRAM = "program.jaxexport"


@dataclass(frozen=True)
class Opened:
    """A model that was opened, with what to say about it."""

    program: programs.Program
    kind: str
    notes: tuple[str, ...] = ()


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.jax.load`."""
    path = Path(request.path)
    code = code_of(request)
    with user_code.user_imports(*user_code.folders_of(code, path)):
        opened = open_program(request, code)
        program = opened.program
        lowered = program.lowered()
        chosen = opening.write_feeds(request, program.signature, rows.bounds(program))
        opening.write_reference(request, program.signature, chosen, program.runner())
        if request.program:
            program.write(Path(request.into) / PROGRAM)
        fingerprint = programs.fingerprint(lowered)
    return opening.loaded(
        request,
        kind=opened.kind,
        signature=program.signature,
        program=PROGRAM,
        fingerprint=fingerprint,
        notes=opened.notes,
    )


def code_of(request: LoadRequest) -> str | None:
    """``FILE.py:NAME`` of a Python file, ``None`` for a program.

    Raises:
        UsageError: Nothing names the function, or there is none in a program.
    """
    path = Path(request.path)
    if kinds.artifact(path) is None:
        return callables.model_code(path, request.model_code)
    if request.model_code is not None:
        raise UsageError(
            f"--model {request.model_code}: {path} is a program and needs no code.", hint=f"edgekit convert {path} …"
        )
    return None


def open_program(request: LoadRequest, code: str | None) -> Opened:
    """The model as a program with static shapes; call inside :func:`converters.user_code.user_imports`."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    return _open_artifact(request) if code is None else _open_code(request, code)


def _open_artifact(request: LoadRequest) -> Opened:
    path = Path(request.path)
    found = artifacts.read(path)
    specs = settle(found.inputs, request)
    program = programs.settle(found.call, specs, found.exported.fun_name, str(path))
    notes = []
    if found.nested:
        notes.append(
            "Containers of arrays are inputs of this program. If they are its weights, export a function that has "
            "them inside: jax.jit(lambda x: net(params, x))."
        )
    return Opened(program, kinds.ARTIFACT, tuple(notes))


def _open_code(request: LoadRequest, code: str) -> Opened:
    model = callables.open_model(code)
    specs = [_narrow(spec, request) for spec in _specs(model, request)]
    program = programs.settle(model.function, specs, user_code.split(code)[1], code)
    return Opened(program, f"JAX function {user_code.split(code)[1]}")


def _specs(model: callables.Model, request: LoadRequest) -> Sequence[TensorSpec]:
    dataset = opening.dataset_of(request)
    if not request.inputs and dataset is None:
        shown = " ".join(f"--input {name}=…" for name in model.names or ("x",))
        raise UsageError(
            f"{model.code}: nothing says how large the inputs are: a function has no shapes of its own.",
            hint=f"edgekit convert {model.code} … {shown}   (such as x=1,28,28,1), or --data FILE with samples",
        )
    names = model.names or _given_names(model, request)
    return specs_for(names, request.inputs, dataset, None, Path(request.path))


def _given_names(model: callables.Model, request: LoadRequest) -> tuple[str, ...]:
    """Of the inputs of a function of any number of them (``*args``)."""
    names = tuple(parse(option).name for option in request.inputs)
    if not names or not all(names):
        raise UsageError(
            f"{model.code}: the function takes any number of inputs.",
            hint="Name them, in its order: --input a=1,28 --input b=1,10",
        )
    return names


def _narrow(spec: TensorSpec, request: LoadRequest) -> TensorSpec:
    """Whole numbers in files of NumPy are 64 bits wide where nobody has asked for that."""
    return replace(spec, dtype="int32") if spec.dtype == "int64" and not request.inputs else spec
