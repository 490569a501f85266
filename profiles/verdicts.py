"""Judging a file: equal, acceptable for its scheme, degraded or broken.

The bands are :data:`BANDS`; ``docs/drift.md`` shows the same table, and a test keeps the two equal. Findings decide
first, then what labels show, then noise: lost accuracy is not excused by little noise, and noise that costs nothing
on enough labels is no fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from edgekit.drift_types import Drift, TaskFigure, TaskResult, Verdict
from edgekit.errors import UsageError

EQUAL, ACCEPTABLE, DEGRADED, BROKEN, NONE = "equal", "acceptable", "degraded", "broken", "none"
_ORDER = (EQUAL, ACCEPTABLE, DEGRADED, BROKEN)
_EVERY = "all"


@dataclass(frozen=True)
class Bands:
    """Where one verdict ends and the next begins, for files of one scheme.

    Attributes:
        equal_db: SQNR of an output that is as good as the reference's, from here on.
        acceptable_db: SQNR that a working file of the scheme has, at least.
        broken_db: SQNR below which nothing can be expected of a file.
        points_acceptable: What a share (accuracy, F1, mAP…) may lose, in points: 1.0 is one per cent of the samples.
        points_broken: What a share loses in a broken file, in points.
        worse_acceptable: What any other figure may get worse by, as a share of the reference's.
        worse_broken: What it gets worse by in a broken file.
        same_acceptable: Share of whole numbers, such as classes, that are the reference's, at least.
        same_broken: Share of them below which a file is broken.
    """

    equal_db: float
    acceptable_db: float
    broken_db: float
    points_acceptable: float
    points_broken: float = 10.0
    worse_acceptable: float = 0.05
    worse_broken: float = 0.5
    same_acceptable: float = 0.98
    same_broken: float = 0.9


# From 90 dB on, two float32 computations of one network differ in the order of sums alone. Trained networks in 8 bits
# lie between 20 and 45 dB; below 10 dB more than a tenth of the signal's power is error. Four bits lose about 24 dB
# against eight, most of which accuracy does not show.
BANDS: Mapping[str, Bands] = {
    "float32": Bands(90.0, 60.0, 20.0, 0.1, worse_acceptable=0.01, same_acceptable=0.999),
    "float16": Bands(90.0, 45.0, 20.0, 0.2, worse_acceptable=0.01, same_acceptable=0.995),
    "int8": Bands(90.0, 20.0, 10.0, 1.0),
    "int8-dynamic": Bands(90.0, 20.0, 10.0, 1.0),
    "int8-weights": Bands(90.0, 25.0, 10.0, 0.5),
    "int4-weights": Bands(90.0, 12.0, 6.0, 2.0, worse_acceptable=0.1, same_acceptable=0.95),
    "int16x8": Bands(90.0, 30.0, 15.0, 0.5, worse_acceptable=0.02),
}
"""By scheme."""


def standard() -> Mapping[str, Bands]:
    """Bands where the user gives none."""
    return BANDS


def read(path: Path) -> Mapping[str, Bands]:
    """Bands from a TOML file: a table per scheme, or one called ``all``, with some of the fields of :class:`Bands`.

    Args:
        path: The file.

    Returns:
        Bands of every scheme; what the file leaves out is as in :data:`BANDS`.

    Raises:
        UsageError: It cannot be read, or names what is not there.
    """
    import tomllib

    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--bands {path}: {error.strerror}.", hint="Name a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--bands {path}: not TOML: {error}.", hint="[int8]\nacceptable_db = 25") from error
    unknown = set(content) - set(BANDS) - {_EVERY}
    if unknown:
        raise UsageError(
            f"--bands {path}: {', '.join(sorted(unknown))} is no scheme.",
            hint=f"Schemes: {_EVERY}, {', '.join(BANDS)}.",
        )
    every = _table(path, _EVERY, content.get(_EVERY, {}))
    return {
        scheme: _checked(path, scheme, replace(bands, **(every | _table(path, scheme, content.get(scheme, {})))))
        for scheme, bands in BANDS.items()
    }


def _table(path: Path, scheme: str, found: object) -> dict[str, float]:
    known = [field.name for field in fields(Bands)]
    if not isinstance(found, dict):
        raise UsageError(f"--bands {path}: {scheme} is no table.", hint=f"[{scheme}]\nacceptable_db = 25")
    for key, value in found.items():
        if key not in known:
            raise UsageError(f"--bands {path}: [{scheme}] has no {key}.", hint=f"There are: {', '.join(known)}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"--bands {path}: [{scheme}] {key} is no number: {value!r}.")
    return {key: float(value) for key, value in found.items()}


def _checked(path: Path, scheme: str, bands: Bands) -> Bands:
    """Bands that do not overlap."""
    pairs = (
        ("broken_db", "acceptable_db"),
        ("acceptable_db", "equal_db"),
        ("points_acceptable", "points_broken"),
        ("worse_acceptable", "worse_broken"),
        ("same_broken", "same_acceptable"),
    )
    for lower, higher in pairs:
        if getattr(bands, lower) > getattr(bands, higher):
            raise UsageError(
                f"--bands {path}: for {scheme}, {lower} ({getattr(bands, lower):g}) is above {higher} "
                f"({getattr(bands, higher):g}).",
                hint=f"Set both under [{scheme}].",
            )
    return bands


def judge(
    scheme: str,
    drifts: Sequence[Drift],
    task: TaskResult | None,
    bands: Mapping[str, Bands] = BANDS,
    *,
    findings: Sequence[str] = (),
    vacuous: Collection[str] = (),
    random_inputs: bool = False,
) -> Verdict:
    """Judge a file.

    Args:
        scheme: Of the file; empty where it is not known.
        drifts: Its outputs against the reference's.
        task: What labels show, the headline first; ``None`` without labels.
        bands: By scheme.
        findings: What is wrong with outputs beside noise (:func:`profiles.metrics.drift.findings`).
        vacuous: Outputs of the reference that are the same for all samples: they prove nothing.
        random_inputs: Whether the samples were made up: then there is no verdict.

    Returns:
        The verdict, with the reason that decided in front.
    """
    findings = [f"{found[:1].upper()}{found[1:].rstrip('.')}." for found in findings]
    if random_inputs:
        why = "The inputs are random: they say nothing about your data. Give samples with --data."
        return Verdict(NONE, (why, *findings))
    if findings:
        return Verdict(BROKEN, tuple(findings))
    if scheme not in bands:
        return Verdict(NONE, ("The scheme of this file could not be read, so there are no bands to judge it by.",))
    limits = bands[scheme]
    shown = [drift for drift in drifts if drift.output not in vacuous]
    status, noise = _by_noise(shown, limits, scheme)
    decided, words = _by_task(task, limits)
    if decided is None:
        return Verdict(status, tuple(filter(None, (noise, words))))
    if decided == ACCEPTABLE and status == EQUAL:
        decided = EQUAL
    return Verdict(decided, tuple(filter(None, (words, noise))))


def _by_noise(drifts: Sequence[Drift], limits: Bands, scheme: str) -> tuple[str, str]:
    """The verdict on the worst output, and why."""
    judged = list(_outputs(drifts, limits, scheme))
    if not judged:
        return NONE, "The reference's outputs are the same for all samples, so they prove nothing. Give other samples."
    return max(judged, key=lambda one: _ORDER.index(one[0]))


def _outputs(drifts: Sequence[Drift], limits: Bands, scheme: str) -> Iterator[tuple[str, str]]:
    for drift in sorted(drifts, key=lambda one: float("inf") if one.sqnr_db is None else one.sqnr_db):
        if drift.kind == "whole numbers" and drift.top1_agreement is not None:
            same = drift.top1_agreement
            words = f"{same:.1%} of the whole numbers in output {drift.output!r} are the reference's"
            bounds = (1.0, limits.same_acceptable, limits.same_broken)
            yield _level(same, bounds, words, scheme, tuple(f"{bound:.1%}" for bound in bounds))
        elif drift.sqnr_db is None:
            yield EQUAL, f"Output {drift.output!r} is identical to the reference's."
        else:
            words = f"Output {drift.output!r} has an SQNR of {drift.sqnr_db:.1f} dB"
            bounds = (limits.equal_db, limits.acceptable_db, limits.broken_db)
            yield _level(drift.sqnr_db, bounds, words, scheme, tuple(f"{bound:g} dB" for bound in bounds))


def _level(found: float, bounds: tuple[float, ...], words: str, scheme: str, shown: tuple[str, ...]) -> tuple[str, str]:
    """The verdict on one number, by where equal, acceptable and degraded begin, and why."""
    status = next((name for name, bound in zip(_ORDER, bounds, strict=False) if found >= bound), BROKEN)
    equal, acceptable, broken = shown
    return status, words + {
        EQUAL: f": from {equal} on, an output counts as equal.",
        ACCEPTABLE: f": a working {scheme} file has at least {acceptable}.",
        DEGRADED: f": a working {scheme} file has at least {acceptable}, and this is less.",
        BROKEN: f": below {broken}, nothing can be expected of a file in {scheme}.",
    }[status]


def _by_task(task: TaskResult | None, limits: Bands) -> tuple[str | None, str]:
    """What the headline figure decides, or ``None``, and why."""
    if task is None or not task.figures:
        return None, ""
    figure = task.figures[0]
    if figure.value is None:
        return None, f"{figure.metric} could not be taken: {figure.unavailable}."
    if figure.difference is None or figure.difference_low is None or figure.difference_high is None:
        return None, ""
    bounds = _loss(figure)
    if bounds is None:
        return None, f"{figure.metric} of the reference is 0, so how much worse it got cannot be told as a share."
    least, loss, most = bounds
    points = figure.unit == "ratio"
    allowed = limits.points_acceptable / 100 if points else limits.worse_acceptable
    lost = limits.points_broken / 100 if points else limits.worse_broken
    words = (figure.words or _words(figure)).rstrip(".") + "."
    unit = "point" if limits.points_acceptable == 1 else "points"
    allowance = f"{limits.points_acceptable:g} {unit}" if points else f"{limits.worse_acceptable:.0%}"
    if least > lost:
        return BROKEN, words
    if least > 0 and loss > allowed:
        return DEGRADED, f"{words} That is more than the {allowance} that its scheme may lose."
    if most <= allowed or (least > 0 and loss <= allowed):
        return ACCEPTABLE, words
    return None, f"{words} Too few samples to rule out a loss of {allowance}, so noise decides."


def _loss(figure: TaskFigure) -> tuple[float, float, float] | None:
    """By how much it got worse, with the bounds: in its own unit for a share, else as a share of the reference's."""
    assert figure.difference is not None  # noqa: S101 - asked of figures with a difference
    assert figure.difference_low is not None and figure.difference_high is not None  # noqa: S101
    low, value, high = figure.difference_low, figure.difference, figure.difference_high
    if figure.unit != "ratio":
        if not figure.reference:
            return None
        size = abs(figure.reference)
        low, value, high = low / size, value / size, high / size
    return (-high, -value, -low) if figure.higher_is_better else (low, value, high)


def _words(figure: TaskFigure) -> str:
    return (
        f"{figure.metric}: {figure.value:.4g}, the reference {figure.reference:.4g}; "
        f"difference {figure.difference:+.3g} (95 %: {figure.difference_low:+.3g} to {figure.difference_high:+.3g})."
    )
