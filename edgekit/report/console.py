"""Where tables are printed."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WIDE = 160


def stdout_console() -> Console:
    """Stdout, as wide as the terminal; a pipe or file, which has no width, is taken to be wide."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else _WIDE, emoji=False)
