"""A budget of ``edgekit check`` and its figure, as people read them."""

from __future__ import annotations

from edgekit.check_types import INCONCLUSIVE, KEPT, REGRESSION, Judgement
from edgekit.report.units import SIZES, digits, percent, with_unit

MARKS = {KEPT: "kept", REGRESSION: "REGRESSION", INCONCLUSIVE: "inconclusive"}


def limit_words(one: Judgement) -> str:
    """``≤ 120 kB``."""
    sign = "≤" if one.budget.startswith("max") else "≥"
    return f"{sign} {_figure(one.budget, one.limit)}"


def figure_words(one: Judgement) -> str:
    """``4.61 ms [4.55, 4.70]``; where there is no figure, what is there instead, or ``-``."""
    if one.value is None:
        return one.reason if one.verdict == KEPT and one.reason else "-"
    value = _figure(one.budget, one.value)
    if one.low is None and one.high is None:
        return value
    bounds = ("?" if bound is None else _number(one.budget, bound) for bound in (one.low, one.high))
    return f"{value} [{', '.join(bounds)}]"


def counts(judgements: tuple[Judgement, ...]) -> str:
    """``5 budgets kept, 1 regression``."""
    found = {verdict: sum(one.verdict == verdict for one in judgements) for verdict in MARKS}
    regressions = f"{found[REGRESSION]} regression{'' if found[REGRESSION] == 1 else 's'}"
    parts = [f"{found[KEPT]} of {len(judgements)} budgets kept"]
    parts += [regressions] if found[REGRESSION] else []
    parts += [f"{found[INCONCLUSIVE]} inconclusive"] if found[INCONCLUSIVE] else []
    return ", ".join(parts)


def _figure(budget: str, value: float) -> str:
    if budget == "max_size":
        return with_unit(value, SIZES)
    return f"{_number(budget, value)}{_unit(budget)}"


def _number(budget: str, value: float) -> str:
    if budget.endswith("ratio"):
        return f"{value:.3f}"
    if budget == "max_accuracy_drop":
        return f"{value * 100:.2f}"
    if budget in ("min_accuracy", "min_delegated"):
        return percent(value)
    return f"{value:.1f}" if budget == "min_sqnr_db" else digits(value)


def _unit(budget: str) -> str:
    if budget.endswith("_ms"):
        return " ms"
    if budget == "max_accuracy_drop":
        return " points"
    return {"min_accuracy": " %", "min_delegated": " %", "min_sqnr_db": " dB"}.get(budget, "")
