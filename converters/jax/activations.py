"""Activations that TFLite has an operator for, and that JAX spells out in many.

``jax.nn.gelu(x, approximate=False)`` arrives with ``erfc`` as a polynomial of some forty operators, which no runtime
fuses and which 8-bit quantization does not survive. All of them carry the name of the primitive that they come from.
"""

from __future__ import annotations

import math
import re
from typing import Any

_NAME = re.compile(r'^loc\("(?:[^"\\]|\\.)*?([^/"]*)"')
_SCALE = math.sqrt(0.5)


def fuse_gelu(module: Any) -> None:
    """Put TFLite's own operator in the place of ``x/2 * erfc(-x * sqrt(1/2))``; call inside the module's context.

    Args:
        module: ``litert_converter.mlir.ir.Module`` of StableHLO operations. What is computed for nothing afterwards
            stays, and falls to the converter.
    """
    for operation in _walk(module.operation):
        if operation.name != "stablehlo.multiply":
            continue
        for half, rest in (operation.operands, reversed(list(operation.operands))):
            source = _input_of_erfc(rest)
            x = None if source is None else _scaled(source, _SCALE, negated=True)
            halved = _scaled(half, 0.5, negated=False)
            if x is not None and halved is not None and x == halved:
                _replace(operation, x)
                break


def _walk(operation: Any) -> list[Any]:
    below = []
    for region in operation.regions:
        for block in region:
            for inner in block:
                below += [inner.operation, *_walk(inner.operation)]
    return below


def _maker(value: Any) -> Any:
    """The operation that makes a value; ``None`` for arguments."""
    owner = getattr(value.owner, "operation", value.owner)
    return owner if hasattr(owner, "operands") else None


def _primitive(operation: Any) -> str:
    """Of JAX, that an operation comes from."""
    found = _NAME.match(str(operation.location))
    return found[1] if found else ""


def _input_of_erfc(value: Any) -> Any:
    """What goes into ``erfc`` where a value comes out of it; else ``None``."""
    sources: dict[Any, None] = {}
    seen: set[Any] = set()
    todo = [value]
    while todo:
        value = todo.pop()
        maker = _maker(value)
        if maker is None or _primitive(maker) != "erfc":
            if maker is None or _constant(value) is None:
                sources[value] = None
        elif value not in seen:
            seen.add(value)
            todo += list(maker.operands)
    return next(iter(sources)) if len(sources) == 1 and seen else None


def _scaled(value: Any, factor: float, *, negated: bool) -> Any:
    """``x`` of ``x * factor``, or of ``-x * factor``; ``None`` where a value is something else."""
    maker = _maker(value)
    if maker is None or maker.name != "stablehlo.multiply":
        return None
    for one, other in (maker.operands, reversed(list(maker.operands))):
        number = _constant(other)
        if number is not None and math.isclose(number, factor, rel_tol=1e-6):
            if not negated:
                return one
            before = _maker(one)
            return before.operands[0] if before is not None and before.name == "stablehlo.negate" else None
    return None


def _constant(value: Any) -> float | None:
    """The one value of a float tensor, whatever its shape; ``None`` where it is computed, or has several."""
    from litert_converter.mlir import ir

    maker = _maker(value)
    while maker is not None and maker.name in ("stablehlo.broadcast_in_dim", "stablehlo.convert"):
        maker = _maker(maker.operands[0])
    if maker is None or maker.name != "stablehlo.constant":
        return None
    content = maker.attributes["value"]
    if not content.is_splat or not str(content.type.element_type).startswith(("f", "bf")):
        return None
    return float(ir.FloatAttr(content.get_splat_value()).value)


def _replace(operation: Any, x: Any) -> None:
    from litert_converter.mlir import ir

    with operation.location:
        made = ir.Operation.create(
            "tfl.gelu",
            results=[operation.results[0].type],
            operands=[x],
            attributes={"approximate": ir.BoolAttr.get(False)},
            ip=ir.InsertionPoint(operation),
        )
    operation.results[0].replace_all_uses_with(made.results[0])
