"""Devices on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.device_types import DeviceCheck, DeviceSetup, Discovered
from edgekit.report.units import SIZES, with_unit

_STYLES = {"ok": "green", "ready": "green", "missing": "red", "warning": "yellow", "unauthorized": "red"}


def show_list(found: Sequence[Discovered], console: Console) -> None:
    """Print the devices that could be used."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("device", "name", "state", ""):
        table.add_column(title, overflow="fold")
    for one in found:
        words = ". ".join(part for part in (one.words, one.hint) if part)
        table.add_row(Text(one.address), Text(one.name), _state(one.state), Text(words))
    console.print(table)


def show_check(found: DeviceCheck, console: Console) -> None:
    """Print what a device is, and every remark with its remedy."""
    console.print(Text(found.name if found.name == found.address else f"{found.name} ({found.address})", style="bold"))
    facts = found.facts
    if facts is not None:
        parts = [facts.board, facts.soc, facts.cpu, f"{facts.cores} cores", with_unit(facts.memory_bytes, SIZES)]
        parts += [facts.distribution, facts.libc, *(f"{_kind(one.part, one.cpus)}" for one in facts.clusters)]
        console.print(Text(" · ".join(part for part in parts if part)))
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for one in found.remarks:
        words = Text(one.words)
        if one.hint:
            words.append(f"\nnext: {one.hint}", style="dim")
        table.add_row(_state(one.state), Text(one.what), words)
    console.print(table)
    console.print(Text("It can be used." if found.usable else "It cannot be used yet."))


def show_setup(found: DeviceSetup, console: Console) -> None:
    """Print what is there now."""
    runtimes = ", ".join(f"{name} {version}" for name, version in found.runtimes.items())
    console.print(Text(f"{found.name} has {runtimes}, in {found.folder}."), soft_wrap=True)
    sent = "All of it was there." if found.reused else f"{with_unit(found.sent_bytes, SIZES)} were sent."
    console.print(Text(sent))
    for note in found.notes:
        console.print(Text(note), soft_wrap=True)
    console.print(Text(f"Now: edgekit profile model.tflite --device {found.name}"), soft_wrap=True)


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _kind(part: str, cpus: Sequence[int]) -> str:
    return f"{len(cpus)} x {part or 'CPUs of one kind'} ({', '.join(map(str, cpus))})"
