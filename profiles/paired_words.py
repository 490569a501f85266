"""A figure of a task in a sentence, with what can and cannot be said about its difference."""

from __future__ import annotations

import math

from edgekit.drift_types import TaskFigure

TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "f1": "macro F1",
    "accuracy": "accuracy",
    "auc": "AUC",
    "mean_abs_error": "mean absolute error",
    "mean_squared_error": "mean squared error",
    "rmse": "RMSE",
    "r2": "R²",
    "map": "mAP",
    "map50": "mAP at IoU 0.5",
    "miou": "mIoU",
    "word_error_rate": "word error rate",
}


def title(metric: str) -> str:
    """What users call a metric; its name where nothing else is known."""
    return TITLES.get(metric, metric)


def words(figure: TaskFigure, subject: str = "the file") -> str:
    """Such as ``int8 loses 0.3 points (95 %: 0.0 to 0.7), not shown to differ; 1,000 samples``.

    Args:
        figure: Without its words.
        subject: Who loses.
    """
    name = title(figure.metric)
    if figure.value is None:
        return f"{name} of {subject}: not known, {figure.unavailable}"
    count = f"{figure.samples:,} sample{'s' * (figure.samples != 1)}"
    if figure.difference is None:
        return f"{name} of {subject}: {_value(figure)}; {count}"
    parts = [f"{subject} {_change(figure)}{_verdict(figure)}", count]
    if figure.samples_needed is not None:
        half = "half a point" if figure.unit == "ratio" else "half a percent of it"
        parts.append(f"about {_round(figure.samples_needed):,} would settle {half}")
    return f"{name}: {'; '.join(parts)}"


def _value(figure: TaskFigure) -> str:
    value = figure.value or 0.0
    if figure.unit == "ratio":
        bounds = _span(figure.low, figure.high, 100, ".1f")
        return f"{100 * value:.1f} %{bounds}"
    return f"{value:.4g}{_span(figure.low, figure.high, 1, '.4g')}"


def _change(figure: TaskFigure) -> str:
    """The difference, so that a loss is a positive number of what is lost."""
    difference = figure.difference or 0.0
    low, high = figure.difference_low, figure.difference_high
    sign = 1 if difference > 0 else -1
    bounds = (low, high) if sign > 0 or low is None or high is None else (-high, -low)
    points = figure.unit == "ratio"
    factor, form = (100, _decimals(figure)) if points else (1, ".3g")
    span = _span(*bounds, factor, form)
    if difference == 0:
        return f"is level with the reference{span}"
    if points and figure.higher_is_better:
        return f"{'gains' if sign > 0 else 'loses'} {_number(abs(difference) * factor, form)} points{span}"
    better = (sign > 0) == figure.higher_is_better
    amount = f"{_number(abs(difference) * factor, form)}{' points' * points}"
    return f"is {amount} {'better' if better else 'worse'}{span}"


def _decimals(figure: TaskFigure) -> str:
    """One decimal of a point; two where there are many samples, or where one would hide the difference."""
    small = 0 < 100 * abs(figure.difference or 0) < 0.05
    return ".2f" if figure.samples >= 10_000 or small else ".1f"


def _verdict(figure: TaskFigure) -> str:
    if figure.differs is None:
        return ""
    if figure.differs:
        return ", shown to differ"
    low, high = figure.difference_low, figure.difference_high
    if low is not None and high is not None and not low <= 0 <= high:
        return ", at the edge and by the exact test not shown to differ"
    return ", not shown to differ"


def _span(low: float | None, high: float | None, factor: float, form: str) -> str:
    if low is None or high is None:
        return ""
    return f" (95 %: {_number(low * factor, form)} to {_number(high * factor, form)})"


def _number(value: float, form: str) -> str:
    text = f"{value:{form}}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def _round(count: int) -> int:
    """To two digits: it is an estimate."""
    return round(count, 1 - math.floor(math.log10(count))) if count else 0
