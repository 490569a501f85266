"""The facts of one model file on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.report.units import SIZES, with_unit
from edgekit.types import TensorSpec

_SHOWN = 8  # names per operator type


def show(facts: Mapping[str, Any], console: Console) -> None:
    """Print what ``edgekit inspect`` found."""
    maker = f", made by {facts['producer']}" if facts["producer"] else ""
    title = f"{facts['path']}: {facts['kind']}, {with_unit(facts['size_bytes'], SIZES)}{maker}"
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _lines(facts):
        grid.add_row(name, Text(text))
    console.print(grid)
    if facts["operators"]:
        console.print(_operators(facts))
    if facts["layers"]:
        console.print(_layers(facts["layers"]))
    for heading, found in (("Stayed float", "stayed_float"), ("Outside the delegate", "undelegated")):
        _list(heading, facts[found], console)
    for note in facts["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("inputs", "outputs"):
        for index, item in enumerate(facts["signature"][name]):
            yield "" if index else name, _tensor(item)
    if facts["quantization"]:
        yield "scheme", facts["quantization"]
    weights = facts["weights_bytes_by_dtype"].items()
    stored = ", ".join(f"{dtype} {with_unit(size, SIZES)}" for dtype, size in weights)
    yield "parameters", f"{facts['parameters']:,}"
    yield "constants", stored or "none"
    macs = "unknown" if facts["macs"] is None else f"{facts['macs']:,}"
    yield "MACs", f"{macs} ({facts['macs_note']})" if facts["macs_note"] else macs
    if facts["memory_planned_bytes"] is not None:
        yield "memory", f"{with_unit(facts['memory_planned_bytes'], SIZES)} planned for activations"
    for name, text in facts["metadata"].items():
        yield name, text


def _tensor(item: Mapping[str, Any]) -> str:
    return str(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"])).replace("[", " [")


def _operators(facts: Mapping[str, Any]) -> Table:
    integer = facts["quantized_operators"]
    table = Table(box=SIMPLE)
    table.add_column("operator", overflow="fold")
    table.add_column("count", justify="right")
    if integer:
        table.add_column("on integers", justify="right")
    for operator, count in facts["operators"].items():
        table.add_row(Text(operator), str(count), *([str(integer.get(operator, "-"))] if integer else []))
    return table


def _layers(layers: Sequence[Mapping[str, str]]) -> Table:
    """Layers as ``--exclude`` names them; what stands in one place stands in one line."""
    places: dict[str, list[str]] = {}
    for layer in layers:
        places.setdefault(layer["path"] or "(top)", []).append(layer["kind"])
    table = Table(title="Layers, for --exclude and recipes", title_justify="left", box=SIMPLE)
    table.add_column("path", overflow="fold")
    table.add_column("kinds", overflow="fold")
    for path, kinds in places.items():
        table.add_row(Text(path), Text(", ".join(dict.fromkeys(kinds))))
    return table


def _list(heading: str, found: Sequence[Mapping[str, str]], console: Console) -> None:
    """Operators by type, with the names of the first few."""
    if not found:
        return
    names: dict[str, list[str]] = {}
    for item in found:
        names.setdefault(item["operator"], []).append(item["name"])
    console.print(f"{heading}: {len(found)}", style="bold", highlight=False)
    for operator, where in names.items():
        shown = ", ".join(filter(None, where[:_SHOWN]))
        more = f", and {len(where) - _SHOWN} more (--json has all)" if len(where) > _SHOWN else ""
        times = f" x{len(where)}" if len(where) > 1 else ""
        line = f"  {operator}{times}: {shown}{more}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
