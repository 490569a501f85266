"""Loops of a module of TFLite operators, in the shape that its files want.

A file has no nested code: the condition and the body of a loop are functions that are called with all that the loop
carries. Modules have them in place, with values of the code around them in use; what LiteRT's converter has for
that does not run behind its Python interface. So: values from outside are carried along, constants are copied in,
and both regions move to functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_LOOP = "tfl.while"
_CONSTANTS = frozenset({"arith.constant", "tfl.pseudo_const", "tfl.no_value"})


def outline(module: Any) -> None:
    """Give every loop of a module functions for its condition and body; call inside the module's context.

    Args:
        module: ``litert_converter.mlir.ir.Module``, behind the passes that make TFLite operators.
    """
    loops = [operation for operation in _walk(module.operation) if operation.name == _LOOP]
    for number, loop in enumerate(loops):  # inner ones first
        _outline(module, loop, f"loop_{number}")


def _walk(operation: Any) -> Iterator[Any]:
    """All operations below one, each behind those inside it; what is walked may change meanwhile."""
    for region in operation.regions:
        for block in region:
            for inner in list(block):
                yield from _walk(inner.operation)
                yield inner.operation


def _outline(module: Any, loop: Any, name: str) -> None:
    from litert_converter.mlir import ir

    used = _from_outside(loop)
    carried = [value for value in used if not _is_constant(value)]
    constants = [value for value in used if _is_constant(value)]
    operands = [*loop.operands, *carried]
    with loop.location:
        made = ir.Operation.create(
            _LOOP,
            results=[value.type for value in operands],
            operands=operands,
            attributes=dict(loop.attributes.items()),
            regions=2,
            ip=ir.InsertionPoint(loop),
        )
        for place, word in enumerate(("condition", "body")):
            behind = carried if word == "body" else []
            function = _function(module, loop.regions[place].blocks[0], f"{name}_{word}", carried, constants, behind)
            _call(made.regions[place], function, operands)
    for before, after in zip(loop.results, list(made.results)[: len(loop.results)], strict=True):
        before.replace_all_uses_with(after)
    loop.erase()


def _from_outside(loop: Any) -> list[Any]:
    """Values that the code in a loop uses and that are made outside of it, each once."""
    inside: set[Any] = set()
    for operation in (loop, *_walk(loop)):
        for region in operation.regions:
            for block in region:
                inside.update(block.arguments)
    for operation in _walk(loop):
        inside.update(operation.results)
    used = (value for operation in _walk(loop) for value in operation.operands)
    return list(dict.fromkeys(value for value in used if value not in inside))


def _is_constant(value: Any) -> bool:
    return getattr(value.owner, "name", "") in _CONSTANTS  # the owner of an argument is a block, without a name


def _function(module: Any, block: Any, name: str, carried: list[Any], constants: list[Any], behind: list[Any]) -> Any:
    """A function of what a region did.

    Args:
        module: Gets the function.
        block: Of the region; its operations move.
        name: Of the function.
        carried: Values from outside that the function takes behind the loop's own.
        constants: Values that are copied into it.
        behind: Those of ``carried`` that it returns behind the region's own results.
    """
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import func

    *operations, last = list(block)
    arguments = [value.type for value in (*block.arguments, *carried)]
    results = [value.type for value in (*last.operands, *behind)]
    with ir.InsertionPoint.at_block_begin(module.body):
        function = func.FuncOp(name, ir.FunctionType.get(arguments, results), visibility="private")
    entry = function.add_entry_block()
    inside = dict(zip((*block.arguments, *carried), entry.arguments, strict=True))
    for value in constants:
        inside[value] = value.owner.clone(ip=ir.InsertionPoint(entry)).results[0]
    for operation in (*operations, last):
        for user in (*_walk(operation.operation), operation.operation):
            for place, value in enumerate(user.operands):
                if value in inside:
                    user.operands[place] = inside[value]
    for operation in operations:
        entry.append(operation.operation)
    returned = [*last.operands, *(inside[value] for value in behind)]
    func.ReturnOp(returned, ip=ir.InsertionPoint(entry))
    last.operation.erase()
    return function


def _call(region: Any, function: Any, operands: list[Any]) -> None:
    """Let a region call a function with all that the loop carries, and yield what it returns."""
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import func

    block = ir.Block.create_at_start(region, [value.type for value in operands])
    with ir.InsertionPoint(block):
        call = func.CallOp(function, list(block.arguments))
        ir.Operation.create("tfl.yield", operands=list(call.results))
