"""What folds out about one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.drift_types import Drift, Figure, FileDrift, Flips, TaskResult
from edgekit.report.html._text import NONE, bounds_in, plain, written
from edgekit.report.html._view import Entry, View
from edgekit.types import Artifact, Report

_MOST_CLASSES = 20
_MOST_ROWS = 15
_UNITS = ("_ns", "_bytes", "_ratio", "_db")


@dataclass(frozen=True)
class Grid:
    """A plain table.

    Attributes:
        title: Above it.
        heads: Of the columns; the first holds words.
        rows: Of text.
        note: Below it.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Confusion:
    """Which classes a file and its reference disagree on.

    Attributes:
        names: Of the classes that are shown.
        rows: Counts; the row is the reference's class, the column the file's.
        most: Largest count off the diagonal.
        note: What was left out.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    most: int
    note: str


@dataclass(frozen=True)
class Detail:
    """Everything about one file.

    Attributes:
        entry: It.
        facts: Pairs of a name and a value.
        grids: Tables.
        missing: What could not be measured, by reason.
        notes: Sentences.
        confusion: With labels or class scores; else ``None``.
    """

    entry: Entry
    facts: tuple[tuple[str, str], ...]
    grids: tuple[Grid, ...]
    missing: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    confusion: Confusion | None


def details(view: View) -> list[Detail]:
    """Of each variant, in their order."""
    return [_detail(one, view.report) for one in view.entries]


def _detail(entry: Entry, report: Report) -> Detail:
    drift = entry.drift
    grids = [_measured(entry), *(_task(drift.task) if drift and drift.task else []), *(_drift(drift) if drift else [])]
    notes = [*(entry.profile.notes if entry.profile else ()), *(drift.verdict.reasons if drift else ())]
    notes += [*(drift.notes if drift else ()), *(drift.task.findings if drift and drift.task else ())]
    if drift and drift.layers:
        grids.append(_worst_layers(drift))
        notes = [drift.layers.words, *notes, *drift.layers.notes]
    flips = drift.task.flips if drift and drift.task else None
    return Detail(
        entry,
        tuple(_facts(entry, _artifact(entry, report))),
        tuple(grid for grid in (*grids, _operators(entry)) if grid.rows),
        tuple(_missing(entry)),
        tuple(dict.fromkeys(note for note in notes if note)),
        confusion(flips, drift.task) if flips and drift and drift.task else None,
    )


def _artifact(entry: Entry, report: Report) -> Artifact | None:
    return next((one for one in report.artifacts if one.path == entry.variant.path), None)


def _facts(entry: Entry, artifact: Artifact | None) -> list[tuple[str, str]]:
    profile = entry.profile
    found = [("file", entry.variant.path)]
    if profile is not None:
        found += [("sha256", profile.sha256), ("runtime", profile.runtime)]
        found += [("device", profile.device), ("threads", str(profile.threads))]
        found += [("sha256 of the inputs", profile.inputs_sha256)]
    if entry.drift is not None and entry.drift.float_file:
        found.append(("float file of the same format", entry.drift.float_file))
    if artifact is not None:
        found += [
            ("made by", artifact.command),
            *((f"made with {name}", text) for name, text in artifact.tools.items()),
        ]
    return [(name, text) for name, text in found if text]


def name_of(metric: str) -> str:
    """A metric as a reader calls it: ``latency p50`` of ``latency_p50_ns``."""
    for ending in _UNITS:
        metric = metric.removesuffix(ending)
    return metric.replace("_", " ")


def _measured(entry: Entry) -> Grid:
    taken = entry.profile.measurements if entry.profile is not None else ()
    rows = tuple(
        (
            name_of(one.metric),
            written(one.value, one.unit),
            bounds_in(one.unit, one.low, one.high),
            str(one.samples or NONE),
            one.spread,
        )
        for one in taken
        if one.value is not None
    )
    return Grid("Measured", ("figure", "value", "interval", "samples", "what the interval is"), rows)


def _missing(entry: Entry) -> list[tuple[str, str]]:
    """Names of figures by the reason for which they are not there."""
    found: dict[str, list[str]] = {}
    for one in entry.profile.measurements if entry.profile is not None else ():
        if one.value is None:
            found.setdefault(one.unavailable, []).append(name_of(one.metric))
    return [(", ".join(names), reason) for reason, names in found.items()]


def _task(task: TaskResult) -> list[Grid]:
    rows = tuple(
        (
            one.metric,
            written(one.value, one.unit),
            written(one.reference, one.unit),
            bounds_in(one.unit, one.difference_low, one.difference_high),
            one.unavailable or one.words,
        )
        for one in task.figures
    )
    heads = ("figure", "this file", "reference", "95 % interval of the difference", "in words")
    return [Grid(f"Task: {task.task}", heads, rows, task.decoding)]


def _drift(drift: FileDrift) -> list[Grid]:
    parts: tuple[tuple[str, Sequence[Drift]], ...] = (
        ("Outputs against the reference", drift.outputs),
        ("Of that, the conversion to this format (its float file against the reference)", drift.conversion),
        ("Of that, quantization (against the float file of this format)", drift.quantization),
    )
    heads = ("output, figure", "over all", "median sample", "95 % no worse than", "worst sample")
    return [Grid(title, heads, tuple(row for one in each for row in _outputs(one))) for title, each in parts]


def _outputs(one: Drift) -> list[tuple[str, ...]]:
    return [
        (
            f"{one.output}, {item.metric}{f' ({item.unit})' if item.unit else ''}",
            *(NONE if value is None else plain(value) for value in (item.value, item.median, item.p95)),
            _worst(item),
        )
        for item in one.figures
    ]


def _worst(item: Figure) -> str:
    """Or why there is no figure."""
    if item.worst is None:
        return item.unavailable or NONE
    return plain(item.worst) + ("" if item.worst_sample is None else f" (sample {item.worst_sample})")


def _worst_layers(drift: FileDrift) -> Grid:
    result = drift.layers
    assert result is not None  # noqa: S101 - asked before
    layers = {one.index: one for one in result.layers}
    rows = tuple(
        (
            one.module or one.tensor,
            one.operator,
            NONE if one.sqnr_db is None else f"{one.sqnr_db:.1f}",
            f"{one.lost_db:.1f}",
            one.finding or one.exclude,
        )
        for one in (layers[index] for index in result.worst if index in layers)
    )
    note = f"{len(result.layers)} layers were compared, on {result.samples} samples; all are in the data below."
    heads = ("layer", "operator", "SQNR, dB", "lost, dB", "finding, or what to give --exclude")
    return Grid("Layers that lose most", heads, rows, note)


def _operators(entry: Entry) -> Grid:
    found = sorted(entry.profile.operators, key=lambda one: -one.time_ns) if entry.profile is not None else []
    rows = tuple(
        (
            f"{one.operator}{f' {one.name}' if one.name else ''}",
            one.delegate or NONE,
            written(one.time_ns, "ns"),
            written(one.share, "ratio"),
        )
        for one in found[:_MOST_ROWS]
    )
    note = f"The slowest {_MOST_ROWS} of {len(found)}; all are in the data below. " if len(found) > _MOST_ROWS else ""
    note += "Under a profiler, which makes runs slower: the shares are what counts."
    return Grid("Operators that take most time", ("operator", "delegate", "time in a run", "share"), rows, note)


def confusion(flips: Flips, task: TaskResult) -> Confusion | None:
    """Counts of the classes; of those with most disagreement where there are many; ``None`` where all agree."""
    counts = flips.confusion
    names = {one.label: one.name for one in task.classes}
    mixed = {
        place: sum(counts[place]) + sum(row[place] for row in counts) - 2 * counts[place][place]
        for place in range(len(counts))
    }
    if not any(mixed.values()):
        return None
    shown = sorted(sorted(mixed, key=lambda place: -mixed[place])[:_MOST_CLASSES])
    rows = tuple(tuple(counts[row][column] for column in shown) for row in shown)
    most = max(counts[row][column] for row in shown for column in shown if row != column)
    left = len(counts) - len(shown)
    note = f" The {len(shown)} classes with most disagreement; {left} others are left out." if left else ""
    return Confusion(tuple(names.get(place) or str(place) for place in shown), rows, max(most, 1), note)
