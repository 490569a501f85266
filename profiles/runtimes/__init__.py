"""Runtimes: one file each, which runs on the host and, inside the agent, on a device.

A runtime file is found by the registry on the host and imported by the agent where it measures, so it is
Python 3.9, its top level imports nothing heavy, and it holds:

    NAME, TARGET, PACKAGES, EXTRA, DISTRIBUTION    see :class:`edgekit.plugins.Runtime`
    start() -> None                                import the runtime, once
    load(path, threads) -> Model                   load a file; includes whatever preparation the runtime does

The import is apart from the load, because memory and load time are counted from after it.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        """``operator`` and ``name`` of what the delegate did not take; ``None``: the runtime is silent."""
