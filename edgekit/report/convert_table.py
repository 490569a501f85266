"""The result of ``edgekit convert`` on a terminal: the table on stdout, failures on stderr."""

from __future__ import annotations

from collections import Counter

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.report.console import guarded, stdout_console
from edgekit.report.units import SIZES, percent, with_unit
from edgekit.types import Artifact, Drift, FloatOperator, Report

_SHOWN = 4
_LONGEST_NAME = 60  # longer ones are in the sidecar


def print_report(report: Report) -> None:
    """Print artifacts, what they left out, and failures."""
    out, err = stdout_console(), guarded(Console(stderr=True, highlight=False, emoji=False))
    if report.artifacts:
        out.print(_table(report))
    for line in _remarks(report):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for failure in report.failures:
        err.print(f"failed: {failure.what}: {failure.message}", style="red", markup=False, soft_wrap=True)
        for title, text in (("  next: ", failure.hint), ("  log:  ", failure.log)):
            if text:
                err.print(title + text.replace("\n", "\n        "), markup=False, soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(title=f"{report.source}: each file was run against the source", title_justify="left", box=SIMPLE)
    table.add_column("file", overflow="fold", min_width=24)
    for title in ("size", "SQNR", "limit", "top-1", "float ops", "undelegated", "check"):
        table.add_column(title, justify="right", no_wrap=True)
    for item in report.artifacts:
        table.add_row(
            item.path, with_unit(item.size_bytes, SIZES), *_drift_cells(item), *_left_cells(item), _check(item)
        )
    return table


def _drift_cells(item: Artifact) -> tuple[str, str, str]:
    drifts = item.verification.outputs
    if not drifts:
        return "-", "-", "-"
    worst = min(map(_sqnr, drifts))
    agreements = [drift.top1_agreement for drift in drifts if drift.top1_agreement is not None]
    return (
        "exact" if worst == float("inf") else f"{worst:.1f} dB",
        f"{item.verification.min_sqnr_db:g} dB",
        f"{percent(min(agreements))} %" if agreements else "-",
    )


def _sqnr(drift: Drift) -> float:
    return float("inf") if drift.sqnr_db is None else drift.sqnr_db


def _left_cells(item: Artifact) -> tuple[str, str]:
    quantized = item.scheme not in ("float32", "float16")
    return str(len(item.stayed_float)) if quantized else "-", str(len(item.undelegated))


def _check(item: Artifact) -> Text:
    skipped = item.verification.status == "skipped"
    return Text("not checked", style="yellow") if skipped else Text("passed", style="green")


def _remarks(report: Report) -> list[str]:
    """What stayed float and what was not delegated, by file; notes once."""
    lines: list[str] = []
    for item in report.artifacts:
        name = item.path.rpartition("/")[2]
        if item.stayed_float:
            lines.append(f"{name}: stayed float: {_listed(item.stayed_float)}")
        if item.undelegated:
            lines.append(f"{name}: not taken by the XNNPACK delegate: {_listed(item.undelegated)}")
    lines += _calibration_lines(report)
    notes = Counter(note for item in report.artifacts for note in item.notes)
    lines += [f"note: {note}" for note in notes]
    if report.artifacts:
        lines.append(f"Verified on: {report.artifacts[0].verification.inputs}. Details: FILE.json beside each file.")
    return lines


def _calibration_lines(report: Report) -> list[str]:
    """Where ranges came from, once for all files that share them."""
    lines = []
    for facts in dict.fromkeys(item.calibration for item in report.artifacts if item.calibration is not None):
        again = "ranges of an earlier command, " if facts.reused else ""
        kept = f"; edgekit inspect {facts.ranges}" if facts.ranges else ""
        lines.append(f"Calibrated: {again}{facts.samples} samples, method {facts.method}{kept}")
    return lines


def _listed(operators: tuple[FloatOperator, ...]) -> str:
    kinds = Counter(item.operator for item in operators)
    shown = ", ".join(f"{count}x {kind}" for kind, count in kinds.most_common())
    names = [item.name for item in operators if 0 < len(item.name) <= _LONGEST_NAME][:_SHOWN]
    more = ", …" if len(operators) > _SHOWN else ""
    return f"{shown} ({', '.join(names)}{more})" if names else shown
