"""``edgekit check`` as Markdown, for the summary of a GitHub workflow step."""

from __future__ import annotations

import html
import re

from edgekit.check_types import INCONCLUSIVE, KEPT, REGRESSION, CheckReport, Judgement
from edgekit.harmless import harmless
from edgekit.report.budgets import MARKS, counts, figure_words, limit_words

_SIGNS = {KEPT: "✅", REGRESSION: "❌", INCONCLUSIVE: "⚠️"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>@:-])")


def step_summary(report: CheckReport) -> str:
    """A heading, a table of all budgets, and what to do about those that are not kept."""
    lines = [f"### {_SIGNS[report.verdict]} {report.command}: {counts(report.judgements)}", ""]
    lines += ["| file | on | budget | limit | figure [95 %] | verdict |", "|---|---|---|---:|---:|---|"]
    lines += [_row(one) for one in report.judgements]
    remarks = [line for one in report.judgements if one.verdict != KEPT for line in _remark(one)]
    return "\n".join([*lines, *(["", *remarks] if remarks else [])]) + "\n"


def _row(one: Judgement) -> str:
    cells = (one.model, one.device, one.budget, limit_words(one), figure_words(one))
    verdict = f"{_SIGNS[one.verdict]} {MARKS[one.verdict]}"
    return f"| {' | '.join(_text(cell) for cell in cells)} | {verdict} |"


def _remark(one: Judgement) -> list[str]:
    parts = [one.reason, "measured twice" if one.attempts > 1 else ""]
    words = "; ".join(part for part in parts if part) or "beyond the limit"
    found = [f"- {_text(f'{one.model} on {one.device}, {one.budget}: {words}')}"]
    if one.hint:
        found.append(f"  <br>next: <code>{_inside_html(one.hint)}</code>")
    return found


def _text(text: str) -> str:
    """Text that no Markdown and no HTML is in, on one line."""
    line = " ".join(harmless(text).split())
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", line.replace("&", "&amp;"))


def _inside_html(text: str) -> str:
    line = html.escape(" ".join(harmless(text).split()))
    return re.sub(r"([\\`*_\[\]|~@])", lambda found: f"&#{ord(found[0])};", line)
