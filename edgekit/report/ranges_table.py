"""Calibration ranges on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(facts: Mapping[str, Any], console: Console) -> None:
    """Print what calibration found out about each tensor."""
    title = f"{facts['path']}: ranges of {len(facts['tensors'])} tensors of the {facts['form']} form"
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{facts['samples']} samples: {facts['origin']}", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=SIMPLE)
    table.add_column("tensor", overflow="fold")
    for name in ("min", "max", "mean", "std", "auto", "range", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    for tensor in facts["tensors"].values():
        table.add_row(Text(tensor["name"]), *_cells(tensor))
    console.print(table)
    note = "auto: the method with the least measured 8-bit error. error: of that range, below the tensor's own power."
    console.print(note, markup=False, highlight=False, soft_wrap=True)


def _cells(tensor: Mapping[str, Any]) -> list[str]:
    low, high = tensor["methods"][tensor["auto"]]
    numbers = (tensor["minimum"], tensor["maximum"], tensor["mean"], tensor["deviation"])
    return [*(f"{number:.4g}" for number in numbers), tensor["auto"], f"{low:.4g} to {high:.4g}", _error(tensor)]


def _error(tensor: Mapping[str, Any]) -> str:
    power = tensor["mean"] ** 2 + tensor["deviation"] ** 2
    noise = tensor["errors"][tensor["auto"]]
    return f"{10 * math.log10(noise / power):.1f} dB" if noise > 0 and power > 0 else "none"
