"""Walking a StableHLO module as JAX's own MLIR bindings give it, and the names of leaves in containers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any


def parse(text: str | bytes) -> Any:
    """A module from its text or bytecode, with all dialects that JAX writes."""
    import jax
    from jax.extend.mlir import ir

    some = jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), "float32")).compiler_ir("stablehlo")
    with some.context:
        return ir.Module.parse(text)


def static(text: str) -> str:
    """The same module without what is open until it runs: symbols for sizes, and the choice of a platform.

    Args:
        text: Of a module whose function ``main`` takes and returns static shapes.
    """
    if "tensor<?" not in text and "_platform_index" not in text:
        return text
    from jaxlib import _jax

    # As JAX itself does before it compiles such a program; there is no public way.
    refined = _jax.mlir.refine_polymorphic_shapes(
        mlir_module=text.encode(), enable_shape_assertions=False, validate_static_shapes=True
    )
    return str(parse(refined).operation.get_asm(enable_debug_info=True))


def function(module: Any, name: str) -> Any:
    """One of its functions, by name."""
    return _functions(module)[name]


def has_function(module: Any, name: str) -> bool:
    """Whether there is one of that name."""
    return name in _functions(module)


def _functions(module: Any) -> dict[str, Any]:
    return {_text(op.attributes["sym_name"]): op.operation for op in module.body.operations}


def walk(operation: Any) -> Iterator[Any]:
    """All operations below one, each before those inside it."""
    for region in operation.regions:
        for block in region:
            for inner in block.operations:
                yield inner.operation
                yield from walk(inner.operation)


def custom_calls(module: Any) -> set[str]:
    """Names of the functions outside of the module that it calls."""
    calls = (op for op in walk(module.operation) if op.name == "stablehlo.custom_call")
    return {_text(op.attributes["call_target_name"]) for op in calls}


def _text(attribute: Any) -> str:
    return str(attribute).strip('"')


def text(module: Any) -> str:
    """The module without the places in files that its operations come from."""
    return str(module.operation.get_asm(enable_debug_info=False))


def key_text(key: Any) -> str:
    """One step of a path into a container: a key, an index or the name of an attribute."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def plain_name(text: str) -> str:
    """``params_w_k`` of ``params['w']['k']``."""
    return re.sub(r"^_+|_+$", "", re.sub(r"\W+", "_", text))
