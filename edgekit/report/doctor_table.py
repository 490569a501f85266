"""The state of machine and environment on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.doctor import Diagnosis
from edgekit.packages import Extra, Package
from edgekit.report.units import SIZES, with_unit

_MARKS = {True: "yes", False: "no", None: "?"}


def show(found: Diagnosis, console: Console) -> None:
    """Print what ``edgekit doctor`` found, the verdict last."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _machine(found):
        grid.add_row(name, Text(text))
    console.print(grid)
    console.print(_features(found))
    console.print(_packages(found))
    for extra in found.extras:
        if not extra.complete:
            _say(console, f"{_title(extra)} is not complete: {extra.command}")
    for finding in found.findings:
        style = "red" if finding.problem else "yellow"
        _say(console, f"{'problem' if finding.problem else 'note'}: {finding.what}", style)
        if finding.fix:
            _say(console, f"  next: {finding.fix}")
    verdict = "Nothing is broken." if found.healthy else "Something is broken; see the problems above."
    _say(console, verdict, "bold")


def _machine(found: Diagnosis) -> list[tuple[str, str]]:
    machine = found.machine
    verdict = "" if found.python_fits else f" (not supported: {found.python_required})"
    return [
        ("Python", found.python + verdict),
        ("system", f"{machine.system}, {machine.machine}"),
        ("processor", f"{machine.cpu}, {machine.cores} cores" + (", emulated" if machine.emulated else "")),
        ("memory", with_unit(machine.memory_bytes, SIZES)),
        ("disk", f"{with_unit(found.temp_free_bytes, SIZES)} free in {found.temp_folder}"),
        ("int8", found.int8 or "unknown: this system does not say what its processor can do"),
    ]


def _features(found: Diagnosis) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("instructions")
    table.add_column("present")
    table.add_column("good for", overflow="fold")
    for feature in found.features:
        table.add_row(feature.name, _MARKS[feature.present], feature.meaning)
    return table


def _packages(found: Diagnosis) -> Table:
    table = Table(box=SIMPLE)
    for title in ("needed by", "package", "range", "installed"):
        table.add_column(title, overflow="fold")
    for extra in found.extras:
        for index, package in enumerate(extra.packages):
            table.add_row("" if index else Text(_title(extra)), package.name, package.required, _state(package))
    return table


def _title(extra: Extra) -> str:
    return f"edgekit[{extra.name}]" if extra.name else "edgekit"


def _state(package: Package) -> Text:
    if package.installed is None:
        return Text("no", style="yellow")
    return Text(package.installed) if package.fits else Text(f"{package.installed}: out of range", style="red")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
