"""Operators, weights and multiply-accumulates of a StableHLO module."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from converters.jax import stablehlo
from converters.work import StoredTensor

_SILENT = frozenset({"stablehlo.return", "stablehlo.constant", "func.return", "func.call", "func.func"})


@dataclass
class Counts:
    """What :func:`count` finds.

    Attributes:
        operators: Type to count, functions counted where they are called, loops once.
        parameters: Elements of all float constants that hold more than one value.
        weights_bytes: Dtype to bytes of all constants that hold more than one value.
        stored: Those constants, numbered as they stand in the module.
        macs: Of one run, loops as often as they run; ``None`` when that is not known.
        macs_note: Why not.
    """

    operators: Counter[str] = field(default_factory=Counter)
    parameters: int = 0
    weights_bytes: Counter[str] = field(default_factory=Counter)
    stored: list[StoredTensor] = field(default_factory=list)
    macs: int | None = 0
    macs_note: str = ""


def count(module: Any) -> Counts:
    """Count what a module does when its function ``main`` runs once."""
    found = Counts()
    _constants(module, found)
    _block(stablehlo.function(module, "main").regions[0].blocks[0], module, 1, found)
    return found


def _constants(module: Any, found: Counts) -> None:
    for operation in stablehlo.walk(module.operation):
        if operation.name != "stablehlo.constant":
            continue
        value, kind = operation.attributes["value"], operation.results[0].type
        elements = math.prod(kind.shape)
        if elements < 2 or value.is_splat:
            continue
        dtype = _dtype(str(kind.element_type))
        size_bytes = elements * max(1, kind.element_type.width // 8)
        found.weights_bytes[dtype] += size_bytes
        reader = next((str(use.owner.name).removeprefix("stablehlo.") for use in operation.results[0].uses), "")
        name = f"constant {len(found.stored)}"
        found.stored.append(StoredTensor(name, dtype, tuple(kind.shape), size_bytes, reader))
        if "float" in dtype:
            found.parameters += elements


def _dtype(element: str) -> str:
    """NumPy's name of an element type: ``float32`` of ``f32``."""
    if element == "i1":
        return "bool"
    for short, long in (("bf", "bfloat"), ("f", "float"), ("ui", "uint"), ("i", "int")):
        if element.startswith(short):
            return long + element.removeprefix(short)
    return element


def _block(block: Any, module: Any, times: int | None, found: Counts) -> None:
    """Count the operations of a block that runs so often; ``None`` when that is not known."""
    for item in block.operations:
        operation = item.operation
        if operation.name not in _SILENT:
            found.operators[operation.name.removeprefix("stablehlo.")] += 1
        if operation.name == "func.call":
            called = str(operation.attributes["callee"].value)
            _block(stablehlo.function(module, called).regions[0].blocks[0], module, times, found)
        elif operation.name in ("stablehlo.dot_general", "stablehlo.convolution"):
            _add(operation, times, found)
        elif operation.name == "stablehlo.while":
            again = _trips(operation)
            inner = None if again is None or times is None else times * again
            _block(operation.regions[1].blocks[0], module, inner, found)
        elif operation.name in ("stablehlo.case", "stablehlo.if"):
            for region in operation.regions:  # all of them: one run takes one
                _block(region.blocks[0], module, times, found)


def _add(operation: Any, times: int | None, found: Counts) -> None:
    if times is None:
        found.macs, found.macs_note = None, "a loop runs as often as the values say"
    elif found.macs is not None:
        found.macs += times * _macs(operation)


def _macs(operation: Any) -> int:
    """Elements of the result, times the products that are summed up for each."""
    result = math.prod(operation.results[0].type.shape)
    left, right = (operand.type.shape for operand in operation.operands)
    if operation.name == "stablehlo.convolution":
        # The kernel has one element for each product of each output channel; gaps of transposed ones count not.
        from jax.extend.mlir.dialects import stablehlo as dialect

        dimensions = dialect.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
        products = math.prod(right) // right[dimensions.kernel_output_feature_dimension]
        dilation = list(operation.attributes.get("lhs_dilation") or [1])
        return int(result * products // math.prod(dilation))
    from jax.extend.mlir.dialects import stablehlo as dialect

    numbers = dialect.DotDimensionNumbers(operation.attributes["dot_dimension_numbers"])
    return int(result * math.prod(left[axis] for axis in numbers.lhs_contracting_dimensions))


def _trips(loop: Any) -> int | None:
    """How often a loop runs that counts from 0 to a constant, as ``scan`` and ``fori_loop`` do; else ``None``."""
    condition, body = (region.blocks[0] for region in loop.regions)
    compare = _defining(condition.operations[len(condition.operations) - 1].operands[0], "stablehlo.compare")
    if compare is None or "LT" not in str(compare.attributes["comparison_direction"]):
        return None
    counter, limit = compare.operands
    place = next((index for index, own in enumerate(condition.arguments) if own == counter), None)
    last = _value(limit, loop, condition)
    if place is None or last is None:
        return None
    first = _value(loop.operands[place], loop, condition)
    step = _defining(body.operations[len(body.operations) - 1].operands[place], "stablehlo.add")
    counts = (
        step is not None and step.operands[0] == body.arguments[place] and _value(step.operands[1], loop, body) == 1
    )
    return max(0, last - first) if counts and first is not None else None


def _defining(value: Any, name: str) -> Any:
    """The operation that makes a value, where it is of that type."""
    owner = getattr(value.owner, "operation", value.owner)
    return owner if getattr(owner, "name", "") == name else None


def _value(value: Any, loop: Any, block: Any) -> int | None:
    """A whole number that is constant, or carried through the loop from a constant; else ``None``."""
    constant = _defining(value, "stablehlo.constant")
    if constant is None:
        place = next((index for index, own in enumerate(block.arguments) if own == value), None)
        if place is None or not _is_kept(loop, place):
            return None
        constant = _defining(loop.operands[place], "stablehlo.constant")
    return int(next(iter(constant.attributes["value"]))) if constant is not None else None


def _is_kept(loop: Any, place: int) -> bool:
    """Whether the body returns a carried value as it came."""
    body = loop.regions[1].blocks[0]
    return bool(body.operations[len(body.operations) - 1].operands[place] == body.arguments[place])
