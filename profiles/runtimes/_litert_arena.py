"""LiteRT's arena, from where the interpreter has put its tensors.

The interpreter has no call for it. It lays tensors out in one block, those that do not live at the same time one over
the other, and gives the address of each: what they cover together is the arena. Tensors inside a delegate have no
address, for the delegate keeps them itself, and constants lie in the file, which is mapped into memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles.agent.arena import Arena, unavailable

if TYPE_CHECKING:
    from profiles.runtimes import Array

_ALIGNMENT = 64
"""Of tensors in the arena (kDefaultTensorAlignment in TFLite's util.h): smaller gaps are padding."""

_DELEGATE = "DELEGATE"
_NO_ADDRESS = "Tensor data is null"


def arena(path: str, threads: int, feed: Mapping[str, Array]) -> Arena:
    """The arena of a file after one run; of its main graph, where it has several."""
    from profiles.runtimes import litert

    model: Any = litert.load(path, threads)
    model.run(feed)
    constants = _mapped(path)
    if not constants:
        return unavailable("the file is not mapped into memory, so its constants cannot be told apart")
    places = [
        (start, end)
        for start, end in _addresses(model.interpreter)
        if not any(low <= start < high for low, high in constants)
    ]
    delegated = any(item["op_name"] == _DELEGATE for item in model.interpreter._get_ops_details())
    note = "without what the delegate keeps for itself" if delegated else ""
    return {"arena_bytes": covered(places), "held_bytes": None, "note": note, "unavailable": ""}


def covered(places: Iterable[tuple[int, int]]) -> int:
    """Bytes that intervals of addresses cover together, padding between them included."""
    total, reached = 0, -_ALIGNMENT
    for start, end in sorted(places):
        if end > reached:
            total += end - (reached if start - reached < _ALIGNMENT else start)
            reached = end
    return total


def _addresses(interpreter: Any) -> list[tuple[int, int]]:
    """First address of each tensor that has one, and the address after its last."""
    found = []
    for item in interpreter.get_tensor_details():
        try:
            array = interpreter.tensor(item["index"])()
        except ValueError as error:
            if _NO_ADDRESS not in str(error):
                raise
            continue
        start = array.__array_interface__["data"][0]
        found.append((start, start + array.nbytes))
    return found


def _mapped(path: str) -> list[tuple[int, int]]:
    """Addresses at which a file is mapped (proc_pid_maps(5)); none where the system does not say."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    real = os.path.realpath(path)
    ranges = [line.split(maxsplit=5) for line in lines]
    pairs = [fields[0].split("-") for fields in ranges if len(fields) == 6 and fields[5] == real]
    return [(int(low, 16), int(high, 16)) for low, high in pairs]
