"""Layers on a terminal: those that lose most, and SQNR along depth."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.drift_types import LayerDrift, LayersResult

_BARS = "▁▂▃▄▅▆▇█"
_FULL_DB = 60.0
_MOST_COLUMNS = 60
_MARK = "^ drift begins here"


def show(result: LayersResult, console: Console) -> None:
    """Print the layers of one file; the finding in words is printed by what calls this, above.

    Args:
        result: Of :func:`edgekit.layers.layers`.
        console: Where to; 80 columns are enough.
    """
    _say(console, f"layers, against {result.reference}, on {result.samples} samples", "bold")
    for line in depth(result):
        _say(console, line)
    by_index = {layer.index: layer for layer in result.layers}
    listed = [by_index[index] for index in result.worst]
    if result.first is not None and result.first not in result.worst:
        listed.insert(0, by_index[result.first])
    if listed:
        console.print()
        console.print(_table(listed, result.first))
    for layer in listed:
        if layer.finding:
            _say(console, f"{_name(layer)}: {layer.finding}", "yellow")
    if result.unmatched:
        _say(console, _unmatched(result.unmatched), "dim")
    for note in result.notes:
        _say(console, note, "dim")
    console.print()


def depth(result: LayersResult) -> list[str]:
    """SQNR along depth as bars, from 0 to 60 dB, and below them where drift begins.

    Layers that are identical have a full bar. Of neighbours that share a column the lowest is shown.
    """
    layers = result.layers
    columns = min(len(layers), _MOST_COLUMNS)
    if not columns:
        return []
    levels = [_FULL_DB] * columns
    mark: int | None = None
    for place, layer in enumerate(layers):
        column = place * columns // len(layers)
        levels[column] = min(levels[column], _level(layer))
        mark = column if layer.index == result.first else mark
    bars = "".join(_BARS[min(len(_BARS) - 1, int(level / _FULL_DB * len(_BARS)))] for level in levels)
    lines = [f"SQNR along depth  {bars}"]
    if mark is not None:
        lines.append(" " * (len(lines[0]) - columns + mark) + _MARK)
    return lines


def _level(layer: LayerDrift) -> float:
    if layer.sqnr_db is None:
        return 0.0 if layer.finding else _FULL_DB
    return min(max(layer.sqnr_db, 0.0), _FULL_DB)


def _table(listed: list[LayerDrift], first: int | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("loses most", overflow="fold")
    for title in ("dB", "lost dB", "float range", "range"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("--exclude", overflow="fold")
    for layer in listed:
        table.add_row(
            Text(_name(layer), style="bold red" if layer.index == first else ""),
            "-" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
            f"{layer.lost_db:.1f}",
            _range(layer.reference_low, layer.reference_high),
            _range(layer.low, layer.high),
            Text(layer.exclude),
        )
    return table


def _name(layer: LayerDrift) -> str:
    called = layer.module or layer.tensor
    return called if layer.operator.rpartition("::")[2] in called else f"{layer.operator} {called}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3g}…{high:.3g}"


def _unmatched(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3]) + ("…" if len(names) > 3 else "")
    return f"{len(names)} of its tensors have no counterpart in the float file: {shown}"


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)
