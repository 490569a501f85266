"""Runtimes: one file each, which runs on the host and, inside the agent, on a device.

A runtime file is found by the registry on the host and imported by the agent where it measures, so it is
Python 3.9, its top level imports nothing heavy, and it holds:

    NAME, TARGET, PACKAGES, EXTRA, DISTRIBUTION    see :class:`edgekit.plugins.Runtime`
    start() -> None                                import the runtime, once
    load(path, threads) -> Model                   load a file; includes whatever preparation the runtime does
    operators(model, path, threads, feeds, runs)   time each operator; see :class:`Profiled`

The import is apart from the load, because memory and load time are counted from after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]


class Tensor(TypedDict):
    """An input or output, as the agent's answers carry it.

    Attributes:
        name: As the file has it.
        shape: Sizes, ``None`` for a dynamic one.
        dtype: NumPy dtype name, or the runtime's own word for a type that NumPy does not have.
        scale, zero_point: Of an integer that stands for ``scale * (value - zero_point)``; ``None`` for a plain one.
    """

    name: str
    shape: list[int | None]
    dtype: str
    scale: float | None
    zero_point: int | None


class Model(Protocol):
    """A loaded file.

    Attributes:
        inputs, outputs: In the order of the file.
        notes: What a reader of the figures should know.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    notes: list[str]

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Any]:
        """One inference: feeds the inputs, runs, fetches all outputs as arrays of their own."""

    def undelegated(self) -> list[dict[str, str]] | None:
        """``operator``, ``name`` and ``node`` of what the delegate did not take; ``None``: the runtime is silent."""

    def nodes(self) -> int | None:
        """Number of operators, with those that the delegate took; ``None``: the runtime is silent."""


class Profiled(TypedDict):
    """What ``operators(model, path, threads, feeds, runs)`` returns.

    It loads the file at ``path`` again, with the runtime's profiler on, and runs it ``runs`` times on ``feeds`` in
    turn, arrays by name as ``model.run`` takes them; ``model`` is the file as ``load`` made it. It raises
    :class:`profiles.runtimes._events.ProfilerUnavailableError` where this version of the runtime cannot profile.

    Attributes:
        operators: Rows of :func:`profiles.runtimes._events.rows`.
        run_ns: Time of each profiled run, from the outside.
    """

    operators: list[dict[str, Any]]
    run_ns: list[int]


RUNS_BEFORE_PROFILE = 3
"""Runs that warm a profiled file up, and are not recorded."""


def in_turn(feeds: Sequence[Mapping[str, Array]], runs: int) -> list[Mapping[str, Array]]:
    """The feeds of ``runs`` profiled runs, with those before them."""
    return [feeds[index % len(feeds)] for index in range(RUNS_BEFORE_PROFILE + runs)]
