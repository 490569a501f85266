"""A function of a user's Python file as the model: which one, what it takes, what it returns.

Everything here runs inside :func:`converters.user_code.user_imports`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters import user_code
from converters.jax import kinds
from edgekit.errors import ConversionError, UnsupportedError, UsageError

_NO_ARGUMENTS = "It is called without arguments"  # advice for what builds a network, and no good here


@dataclass(frozen=True)
class Model:
    """A user's function.

    Attributes:
        function: Takes arrays, one for each name, and returns arrays in any containers.
        names: Of its inputs; empty when it takes any number (``*args``).
        code: ``FILE.py:NAME``, for messages.
    """

    function: Callable[..., Any]
    names: tuple[str, ...]
    code: str


def model_code(path: Path, given: str | None) -> str:
    """``FILE.py:NAME`` for a Python file, as typed.

    Raises:
        UsageError: There is no name, it belongs to another file, or the file is for another framework.
    """
    found = kinds.code(path) or kinds.Code((), frozenset())  # never empty for what has been identified
    if found.other_framework:
        raise _for_another_framework(path, found)
    if given is None:
        names = found.functions
        if len(names) == 1:
            hint = f"edgekit convert {path}:{names[0]} …"
        else:
            hint = f"edgekit convert {path}:NAME …   with one of {', '.join(names[:12])}{'…' * (len(names) > 12)}"
        raise UsageError(f"{path}: which function of this file is the model? Nothing was run.", hint=hint)
    place, _ = user_code.split(given)
    if not place.endswith(".py") or not path.samefile(place):
        raise UsageError(
            f"--model {given}: the model is {path}, so the function must be in it.",
            hint=f"edgekit convert {given} …" if place.endswith(".py") else f"edgekit convert {path}:NAME …",
        )
    return given


def open_model(code: str) -> Model:
    """Import a file and take the function that is named: itself, or what it returns when it takes nothing.

    Raises:
        UsageError: It is no function of arrays.
    """
    thing = user_code.find(code)
    _refuse_other_frameworks(code, thing)
    if isinstance(thing, type) or (callable(thing) and _inputs(thing) == []):
        # A class or factory without arguments: what it returns is the model.
        thing = user_code.guarded(code, thing)
        _refuse_other_frameworks(code, thing)
    _refuse_unbound(code, thing)
    if not callable(thing):
        raise UsageError(
            f"{code}: this is of the type {type(thing).__name__}, not a function that takes arrays.",
            hint="Name a function such as `def net(x): …`, or one without arguments that returns such a function.",
        )
    parameters = _inputs(thing)
    if parameters is None or any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters):
        return Model(thing, (), code)
    keywords = [item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY]
    if keywords:
        raise UsageError(
            f"{code}: inputs are given by position, and {', '.join(keywords)} can only be given by name.",
            hint="Take the * out of its signature, or give these parameters a default.",
        )
    if not parameters:
        raise UsageError(
            f"{code}: the function takes no inputs.",
            hint="Inputs are the parameters without a default: `def net(x): …`.",
        )
    return Model(thing, tuple(item.name for item in parameters), code)


def _inputs(thing: Any) -> list[inspect.Parameter] | None:
    """Parameters that it cannot do without; ``None`` where Python cannot tell."""
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):  # built-in, or made by an extension
        return None
    needed = [item for item in parameters if item.default is inspect.Parameter.empty]
    return [item for item in needed if item.kind is not inspect.Parameter.VAR_KEYWORD]


def _refuse_other_frameworks(code: str, thing: Any) -> None:
    """A network of another framework comes to edgekit as a file."""
    kind = thing if isinstance(thing, type) else type(thing)
    bases = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in kind.__mro__}
    if "torch.Module" in bases:
        raise UsageError(
            f"{code}: this is a PyTorch network, which edgekit reads with its weights from a file.",
            hint=f"torch.save(net.state_dict(), 'weights.pt'), then: edgekit convert weights.pt --model {code} …",
        )
    if bases & {"keras.Layer", "keras.Model", "tensorflow.Module"}:
        raise UsageError(
            f"{code}: this is a Keras or TensorFlow model, which edgekit reads from a file.",
            hint="model.save('model.keras'), then: edgekit convert model.keras …",
        )


def _refuse_unbound(code: str, thing: Any) -> None:
    """A module of Flax's linen knows its layers and not its weights."""
    linen = sys.modules.get("flax.linen")
    if linen is None or not isinstance(thing, linen.Module) or thing.scope is not None:
        return
    raise UsageError(
        f"{code}: a Flax module without its weights.",
        hint="Name a function over it: def net(x): return module.apply(variables, x)",
    )


def _for_another_framework(path: Path, found: kinds.Code) -> UsageError:
    name = found.functions[0] if found.functions else "Net"
    if found.other_framework == "PyTorch":
        hint = f"torch.save(net.state_dict(), 'weights.pt'), then: edgekit convert weights.pt --model {path}:{name} …"
    else:
        hint = "model.save('model.keras'), then: edgekit convert model.keras …"
    return UsageError(
        f"{path}: this Python file is for {found.other_framework}, and only JAX functions are converted from code.",
        hint=hint,
    )


def traced(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Let JAX trace user code; an exception becomes an error with the user's own line and what helps.

    Raises:
        ConversionError: The function raised, or does what cannot be traced.
        UnsupportedError: It calls back into Python.
    """
    try:
        return user_code.guarded(what, function, *arguments)
    except ConversionError as error:
        cause = error.__cause__
        if isinstance(cause, NotImplementedError) and "callback" in str(cause):
            raise UnsupportedError(
                f"{what}: the function calls back into Python when it runs, and a file cannot.",
                hint="Take jax.debug.print, jax.pure_callback and io_callback out of it.",
            ) from cause
        hint = _advice(cause) or ("" if error.hint.startswith(_NO_ARGUMENTS) else error.hint)
        raise ConversionError(error.message, hint=hint) from cause


def _advice(cause: BaseException | None) -> str:
    """What helps against an error that JAX raises while it traces; empty when nothing is known to."""
    import jax

    said = str(cause)
    if isinstance(cause, jax.errors.TracerArrayConversionError):
        return "NumPy cannot compute on traced arrays: use jax.numpy, and jnp.asarray(table)[index] to look values up."
    if isinstance(cause, jax.errors.NonConcreteBooleanIndexError):
        return "Shapes must not depend on values: use jnp.where(mask, x, 0), or the argument size= of jnp.nonzero."
    if isinstance(cause, jax.errors.ConcretizationTypeError):
        return (
            "Shapes and Python's if and while must not depend on values: use jnp.where or jax.lax.cond, and size= of "
            "functions such as jnp.nonzero."
        )
    if isinstance(cause, jax.errors.UnexpectedTracerError) or "mutate" in said.lower():
        return "The function must be pure: use the module's evaluation mode, and return what it would keep."
    if "valid JAX type" in said:
        return "Return arrays, alone or in tuples, lists and dicts."
    if isinstance(cause, (TypeError, ValueError)) and re.search(r"shape|contract|dimension|size", said):
        return (
            "Check --input against what the model takes. Where it takes one sample without a batch (Equinox), wrap "
            "it: net = jax.vmap(model)."
        )
    return ""
