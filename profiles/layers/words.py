"""What the layers say, in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.drift_types import LayerDrift


def said(layers: Sequence[LayerDrift], first: int | None) -> str:
    """The finding for a reader.

    Args:
        layers: In order of execution.
        first: ``index`` of the one that collapses.
    """
    for layer in layers:
        if layer.index == first:
            return _collapse(layer)
    return _health(layers)


def name_of(layer: LayerDrift) -> str:
    """A layer by operator and module path, or by its tensor where the file names no module."""
    called = layer.module or layer.tensor
    return called if layer.operator.rpartition("::")[2] in called else f"{layer.operator} {called}"


def _collapse(layer: LayerDrift) -> str:
    broken = "not finite" in layer.finding
    stands = "its values are not finite" if broken or layer.sqnr_db is None else f"SQNR falls to {layer.sqnr_db:.1f} dB"
    words = f"Drift begins at {name_of(layer)}: {stands}, {layer.lost_db:.1f} dB below what feeds it."
    if layer.finding and not broken:
        words += f" It is {layer.finding}."
    if "shifted" in layer.finding:
        words += " A lost or wrong bias does that."
    if layer.exclude:
        which = "it" if layer.module else "all of its kind"
        words += f" To keep {which} float: --exclude '{layer.exclude}'"
    return words


def _health(layers: Sequence[LayerDrift]) -> str:
    known = [layer for layer in layers if layer.sqnr_db is not None]
    if not known:
        return "No layer drifts: all that could be compared are identical."
    lowest = min(known, key=lambda layer: layer.sqnr_db or 0.0)
    most = max(layers, key=lambda layer: layer.lost_db)
    return (
        f"No layer's SQNR collapses. The lowest is {lowest.sqnr_db:.1f} dB at {name_of(lowest)}; "
        f"the one that loses most is {name_of(most)}, {most.lost_db:.1f} dB below what feeds it."
    )
