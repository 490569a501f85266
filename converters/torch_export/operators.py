"""Which operators of a program a target lacks: found before lowering, all at once, with the place in the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgekit.errors import UnsupportedError


def is_aten(node: Any) -> bool:
    """Whether a node calls an operator, rather than picking an element or computing a shape."""
    return hasattr(node.target, "namespace") and node.target.namespace not in ("prim", "_guards")


def module_path(node: Any) -> str:
    """Where in the user's model a node comes from: ``layer1.0.conv1``; ``(top)`` for the outermost module."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return next((path for path in reversed(paths) if path), "(top)")


def source_line(node: Any) -> str:
    """The user's own line that made a node: ``model.py:12``; empty where it is not recorded."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in frames if "site-packages" not in file]
    return f"{own[-1][0].rpartition('/')[2]}:{own[-1][1]}" if own else ""


def _operator(node: Any) -> str:
    """The name of what a node calls; of what is inside where torch wraps it to keep the order of effects."""
    wrapped = str(node.target) == "with_effects" and len(node.args) > 1
    return str(node.args[1] if wrapped else node.target)


def check(exported: Any, target: str, unsupported: Sequence[Any]) -> None:
    """Refuse a program with operators that the target lacks.

    Raises:
        UnsupportedError: Lists each operator once, with every place it is used.
    """
    if not unsupported:
        return
    places: dict[str, list[str]] = {}
    for node in unsupported:
        line = source_line(node)
        places.setdefault(_operator(node), []).append(module_path(node) + (f" ({line})" if line else ""))
    listed = "; ".join(f"{name} at {', '.join(dict.fromkeys(where))}" for name, where in sorted(places.items()))
    raise UnsupportedError(
        f"{target} cannot take {len(places)} operator{'s' if len(places) > 1 else ''} of this model: {listed}.",
        hint="Rewrite these places with other operators, or choose another target (edgekit list).",
    )
