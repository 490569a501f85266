"""Transpositions at the border of a converted file: what a layout that differs from the source's costs each run."""

from __future__ import annotations

from collections.abc import Sequence

from converters.layers import Layer


def at_border(layers: Sequence[Layer]) -> int:
    """How many layers do nothing but transpose an input of the model, or make an output of it."""
    return sum(layer.kind == "transpose" and (not layer.inputs or layer.is_output) for layer in layers)


def notes(layers: Sequence[Layer]) -> list[str]:
    """A note on them; empty where there are none.

    Args:
        layers: Of the file (``layers_of`` of its format).
    """
    count = at_border(layers)
    name = next((layer.operator for layer in layers if layer.kind == "transpose"), "")
    return [f"{count} {name} at the border of the file."] if count else []
