"""The facts of one model file on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.report.units import SIZES, digits, with_unit
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
    if facts["operators"] or facts["weights_bytes_by_operator"]:
        console.print(_operators(facts))
    if facts["largest_tensors"]:
        console.print(_largest(facts["largest_tensors"], sum(facts["weights_bytes_by_dtype"].values())))
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
    if facts["compressed_bytes"] is not None:
        yield "compressed", f"{with_unit(facts['compressed_bytes'], SIZES)} (DEFLATE at level 9, as in a zip archive)"
    macs = "unknown" if facts["macs"] is None else f"{facts['macs']:,}"
    yield "MACs", f"{macs} ({facts['macs_note']})" if facts["macs_note"] else macs
    if facts["moved_bytes"] is not None:
        yield "moved", f"{with_unit(facts['moved_bytes'], SIZES)} of weights, inputs and outputs of all operators"
    elif facts["work"]:
        yield "moved", f"unknown ({facts['moved_note']})"
    if facts["arithmetic_intensity"] is not None:
        yield "intensity", f"{digits(facts['arithmetic_intensity'])} operations per byte moved (2 MACs / moved)"
    if facts["memory_planned_bytes"] is not None:
        yield "memory", f"{with_unit(facts['memory_planned_bytes'], SIZES)} planned for activations"
    for name, text in facts["metadata"].items():
        yield name, text


def _tensor(item: Mapping[str, Any]) -> str:
    return str(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"])).replace("[", " [")


def _operators(facts: Mapping[str, Any]) -> Table:
    """Types of operators: how many, and what of the file's work and bytes is theirs."""
    integer, stored = facts["quantized_operators"], facts["weights_bytes_by_operator"]
    macs = _macs_by_operator(facts)
    total = sum(macs.values())  # none in sources, whose operators are not counted one by one
    table = Table(box=SIMPLE)
    table.add_column("operator", overflow="fold")
    table.add_column("count", justify="right")
    if integer:
        table.add_column("on integers", justify="right")
    if total:
        table.add_column("MACs", justify="right")
    if stored:
        table.add_column("weights", justify="right")
    for operator, count in facts["operators"].items():
        cells = [str(count)]
        cells += [str(integer.get(operator, "-"))] if integer else []
        if total:
            cells.append(f"{macs[operator] / total:.1%}" if macs.get(operator) else "-")
        if stored:
            cells.append(with_unit(stored[operator], SIZES) if operator in stored else "-")
        table.add_row(Text(operator), *cells)
    others = [operator for operator in stored if operator not in facts["operators"]]
    for operator in others:  # of sources, what stores and what computes have names of their own
        middle = [""] * (len(table.columns) - 2)
        table.add_row(Text(operator), *middle, with_unit(stored[operator], SIZES))
    return table


def _macs_by_operator(facts: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in facts["work"]:
        found[row["operator"]] = found.get(row["operator"], 0) + (row["macs"] or 0)
    return found


def _largest(tensors: Sequence[Mapping[str, Any]], stored: int) -> Table:
    """The largest stored tensors, with their share of all that is stored."""
    table = Table(title="Largest tensors", title_justify="left", box=SIMPLE)
    table.add_column("tensor", overflow="fold")
    table.add_column("type", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("share", justify="right")
    table.add_column("read by", overflow="fold")
    for item in tensors:
        sizes = ",".join(map(str, item["shape"]))
        share = f"{item['size_bytes'] / stored:.1%}" if stored else "-"
        size = with_unit(item["size_bytes"], SIZES)
        table.add_row(
            Text(item["name"]), Text(f"{item['dtype']} [{sizes}]"), size, share, Text(item["operator"] or "-")
        )
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
