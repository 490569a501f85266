"""What a runtime plans for activations: its arena.

Each runtime says it in its own way, in a file beside its own, ``profiles/runtimes/_<name>_arena.py``, that holds
``arena(path, threads, feed) -> Arena``. It loads the file once more. Python 3.9.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    from profiles.runtimes import Array


class Arena(TypedDict):
    """The answer.

    Attributes:
        arena_bytes: Most that activations take at one time, constants and what a delegate keeps for itself left
            out; ``None`` where that is not known.
        held_bytes: What the runtime has reserved for it, where that is another figure.
        note: What the figure leaves out.
        unavailable: Why it is not known.
    """

    arena_bytes: int | None
    held_bytes: int | None
    note: str
    unavailable: str


def of(job: Mapping[str, Any], feed: Mapping[str, Array]) -> Arena:
    """The arena of a job's file, after a run on one sample."""
    name = f"profiles.runtimes._{job['runtime']}_arena"
    if importlib.util.find_spec(name) is None:
        return unavailable("this runtime does not say what it plans")
    module = importlib.import_module(name)
    return cast("Arena", module.arena(job["model"], job["threads"], feed))


def unavailable(reason: str) -> Arena:
    """The answer where there is no figure."""
    return {"arena_bytes": None, "held_bytes": None, "note": "", "unavailable": reason}
