"""How many rows there are to choose from where whole numbers go in, so that random ones are valid and differ."""

from __future__ import annotations

from typing import Any

from converters.jax import callables
from converters.jax.program import Program, shapes


def bounds(program: Program) -> dict[str, int]:
    """Rows of the smallest table that the values of an integer input pick rows of, by input.

    JAX clamps an index or fills in NaN, and wraps negative ones around: the index of a gather is computed from the
    input in several steps, all on whole numbers, which are followed here.
    """
    import jax

    specs = program.signature.inputs
    if not any(spec.dtype.startswith(("int", "uint")) for spec in specs):
        return {}
    closed = callables.traced(program.what, jax.make_jaxpr(program.function), *shapes(specs))
    found: dict[str, int] = {}
    names = [spec.name if spec.dtype.startswith(("int", "uint")) else None for spec in specs]
    _follow(closed.jaxpr, names, found)
    return found


def _follow(jaxpr: Any, names: list[str | None], found: dict[str, int]) -> list[str | None]:
    """The input that each output of a jaxpr is made from; gathers on the way are noted in ``found``."""
    origin: dict[Any, str] = {}
    for variable, name in zip(jaxpr.invars, names, strict=True):
        if name is not None:
            origin[variable] = name

    def of(variable: Any) -> str | None:
        return None if hasattr(variable, "val") else origin.get(variable)  # literals have a value and no name

    for equation in jaxpr.eqns:
        sources = [of(variable) for variable in equation.invars]
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        if inner is not None and len(getattr(inner, "jaxpr", inner).invars) == len(sources):
            made = _follow(getattr(inner, "jaxpr", inner), sources, found)
        else:
            if equation.primitive.name == "gather" and sources[1] is not None:
                axis = equation.params["dimension_numbers"].start_index_map[0]
                size = int(equation.invars[0].aval.shape[axis])
                found[sources[1]] = min(size, found.get(sources[1], size))
            first = next(filter(None, sources), None)
            made = [first if variable.aval.dtype.kind in "iu" else None for variable in equation.outvars]
        for variable, name in zip(equation.outvars, made, strict=True):
            if name is not None:
                origin[variable] = name
    return [of(variable) for variable in jaxpr.outvars]
