"""Taps of files that do not exist."""

from __future__ import annotations

from collections.abc import Sequence

from profiles.layers.taps import Tapped


def tap(
    tensor: str,
    operator: str,
    inputs: Sequence[str] = (),
    shape: Sequence[int] = (1, 4),
    module: str = "",
    twin: str = "",
    scale: float | None = None,
    dtype: str = "float32",
) -> Tapped:
    """One tensor; what is not said is of no importance."""
    zero_point = None if scale is None else 0
    return Tapped(tensor, tensor, operator, module, tuple(inputs), scale, zero_point, tuple(shape), dtype, twin)


def chain(*operators: str, prefix: str = "t", shape: Sequence[int] = (1, 4), module: bool = False) -> list[Tapped]:
    """Tensors that are computed one from the other."""
    found: list[Tapped] = []
    for place, operator in enumerate(operators):
        before = [found[-1].tensor] if found else ["input"]
        found.append(tap(f"{prefix}{place}", operator, before, shape, f"layers.{place}" if module else ""))
    return found
