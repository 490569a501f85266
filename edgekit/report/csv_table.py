"""A report as CSV: a row for each file, a column for each figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from edgekit.harmless import harmless
from edgekit.summary_types import Summary, Value, Variant
from edgekit.types import Report

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by."""

_PLAIN = ("key", "path", "target", "scheme", "device", "threads", "emulated", "baseline", "pareto", "verdict")
_VALUES = {
    "size_ratio": "size_ratio",
    "time_ratio": "time_ratio",
    "headline_accuracy": "accuracy",
    "accuracy_change": "accuracy_change",
    "sqnr_db": "sqnr",
    "delegated": "delegated",
}
"""Columns of the summary, none of which is called like a metric; and the attributes they are from."""


def csv_table(report: Report, summary: Summary) -> str:
    """Everything that was measured, in plain numbers: nanoseconds, bytes, shares from 0 to 1.

    Args:
        report: With all figures.
        summary: Of it; its order is that of the rows.
    """
    metrics = dict.fromkeys(one.metric for item in report.profiles for one in item.measurements)
    titles = [*_PLAIN, "time_verdict", "accuracy_name"]
    for name in dict.fromkeys((*_VALUES, *map(_title, metrics))):
        titles += [name, f"{name}_low", f"{name}_high"]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, titles, lineterminator="\n")
    writer.writeheader()
    for one in summary.variants:
        writer.writerow({**_row(one), **_figures(one, report)})
    return stream.getvalue()


def _row(one: Variant) -> dict[str, object]:
    found: dict[str, object] = {name: _cell(getattr(one, name)) for name in (*_PLAIN, "time_verdict", "accuracy_name")}
    for name, attribute in _VALUES.items():
        value: Value = getattr(one, attribute)
        found.update(_three(name, {"value": value.value, "low": value.low, "high": value.high}))
    return found


def _figures(one: Variant, report: Report) -> dict[str, object]:
    own = (one.path, one.device, one.threads)
    places = [item for item in report.profiles if (item.path, item.device, item.threads) == own]
    found: dict[str, object] = {}
    for figure in places[0].measurements if places else ():
        found.update(_three(_title(figure.metric), {"value": figure.value, "low": figure.low, "high": figure.high}))
    return found


def _three(name: str, values: Mapping[str, float | None]) -> dict[str, object]:
    return {name: values["value"], f"{name}_low": values["low"], f"{name}_high": values["high"]}


def _title(metric: str) -> str:
    return str(_cell(metric))


def _cell(value: object) -> object:
    """Text that no spreadsheet computes."""
    if not isinstance(value, str):
        return value
    text = harmless(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
