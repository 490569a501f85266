"""Writes the rows of ``quantization.py`` into docs/quantization.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _cases import ROOT

PAGE = ROOT / "docs" / "quantization.md"
START, END = "<!-- quantization: make quantization -->", "<!-- /quantization -->"
TITLES = {"tflite": "TFLite", "onnx": "ONNX", "executorch": "ExecuTorch"}
HEAD = (
    "| model | target | SQNR, dB: own tool | edgekit | top-1, %: float | own tool | edgekit "
    "| time, edgekit / own tool |\n"
    "| --- | --- | --: | --: | --: | --: | --: | --: |"
)


def write(rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the table between the marks of the page.

    Args:
        rows: As in the script's JSON.
    """
    text = PAGE.read_text()
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit(f"{PAGE} has no place for the table: {START} … {END}")
    table = "\n".join([HEAD, *map(_line, rows)])
    PAGE.write_text(f"{before}{START}\n{table}\n{END}{after}")


def _line(row: Mapping[str, Any]) -> str:
    peer, own = row["files"].get("peer"), row["files"].get("edgekit")
    name = next(iter(row["float_top1"]), None)
    shares = [None if name is None else item.get(name) for item in (row["float_top1"], _top1(peer), _top1(own))]
    latency = row["latency"]
    cells = [
        row["model"],
        TITLES[row["target"]],
        *(_number(None if item is None else item["sqnr_db"]) for item in (peer, own)),
        *(_number(None if share is None else 100 * share) for share in shares),
        "{:.2f} ({:.2f} to {:.2f})".format(*latency) if latency else "",
    ]
    return f"| {' | '.join(cells)} |"


def _top1(item: Mapping[str, Any] | None) -> Mapping[str, float]:
    return {} if item is None else item["top1"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
