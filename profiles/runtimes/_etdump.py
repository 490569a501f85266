"""Reads ExecuTorch's ETDump, the record of profiled runs; ``executorch.devtools`` would import the exporter for it.

Field numbers are those of ``etdump_schema_flatcc.fbs`` and ``program.fbs`` in the executorch wheel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from profiles.runtimes._events import Event, ProfilerUnavailableError
from profiles.runtimes._flatbuffer import Table

CALL = "delegate call"
"""The operator of rows that hold what a delegate call took beside the delegate's operators."""

_IDENTIFIER = b"ED00"
_METHOD = "forward"
_EXECUTE = "Execute"
_KERNEL_CALL, _DELEGATE_CALL = 1, 2  # of the union InstructionArguments
_SHORT = {"XnnpackBackend": "XNNPACK"}

Place = tuple[int, int]
"""Chain and instruction."""


class _Instruction(NamedTuple):
    operator: str  # of a kernel call, with overload
    delegate: str


class _Record(NamedTuple):
    name: str
    place: Place
    inner: str  # what the delegate calls its operator; empty for events of the runtime's own
    ns: int


def runs(etdump: bytes, program: bytes) -> list[list[Event]]:
    """The operators of each run that was recorded.

    Args:
        etdump: What ``write_etdump_result_to_file`` wrote.
        program: The ``.pte`` file.

    Raises:
        ProfilerUnavailableError: The record is not of the known form.
    """
    start = 0 if etdump[4:8] == _IDENTIFIER else 4  # it may begin with its own size
    if etdump[start + 4 : start + 8] != _IDENTIFIER:
        raise ProfilerUnavailableError("this ExecuTorch writes its events in a form of its own")
    instructions = _instructions(program)
    recorded = Table.root(etdump, start).tables(1)
    return [_operators(run, instructions) for run in recorded if run.text(0) == _EXECUTE]


def _instructions(program: bytes) -> Mapping[Place, _Instruction]:
    """What each instruction of the method calls."""
    found: dict[Place, _Instruction] = {}
    plan = next(plan for plan in Table.root(program).tables(1) if plan.text(0) == _METHOD)
    operators = [".".join(filter(None, (item.text(0), item.text(1)))) for item in plan.tables(6)]
    delegates = [_SHORT.get(item.text(0), item.text(0)) for item in plan.tables(7)]
    for chain_index, chain in enumerate(plan.tables(5)):
        for index, instruction in enumerate(chain.tables(2)):
            kind, arguments = instruction.integer(0, "B"), instruction.table(1)
            called = arguments.integer(0) if arguments is not None else 0
            if kind == _KERNEL_CALL:
                found[chain_index, index] = _Instruction(operators[called], "")
            elif kind == _DELEGATE_CALL:
                found[chain_index, index] = _Instruction("", delegates[called])
    return found


def _operators(run: Table, instructions: Mapping[Place, _Instruction]) -> list[Event]:
    """The operators of one run. A call is recorded after what it contains."""
    found: list[Event] = []
    inner: list[_Record] = []
    for record in _records(run):
        if record.inner:
            inner.append(record)
        elif record.name == "OPERATOR_CALL":
            operator = instructions[record.place].operator
            node = f"{_METHOD}, instruction {record.place[1]}"
            found.append(Event(record.place, operator, node, node, "", record.ns))
        elif record.name == "DELEGATE_CALL":
            found += _delegated(record, inner, instructions[record.place].delegate)
            inner = []
    return found


def _delegated(call: _Record, inner: Sequence[_Record], delegate: str) -> list[Event]:
    """What one delegate call ran, and the rest of it: arguments are checked and prepared, outputs resized."""
    place = f"{_METHOD}, instruction {call.place[1]}"
    found = []
    for index, record in enumerate(inner):
        operator, _, number = record.inner.rpartition(" #")  # "Fully Connected (NC, F32) GEMM #2"
        name = f"{place}, operator {index}"
        found.append(
            Event((call.place, index), operator if number.isdigit() else record.inner, name, "", delegate, record.ns)
        )
    rest = max(0, call.ns - sum(record.ns for record in inner))
    return [*found, Event((call.place, -1), CALL, place, "", delegate, rest)]


def _records(run: Table) -> list[_Record]:
    found = []
    for event in run.tables(3):
        profiled = event.table(0)
        if profiled is None:  # an allocation, or a tensor
            continue
        number = profiled.integer(3, default=-1)
        inner = profiled.text(4) or (f"operator {number}" if number >= 0 else "")
        place = (profiled.integer(1), profiled.integer(2, default=-1))
        ns = profiled.integer(7, "Q") - profiled.integer(6, "Q")
        found.append(_Record(profiled.text(0), place, inner, ns))
    return found
