"""What the taps of all formats have in common; the contract is :class:`edgekit.plugins.Tap`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypedDict

from edgekit.errors import UnsupportedError

DTYPES = frozenset(
    "bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
)  # fmt: skip
"""What is measured: NumPy has no arithmetic on other numbers, and text and handles are none."""

_MANY_BYTES = 1_000_000_000
_SHOWN = 5


class Row(TypedDict):
    """One tensor that a tapped file has as an output.

    Attributes:
        output: Name of the output in the tapped file.
        tensor: Name in the file that was tapped; no other row has it.
        operator: Type of what made it, as the format calls it.
        module: Path of that in the source; empty where the file does not say.
        inputs: ``tensor`` of the rows that its operator reads, and names of the model's inputs; where what it reads is
            not tapped, of those that this is computed from.
        scale, zero_point: Of quantized integers, one of each for the whole tensor; ``None`` otherwise.
        shape: Sizes; ``None`` for those that are not known before a run; empty where nothing is known.
        dtype: NumPy's name.
        twin: What a float file of the same model calls it, as far as names tell: that is the name without what
            quantizers put behind it. Two rows may have one twin: a tensor and what it is quantized to.
    """

    output: str
    tensor: str
    operator: str
    module: str
    inputs: list[str]
    scale: float | None
    zero_point: int | None
    shape: list[int | None]
    dtype: str
    twin: str


class Tapped(TypedDict):
    """What a tap's job returns."""

    taps: list[Row]
    notes: list[str]


def sources(names: Iterable[str], shown: Collection[str], behind: Callable[[str], Sequence[str]]) -> list[str]:
    """What tensors are computed from, among those that can be seen.

    Args:
        names: The tensors.
        shown: Names of those that are tapped, and of the model's inputs.
        behind: The tensors that the operator reads that makes one; empty for constants.

    Returns:
        The nearest ones, in order, each once.
    """
    found: dict[str, None] = {}
    seen: set[str] = set()
    todo = list(names)[::-1]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in shown:
            found[name] = None
        else:
            todo += list(behind(name))[::-1]
    return list(found)


def without_suffix(name: str, suffixes: Iterable[str]) -> str:
    """A name without the first of the suffixes that it ends in."""
    for suffix in suffixes:
        if name.endswith(suffix) and name != suffix:
            return name[: -len(suffix)]
    return name


def unused(wanted: str, taken: Collection[str]) -> str:
    """A name that is not taken yet: the wanted one, or that with marks behind it."""
    while wanted in taken:
        wanted += "#"
    return wanted


def bytes_note(total: int) -> list[str]:
    """What to say of tensors that take much memory at once, if they do."""
    if total < _MANY_BYTES:
        return []
    return [f"All its inner tensors take {total / 1e9:.1f} GB for each sample, and as outputs they are kept at once."]


def left_out(what: str, names: Sequence[str]) -> list[str]:
    """A note on tensors that are not shown, if there are any.

    Args:
        what: Why not.
        names: Of them.
    """
    if not names:
        return []
    listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return [f"{len(names)} of its inner tensors are not looked at ({what}): {listed}."]


def check_any(rows: Sequence[Row], path: str) -> None:
    """Refuse a file without anything to look at.

    Raises:
        UnsupportedError: There is no row.
    """
    if not rows:
        raise UnsupportedError(
            f"{path}: no operator of it makes a tensor of numbers at run time, so there are no layers to compare.",
            hint="Compare its outputs alone: leave --layers out.",
        )
