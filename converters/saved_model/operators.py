"""Which TensorFlow operators of a model a target lacks: all of them at once, with the layers they are in."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.errors import UnsupportedError


def check(target: str, found: Iterable[tuple[str, str]], hint: str = "") -> None:
    """Refuse a model with operators that a target lacks.

    Args:
        target: Title of the format.
        found: Operator and layer path of each.
        hint: What to do beside rewriting them.

    Raises:
        UnsupportedError: Lists each operator once, with every layer it is in; nothing is raised where there is none.
    """
    places = grouped(found)
    if not places:
        return
    raise UnsupportedError(
        f"{target} cannot take {len(places)} operator{'s' if len(places) > 1 else ''} of this model: {listed(places)}.",
        hint=hint or "Rewrite these places with other operators, or choose another target (edgekit list).",
    )


def grouped(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Operator to the layers it is in, sorted, each once; operators outside a layer have an empty list."""
    places: dict[str, dict[str, None]] = {}
    for operator, path in found:
        places.setdefault(operator, {}).update({path: None} if path else {})
    return {operator: list(places[operator]) for operator in sorted(places)}


def listed(places: dict[str, list[str]]) -> str:
    """``Erfinv at head, tail; Roll at stem``."""
    return "; ".join(f"{name} at {', '.join(where)}" if where else name for name, where in places.items())
