"""The job that calls a user's metric, beside packages of the user's that may be called like edgekit's own."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.user_code import folders_of, guarded, import_code, user_imports
from edgekit import feeds
from edgekit.errors import UsageError
from edgekit.feeds import Array

_ACCEPTED = "It takes (outputs, labels) and gives one number, or an array with one number for each sample."


def call(metric: str, outputs: str, folder: str) -> str:
    """Call the function that ``--metric`` names.

    Args:
        metric: ``FILE.py:NAME`` or ``package.module:NAME``.
        outputs: Folder of outputs (:mod:`edgekit.feeds`); the function gets them memory-mapped, by name.
        folder: Where ``labels.npy`` or ``labels.json`` lies, and where the answer goes.

    Returns:
        Path of a ``.npy`` file: float64, ``()`` or ``(samples,)``.

    Raises:
        UsageError: There is no such function, or it gave neither.
        ConversionError: It raised.
    """
    where = f"--metric {metric}"
    found = feeds.read(Path(outputs))
    labels = _labels(Path(folder))
    with user_imports(*folders_of(metric, Path(metric.rpartition(":")[0]))):
        module, name = import_code(metric, option="--metric")
        function = getattr(module, name, None)
        if not callable(function):
            public = [item for item, value in vars(module).items() if not item.startswith("_") and callable(value)]
            has = f"It has {', '.join(public)}." if public else "There is no function in it."
            raise UsageError(f"{where}: {module.__name__} has no function {name!r}.", hint=has)
        _check_call(function, where)
        given = guarded(where, function, dict(found.arrays), labels)
        answer = _numbers(given, found.count, where)
    path = Path(folder) / "answer.npy"
    np.save(path, answer, allow_pickle=False)
    return str(path)


def _check_call(function: Callable[..., Any], where: str) -> None:
    """Refuse a function that cannot take two arguments, before that looks like an error in its own code."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some functions in C have none; what they say about the call is shown
    try:
        signature.bind({}, None)
    except TypeError as error:
        raise UsageError(f"{where}: it cannot be called with (outputs, labels): {error}.", hint=_ACCEPTED) from error


def _labels(folder: Path) -> Any:
    if (folder / "labels.npy").exists():
        return np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
    if not (folder / "labels.json").exists():
        return None
    listed = json.loads((folder / "labels.json").read_text())
    return [_arrays(item) if isinstance(item, dict) else item for item in listed]


def _arrays(item: dict[str, Any]) -> dict[str, Any]:
    """Lists of numbers in a label, such as boxes, as arrays again."""
    return {key: np.asarray(value) if isinstance(value, list) else value for key, value in item.items()}


def _numbers(given: Any, count: int, where: str) -> Array:
    try:
        answer = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: it gave {type(given).__name__}, not numbers.", hint=_ACCEPTED) from error
    if answer.size == 1 and count != 1:
        answer = answer.reshape(())
    if answer.ndim and answer.shape != (count,):
        raise UsageError(f"{where}: it gave shape {list(answer.shape)} for {count} samples.", hint=_ACCEPTED)
    if not answer.ndim and not math.isfinite(answer):
        raise UsageError(f"{where}: it gave {float(answer)}, which is no figure.", hint=_ACCEPTED)
    return answer
