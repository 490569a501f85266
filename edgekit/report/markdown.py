"""A report as Markdown, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgekit.harmless import harmless
from edgekit.report.units import SIZES, TIMES, with_unit
from edgekit.summary_types import Summary, Value, Variant
from edgekit.types import Report

_NONE = "-"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@:/&$-]|(?<=www)\.)", re.IGNORECASE)
"""What markup, mentions, formulas and links begin with; GitHub makes a link of ``www.`` alone."""


def markdown(report: Report, summary: Summary) -> str:
    """A sentence, a table, and what a reader should know.

    Args:
        report: Where the summary is from.
        summary: Of it.

    Returns:
        GitHub's Markdown, with a newline at the end. Names cannot become markup, links or mentions.
    """
    changed = any(one.accuracy_change.value is not None for one in summary.variants)
    names = {one.accuracy_name for one in summary.variants if one.accuracy_name}
    accuracy = " / ".join(sorted(map(escaped, names)))
    titles = ["file", "size", "of baseline", "p50", "time ratio (95 % CI)"]
    titles += [f"{accuracy}, change" if changed else accuracy] if names else []
    titles += ["SQNR, dB", "delegated", "verdict"]
    lines = [f"**{escaped(summary.finding)}**", "", _row(titles), _row([":--", *("--:" for _ in titles[1:-1]), ":--"])]
    lines += [_row(_cells(one, summary, changed=changed, accuracy=bool(names))) for one in summary.variants]
    lines += ["", *_below(report, summary)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(harmless(text).split()))


def _cells(one: Variant, summary: Summary, *, changed: bool, accuracy: bool) -> list[str]:
    name = escaped(one.key)
    time = "baseline" if one.baseline else _NONE if one.emulated else _with_interval(one.time_ratio)
    shown = one.accuracy_change if changed else one.accuracy
    return [
        f"**{name}**" if one.key == summary.recommended else name,
        _text(one.size, lambda value: with_unit(value, SIZES)),
        _text(one.size_ratio, lambda value: f"{value:.2f}"),
        _text(one.p50, lambda value: with_unit(value, TIMES)) + (" (emulated)" if one.emulated else ""),
        time,
        *([_share(shown, sign=changed)] if accuracy else []),
        "equal" if one.sqnr.unavailable == "identical" else _text(one.sqnr, lambda value: f"{value:.1f}"),
        _text(one.delegated, lambda value: f"{value:.0%}"),
        (escaped(one.verdict) if one.verdict != "none" else _NONE) + (" \\*" if one.pareto else ""),
    ]


def _below(report: Report, summary: Summary) -> list[str]:
    found = []
    if summary.judged_on:
        found.append(f"\\* no other file is at least as good in {' and '.join(summary.judged_on)}.")
    for place in report.devices:
        facts = place.facts
        found.append(f"{escaped(place.name)}: {escaped(facts.cpu)}, {facts.cores} cores, {escaped(facts.system)}.")
    runtimes = dict.fromkeys(item.runtime for item in report.profiles)
    if runtimes:
        found.append(f"{', '.join(map(escaped, runtimes))}.")
    found += map(escaped, summary.notes)
    found += [f"Failed: {escaped(one.what)}: {escaped(one.message)}" for one in report.failures]
    return [f"- {line}" for line in found]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(one: Value, write: Callable[[float], str]) -> str:
    return _NONE if one.value is None else write(one.value)


def _with_interval(one: Value) -> str:
    if one.value is None:
        return _NONE
    known = one.low is not None and one.high is not None
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" if known else f"{one.value:.3f}"


def _share(one: Value, *, sign: bool) -> str:
    if one.value is None:
        return _NONE
    plus = "+" if sign else ""
    interval = "" if one.low is None or one.high is None else f" ({_number(one.low, one)} to {_number(one.high, one)})"
    return f"{_number(one.value, one, plus)}{interval}"


def _number(value: float, one: Value, sign: str = "") -> str:
    return f"{value * 100:{sign}.2f} %" if one.unit == "ratio" else f"{value:{sign}.4g}"
