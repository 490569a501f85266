"""What edgekit can do, on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from edgekit.capabilities import Capabilities, Format, Way

_TYPED = 2  # the first columns hold names and flags


def show(found: Capabilities, console: Console) -> None:
    """Print what ``edgekit list`` found."""
    for title, formats in (("Sources", found.sources), ("Targets (--to)", found.targets)):
        console.print(_formats(title, formats))
    console.print(_schemes(found))
    for form in dict.fromkeys(way.form for way in found.ways):
        console.print(_matrix(form, found))
    titles = {target.name: target.title for target in found.targets}
    for line in dict.fromkeys(
        f"{way.scheme} on {titles[way.target]}: {way.refused}" for way in found.ways if way.refused
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    absent = sorted({extra for way in found.ways if way.missing for extra in way.extras})
    if absent:
        console.print(
            f"(yes): possible once its packages are there: pip install 'edgekit[{','.join(absent)}]'",
            markup=False,
            highlight=False,
        )


def _formats(title: str, formats: tuple[Format, ...]) -> Table:
    table = _table(title, "name", "format", "files", "installed")
    for item in formats:
        command = f"no: pip install 'edgekit[{item.extra}]'"
        table.add_row(item.name, item.title, " ".join(item.suffixes), _plain(command if item.missing else "yes"))
    return table


def _schemes(found: Capabilities) -> Table:
    table = _table("Schemes (bits of weights/activations)", "name", "flag", "bits", "data", "")
    for scheme in found.schemes:
        bits = f"{scheme.weight_bits}/{scheme.activation_bits}"
        needed = "needed" if scheme.needs_calibration else "-"
        table.add_row(scheme.name, scheme.flag or "(none)", bits, needed, scheme.summary)
    return table


def _matrix(form: str, found: Capabilities) -> Table:
    sources = ", ".join(source.title for source in found.sources if source.form == form)
    table = _table(f"From {sources}", "scheme", *(target.title for target in found.targets))
    cells = {(way.scheme, way.target): way for way in found.ways if way.form == form}
    for scheme in found.schemes:
        table.add_row(scheme.name, *(_cell(cells[scheme.name, target.name]) for target in found.targets))
    return table


def _cell(way: Way) -> str:
    if way.steps is None:
        return "-"
    return "(yes)" if way.missing else "yes"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE)
    for index, column in enumerate(columns):
        # What is typed stays in one piece; the rest gives way on a narrow terminal.
        table.add_column(column, overflow="fold", no_wrap=index < _TYPED)
    return table


def _plain(text: str) -> str:
    """Without rich taking ``[torch]`` for markup."""
    return text.replace("[", "\\[")
