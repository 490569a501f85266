"""What ``edgekit drift`` prints: the verdicts first, then figures, then what is behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgekit.drift_types import ClassFigures, Drift, Figure, FileDrift, Flips, TaskFigure, TaskResult
from edgekit.report.units import digits, percent
from edgekit.types import Report

_NONE = "-"
_STYLES = {"equal": "green", "acceptable": "green", "degraded": "yellow", "broken": "bold red", "none": "dim"}
_MOST_CLASSES = 8
_MOST_SAMPLES = 8
_MOST_ARRAYS = 6
_TITLES = {
    "max_abs": "max abs",
    "mean_abs": "mean abs",
    "rmse": "RMSE",
    "sqnr": "SQNR",
    "psnr": "PSNR",
    "cosine": "cosine",
    "kl": "KL",
    "relative": "relative",
}


def show(report: Report, console: Console) -> None:
    """Print a report of :func:`edgekit.drift.drift`.

    Args:
        report: The report.
        console: Where to; 80 columns are enough.
    """
    loud = [note for note in report.notes if note.startswith("Random inputs")]
    for note in loud:
        _say(console, note, "bold yellow")
        console.print()
    for item in report.drifts:
        _verdict(item, console)
    if report.drifts:
        console.print(_summary(report.drifts))
        console.print()
    for item in report.drifts:
        _details(item, console)
    for line in _guard(report.data):
        _say(console, line)
    for note in report.notes:
        if note not in loud:
            _say(console, note, "dim")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


def _verdict(item: FileDrift, console: Console) -> None:
    status = item.verdict.status
    words = "no verdict" if status == "none" else status
    scheme = f" ({item.scheme})" if item.scheme else ""
    console.print(Text.assemble((Path(item.path).name, "bold"), f"{scheme}: ", (words.upper(), _STYLES[status])))
    for reason in item.verdict.reasons:
        _say(console, f"  {reason}")
    if item.task is not None:
        for finding in item.task.findings:
            _say(console, f"  {finding}", "yellow")
    if item.layers is not None:
        _say(console, f"  {item.layers.words}")
    for note in item.notes:
        _say(console, f"  {note}", "dim")
    console.print()


def _table(first: str, titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold", vertical="bottom")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True, vertical="bottom")
    return table


def _summary(drifts: Sequence[FileDrift]) -> Table:
    """One row per file: noise of its worst output, where that comes from, and the headline of the task."""
    apart = any(item.float_file for item in drifts)
    tasks = any(item.task is not None and item.task.figures for item in drifts)
    titles = ["SQNR\ndB", *(["conver-\nsion", "quanti-\nzation"] if apart else []), "same\ntop-1"]
    table = _table("file", titles + ([_headline_title(drifts), "refe-\nrence", "change"] if tasks else []))
    for item in drifts:
        cells = [_sqnr(item.outputs)]
        if apart:
            cells += [_sqnr(item.conversion), _sqnr(item.quantization)]
        cells.append(_agreement(item.outputs))
        if tasks:
            cells += _headline(item.task)
        table.add_row(Path(item.path).name, *cells)
    return table


def _headline_title(drifts: Sequence[FileDrift]) -> str:
    names = {item.task.figures[0].metric for item in drifts if item.task is not None and item.task.figures}
    return names.pop().replace("_", " ") if len(names) == 1 else "task"


def _headline(task: TaskResult | None) -> list[str]:
    if task is None or not task.figures:
        return [_NONE] * 3
    figure = task.figures[0]
    values = [_value(found, figure.unit) for found in (figure.value, figure.reference)]
    return [*values, _change(figure.difference, figure.unit)]


def _value(found: float | None, unit: str) -> str:
    if found is None:
        return _NONE
    return f"{percent(found)}%" if unit == "ratio" else f"{found:.7g}"


def _change(found: float | None, unit: str) -> str:
    if found is None:
        return _NONE
    return f"{found * 100:+.2f}" if unit == "ratio" else f"{found:+.3g}"


def _sqnr(drifts: Sequence[Drift]) -> str:
    """Of the worst output."""
    if not drifts:
        return _NONE
    ratios = [drift.sqnr_db for drift in drifts if drift.sqnr_db is not None]
    if ratios:
        return f"{min(ratios):.1f}"
    return _NONE if any(drift.finding for drift in drifts) else "identical"


def _agreement(drifts: Sequence[Drift]) -> str:
    shares = [drift.top1_agreement for drift in drifts if drift.top1_agreement is not None]
    return f"{percent(min(shares))}%" if shares else _NONE


def _details(item: FileDrift, console: Console) -> None:
    name = Path(item.path).name
    for drift in item.outputs:
        if drift.figures:
            console.print(_figures(name, drift))
            for figure in drift.figures:
                if _is_missing(figure) and figure.unavailable:
                    _say(console, f"{_TITLES.get(figure.metric, figure.metric)}: {figure.unavailable}.", "dim")
            console.print()
    _apart(item, console)
    if item.task is not None:
        _task(name, item.task, console)
    if item.layers is not None:
        from edgekit.report import layers_table

        layers_table.show(item.layers, console)


def _apart(item: FileDrift, console: Console) -> None:
    """Conversion and quantization, a line each."""
    name, float_name = Path(item.path).name, Path(item.float_file).name
    for title, drifts, subject, against in (
        ("conversion", item.conversion, float_name, "the reference"),
        ("quantization", item.quantization, name, float_name),
    ):
        if drifts:
            ratio = _sqnr(drifts)
            words = f"{ratio} dB" if ratio not in (_NONE, "identical") else ratio
            _say(console, f"Error of {title}, {subject} against {against}: {words}.")
    if item.conversion or item.quantization:
        console.print()


def _figures(name: str, drift: Drift) -> Table:
    """All figures of one output, over its samples."""
    kind = f" ({drift.kind})" if drift.kind else ""
    table = _table("figure", ["all", "median", "95 % of\nsamples", "worst", "sample"])
    table.title, table.title_justify = Text(f"{name}, output {drift.output!r}{kind}", style="bold"), "left"
    for figure in drift.figures:
        unit = f" {figure.unit}" if figure.unit not in ("", "ratio") else ""
        title = f"{_TITLES.get(figure.metric, figure.metric)}{unit}"
        if not _is_missing(figure):
            table.add_row(title, *_row(figure))
    return table


def _is_missing(figure: Figure) -> bool:
    return figure.value is None and figure.worst is None


def _row(figure: Figure) -> list[str]:
    values = (figure.value, figure.median, figure.p95, figure.worst)
    text = _near_one if figure.metric == "cosine" else _plain
    return [text(value) for value in values] + [_NONE if figure.worst_sample is None else str(figure.worst_sample)]


def _near_one(value: float | None) -> str:
    """Cosines are told apart by what they lack."""
    return _NONE if value is None else f"{value:.6f}"


def _plain(value: float | None) -> str:
    if value is None:
        return _NONE
    return digits(value) if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.2e}"


def _task(name: str, task: TaskResult, console: Console) -> None:
    table = _table("figure", ["file", "95 % interval", "reference", "change", "95 % interval"])
    table.title, table.title_justify = Text(f"{name}, {task.task}", style="bold"), "left"
    for figure in task.figures:
        table.add_row(figure.metric.replace("_", " "), *_task_row(figure))
    console.print(table)
    for figure in task.figures:
        if figure.value is None and figure.unavailable:
            _say(console, f"{figure.metric}: {figure.unavailable}")
    if task.decoding:
        _say(console, f"{task.decoding[0].upper()}{task.decoding[1:]}.", "dim")
    changed = _changed(task.classes)
    if changed:
        console.print()
        console.print(_classes(changed))
    for line in _flips(task.flips):
        _say(console, line)
    console.print()


def _task_row(figure: TaskFigure) -> list[str]:
    unit = figure.unit
    own = _interval(figure.low, figure.high, lambda value: _value(value, unit))
    of_change = _interval(figure.difference_low, figure.difference_high, lambda value: _change(value, unit))
    return [
        _value(figure.value, unit),
        own,
        _value(figure.reference, unit),
        _change(figure.difference, unit),
        of_change,
    ]


def _interval(low: float | None, high: float | None, text: Any) -> str:
    return _NONE if low is None or high is None else f"{text(low)} to {text(high)}"


def _changed(classes: Sequence[ClassFigures]) -> list[ClassFigures]:
    """The classes whose recall has changed, those that lost most in front."""
    known = [one for one in classes if one.recall is not None and one.reference_recall is not None]
    changed = [one for one in known if one.recall != one.reference_recall]
    return sorted(changed, key=lambda one: -abs((one.recall or 0.0) - (one.reference_recall or 0.0)))[:_MOST_CLASSES]


def _classes(classes: Sequence[ClassFigures]) -> Table:
    table = _table("class, largest change of recall first", ["samples", "file", "reference", "change"])
    for one in classes:
        change = (one.recall or 0.0) - (one.reference_recall or 0.0)
        values = (_value(one.recall, "ratio"), _value(one.reference_recall, "ratio"), _change(change, "ratio"))
        table.add_row(f"{one.label} {one.name}".strip(), str(one.samples), *values)
    return table


def _flips(flips: Flips | None) -> Iterator[str]:
    if flips is None:
        return
    yield (
        f"{flips.broken} samples that the reference has right are wrong here, {flips.repaired} that it has wrong are "
        f"right, {flips.other} are wrong in another way."
    )
    for title, samples in (("broken", flips.broken_samples), ("repaired", flips.repaired_samples)):
        if samples:
            more = ", …" if len(samples) > _MOST_SAMPLES else ""
            yield f"  {title}: samples {', '.join(map(str, samples[:_MOST_SAMPLES]))}{more}"
    pairs = sorted(
        ((count, row, column) for row, counts in enumerate(flips.confusion) for column, count in enumerate(counts)
         if row != column and count),
        reverse=True,
    )[:_MOST_SAMPLES]  # fmt: skip
    if pairs:
        yield "  most often: " + ", ".join(f"{row} to {column} ({count})" for count, row, column in pairs)


def _guard(data: Mapping[str, Any]) -> Iterator[str]:
    """The data that all of this is about."""
    if not data:
        return
    yield f"Data: {data['samples']:,} samples{', RANDOM' if data['random'] else ''}"
    for array in data["arrays"][:_MOST_ARRAYS]:
        shape = ",".join(map(str, array["shape"][1:]))
        span = "no numbers" if array["minimum"] is None else f"{array['minimum']:.4g} to {array['maximum']:.4g}"
        mean = "" if array["mean"] is None else f", mean {array['mean']:.4g}, deviation {array['std']:.4g}"
        yield f"  {array['name']}: {array['dtype']}[{shape}], {span}{mean}"
    if data["classes"]:
        counts = [one["samples"] for one in data["classes"]]
        empty = [one["name"] or str(one["label"]) for one in data["classes"] if not one["samples"]]
        few = f"; none of {', '.join(empty[:_MOST_SAMPLES])}" if empty else ""
        yield f"  labels: {len(counts)} classes, {min(counts)} to {max(counts)} samples each{few}"
