"""Colours of the page's charts.

Charts are drawn once, in the colours for light pages; style sheets put those for dark ones in their place, so that
switching, and printing, draws nothing anew.
"""

from __future__ import annotations

VARIANTS = (
    ("#2166d1", "#6ea8ff"), ("#d9730d", "#ffa24d"), ("#16804a", "#4fd08a"), ("#c62f4b", "#ff6f7f"),
    ("#7a3fc4", "#b990ff"), ("#0b9aa5", "#32d3dd"), ("#d03fb0", "#ff86e0"), ("#7d4a1e", "#c98d55"),
    ("#8a8f10", "#d6dc45"), ("#14315f", "#3f6fd0"), ("#6a7280", "#aab4c3"), ("#4cb944", "#a6f29b"),
)  # fmt: skip
"""Of one variant each, on a light and on a dark page."""

TYPES = (
    ("#5b7c99", "#7f9db8"), ("#b08968", "#c9a585"), ("#7f9f7a", "#9dba97"), ("#a5677a", "#c48a9b"),
    ("#8d84b5", "#aaa2d0"), ("#c2b067", "#d3c483"), ("#6fa3a3", "#8fc0c0"), ("#c98b7a", "#dca696"),
    ("#9aa5b1", "#737d89"),
)  # fmt: skip
"""Of types of operators: muted, so that nobody takes them for variants. The last is for all others."""

INK = (("#1b1f26", "#e8eaee"), ("#5a6270", "#a3abb8"), ("#dfe3e8", "#343a44"), ("#fefefe", "#16191f"))
"""Text, faint text, lines of the grid, and ground."""


def swatches(scope: str = "", dark: bool = False) -> str:
    """Rules that give the colour of each place to the mark beside a name."""
    return "".join(
        f'{scope} .swatch[data-slot="{place}"]{{background:{pair[dark]}}}' for place, pair in enumerate(VARIANTS)
    )


def sheet(scope: str) -> str:
    """Rules that put the colours for dark pages into what was drawn, inside a selector."""
    pairs = (*VARIANTS, *TYPES, *INK)
    return swatches(scope, dark=True) + "".join(
        f'{scope} .chart [{kind}="{light}"]{{{kind}:{dark}}}' for light, dark in pairs for kind in ("fill", "stroke")
    )
