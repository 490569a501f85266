"""The facts of calibration and test data on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

_SHOWN_CLASSES = 30
_SHOWN_SIZES = 4
_FIGURES = ("minimum", "maximum", "mean", "std")


def show(facts: Mapping[str, Any], console: Console) -> None:
    """Print what ``edgekit inspect --data`` found."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    seen = f", as {facts['model']} will see them" if facts["model"] else ""
    say(f"{facts['data']}: {facts['samples']:,} samples{seen}", "bold")
    for line in _pictures(facts["pictures"]):
        say(line)
    console.print(_arrays(facts["arrays"]))
    if facts["classes"]:
        console.print(_classes(facts["classes"]))
        if len(facts["classes"]) > _SHOWN_CLASSES:
            say(f"and {len(facts['classes']) - _SHOWN_CLASSES} more classes (--json has all)")
    else:
        say("no labels")
    for note in facts["notes"]:
        say(f"note: {note}", "yellow")
    if facts["contact_sheet"]:
        say(f"contact sheet: {facts['contact_sheet']}")


def _pictures(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    sizes = sorted(found["sizes"].items(), key=lambda item: -item[1])
    more = f", and {len(sizes) - _SHOWN_SIZES} other sizes" if len(sizes) > _SHOWN_SIZES else ""
    yield "pictures, height x width: " + ", ".join(f"{size} ({count:,})" for size, count in sizes[:_SHOWN_SIZES]) + more
    yield "kinds: " + ", ".join(f"{mode} ({count:,})" for mode, count in found["modes"].items())
    yield f"preprocessing: {found['preprocess'] or 'none given; a model needs --preprocess'}"


def _arrays(arrays: list[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("array", overflow="fold")
    for name in ("dtype", "shape"):
        table.add_column(name, no_wrap=True)
    for name in ("min", "max", "mean", "std", "NaN, inf"):
        table.add_column(name, justify="right", no_wrap=True)
    for array in arrays:
        shape = "[" + ",".join("?" if size is None else str(size) for size in array["shape"]) + "]"
        bad = Text(f"{array['not_finite']:,}", style="red" if array["not_finite"] else "")
        table.add_row(Text(array["name"]), array["dtype"], Text(shape), *_figures(array), bad)
        if len(array["channels"]) > 1:
            for place, channel in enumerate(array["channels"]):
                table.add_row(f"  channel {place}", "", "", *_figures(channel), "")
    return table


def _figures(found: Mapping[str, Any]) -> list[str]:
    return ["-" if found[name] is None else f"{found[name]:.4g}" for name in _FIGURES]


def _classes(classes: list[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("label", justify="right")
    table.add_column("class", overflow="fold")
    table.add_column("samples", justify="right")
    for item in classes[:_SHOWN_CLASSES]:
        table.add_row(str(item["label"]), Text(item["name"]), f"{item['samples']:,}")
    return table
