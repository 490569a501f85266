"""The operators of ONNX, one small function each, found by listing this folder.

A function is called three times: on constants alone (then its result is a constant), on fake tensors (which gives
shapes), and under ``torch.export``. What it must know as Python values it declares as ``static``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class RefusalError(Exception):
    """A node that cannot be expressed with static shapes; the message says why, in words that follow a colon."""


@dataclass(frozen=True)
class Operator:
    """How a type of node is imported.

    Attributes:
        name, domain: Of the type.
        function: ``(node, *operands)``, operands as tensors, ``None`` for absent ones; returns a tensor or several.
        static: Places of operands that must be constants, and arrive as NumPy arrays.
        known: Places of operands that arrive as NumPy arrays where they are constants, else as tensors.
        scalars: Places of operands that arrive as Python numbers where they are constants of one element.
        fold: Whether to compute it at import where all operands are constants.
        control: Whether ``function`` is ``(node, specializer, *values)`` and makes steps itself.
        rewrite: ``(node, values, constant)``: other operator and operands for this node, or ``None``.
    """

    name: str
    domain: str
    function: Callable[..., Any]
    static: tuple[int, ...] = ()
    known: tuple[int, ...] = ()
    scalars: tuple[int, ...] = ()
    fold: bool = True
    control: bool = False
    rewrite: Callable[..., Any] | None = None


_FOUND: dict[tuple[str, str], Operator] = {}

MICROSOFT = "com.microsoft"
INTERNAL = "edgekit"
"""Domain of what the importer itself makes of nodes."""


def operator(*names: str, domain: str = "", **how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function for types of nodes; ``how`` are fields of :class:`Operator`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _FOUND[domain, name] = Operator(name, domain, function, **how)
        return function

    return register


@functools.cache
def registry() -> dict[tuple[str, str], Operator]:
    """Every operator, by domain and name."""
    for item in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{item.name}")
    return _FOUND
