"""Where tables are printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RichCast
from rich.measure import Measurement
from rich.segment import Segment

from edgekit.harmless import harmless

_WIDE = 160


def stdout_console() -> Console:
    """Stdout, as wide as the terminal; a pipe or file, which has no width, is taken to be wide."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return guarded(Console(width=None if known else _WIDE, emoji=False, markup=False))


def guarded(console: Console) -> Console:
    """A console that prints no text which a terminal would obey, whoever wrote it; colours are the console's own."""
    console.push_render_hook(_Guard())
    return console


class _Guard(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Guarded(one) for one in renderables]


class _Guarded:
    """Passes on what is printed, piece by piece."""

    def __init__(self, renderable: ConsoleRenderable | RichCast) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.renderable)
