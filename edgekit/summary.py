"""A report at a glance: every file beside the baseline, which of them are worth a look, and which to take.

A file is *dominated* when another one of its device is at least as good in size, time and accuracy, and better in one
of them. What is not shown to differ counts as equal: times by their intervals, accuracies by the interval of
their paired difference. Only what is known of all files of a device counts, and never a time of an emulated CPU.
A file that may not be taken (:func:`_sound`) never dominates one that may: what computes something else is no choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import registry
from edgekit.drift_types import FileDrift, TaskFigure
from edgekit.summary_types import Summary, Value, Variant
from edgekit.types import Comparison, Measurement, Profile, Report

SIZE, TIME, ACCURACY, SQNR = "size", "latency", "accuracy", "SQNR"

_BAD = ("degraded", "broken")
_FASTER, _SLOWER = "faster", "slower"
_SAME_DB = 1.0
"""SQNR of two files closer than this are the same, as far as choosing goes."""

_NOT_ASKED = "not measured"


def summarize(report: Report) -> Summary:
    """What a reader wants to know.

    Args:
        report: Of ``edgekit profile`` or ``edgekit compare``, or of saved runs.

    Returns:
        Variants in this order: the recommended one, then those that no other one dominates, the fastest first, then
        the rest in the same way.
    """
    emulated = {place.name: place.facts.emulated for place in report.devices}
    base = _baseline(report)
    variants = [_variant(item, report, base, emulated.get(item.device, False)) for item in report.profiles]
    variants = [_with_words(one, variants) for one in variants]
    judged = {
        device: _judged_on([one for one in variants if one.device == device])
        for device in dict.fromkeys(one.device for one in variants)
    }
    variants = [_with_pareto(one, variants, judged.get(one.device, ())) for one in variants]
    keys = _keys(variants)
    variants = [replace(one, key=key) for one, key in zip(variants, keys, strict=True)]
    chosen = _recommended(variants)
    ordered = sorted(variants, key=lambda one: (one is not chosen, not one.pareto, _seconds(one), one.size.value or 0))
    on = next(iter(judged.values()), ())
    return Summary(
        variants=tuple(ordered),
        baseline=next((one.key for one in variants if one.baseline), ""),
        recommended="" if chosen is None else chosen.key,
        finding=_finding(chosen, variants),
        judged_on=on,
        notes=tuple(_notes(variants)),
    )


@dataclass(frozen=True)
class _Base:
    """What a device's files are compared with."""

    path: str
    threads: int


def _baseline(report: Report) -> _Base | None:
    own = [one for one in report.comparisons if one.device == one.baseline_device]
    return _Base(own[0].baseline, own[0].baseline_threads) if own else None


def _variant(item: Profile, report: Report, base: _Base | None, emulated: bool) -> Variant:
    is_base = base is not None and (item.path, item.threads) == (base.path, base.threads)
    found = next((one for one in report.comparisons if _is_of(one, item)), None)
    first = None if base is None else _base_profile(report, base, item.device)
    drift = next((one for one in report.drifts if (one.path, one.device) == (item.path, item.device)), None)
    task = drift.task.figures[0] if drift is not None and drift.task is not None and drift.task.figures else None
    size = _value(item, "size_bytes")
    return Variant(
        key="",
        name=Path(item.path).name,
        path=item.path,
        target=item.target,
        scheme=item.scheme,
        device=item.device,
        threads=item.threads,
        emulated=emulated,
        baseline=is_base,
        size=size,
        size_ratio=_size_ratio(size, None if first is None else _value(first, "size_bytes")),
        p50=_value(item, "latency_p50_ns"),
        p90=_value(item, "latency_p90_ns"),
        time_ratio=_time_ratio(found, is_base),
        time_verdict="" if is_base or found is None else found.verdict,
        memory=_value(item, "peak_memory_bytes"),
        accuracy=_accuracy(item, task),
        accuracy_name=_accuracy_name(item, task),
        accuracy_better=True if task is None else task.higher_is_better,
        accuracy_change=_change(task),
        accuracy_words=_words(task),
        sqnr=_sqnr(item, drift),
        delegated=_delegated(item),
        verdict="none" if drift is None else drift.verdict.status,
    )


def _is_of(one: Comparison, item: Profile) -> bool:
    mine = (one.path, one.threads, one.device) == (item.path, item.threads, item.device)
    return mine and one.device == one.baseline_device


def _base_profile(report: Report, base: _Base, device: str) -> Profile | None:
    same = [one for one in report.profiles if (one.path, one.threads) == (base.path, base.threads)]
    return next((one for one in same if one.device == device), None)


def _value(item: Profile, *metrics: str) -> Value:
    """The first of some figures that the file has."""
    figures: list[Measurement] = []
    for metric in metrics:
        figures += [one for one in item.measurements if one.metric == metric]
    for one in figures:
        if one.value is not None:
            return Value(one.value, one.unit, one.low, one.high)
    return Value(unavailable=figures[0].unavailable if figures else _NOT_ASKED)


def _size_ratio(size: Value, base: Value | None) -> Value:
    if base is None or not base.value or size.value is None:
        return Value(unavailable="there is no baseline")
    return Value(size.value / base.value, "ratio")


def _time_ratio(found: Comparison | None, is_base: bool) -> Value:
    if is_base:
        return Value(1.0, "ratio")
    if found is None or found.ratio is None:
        return Value(unavailable=_NOT_ASKED if found is None else found.reason)
    return Value(found.ratio, "ratio", found.low, found.high)


def _accuracy(item: Profile, task: TaskFigure | None) -> Value:
    if task is not None:
        return Value(task.value, task.unit, task.low, task.high, task.unavailable)
    return _value(item, "accuracy")


def _accuracy_name(item: Profile, task: TaskFigure | None) -> str:
    if task is not None:
        return task.metric
    return "accuracy" if _value(item, "accuracy").value is not None else ""


def _change(task: TaskFigure | None) -> Value:
    if task is None or task.difference is None:
        return Value(unavailable="it takes a reference and labels")
    return Value(task.difference, task.unit, task.difference_low, task.difference_high)


def _words(task: TaskFigure | None) -> str:
    if task is None or task.differs is None:
        return ""
    if not task.differs:
        return "not shown to differ"
    return "better" if (task.difference or 0) * (1 if task.higher_is_better else -1) > 0 else "worse"


def _with_words(one: Variant, variants: Sequence[Variant]) -> Variant:
    """Without a reference, accuracies are held against the baseline's, or else against the best of the device."""
    if one.accuracy_words or one.accuracy.value is None:
        return one
    others = [other for other in variants if other.device == one.device and other.accuracy.value is not None]
    direction = -1 if one.accuracy_better is False else 1
    best = max(others, key=lambda other: direction * (other.accuracy.value or 0.0))
    yardstick = next((other for other in others if other.baseline), best)
    if yardstick is one:
        return one
    return replace(
        one, accuracy_words={1: "better", 0: "not shown to differ", -1: "worse"}[_more_accurate(one, yardstick)]
    )


def _sqnr(item: Profile, drift: FileDrift | None) -> Value:
    outputs = item.drift if drift is None else drift.outputs
    if not outputs:
        return _value(item, "drift_sqnr_db")
    wrong = [one.finding for one in outputs if one.finding]
    if wrong:
        return Value(unit="dB", unavailable=wrong[0])
    known = [one.sqnr_db for one in outputs if one.sqnr_db is not None]
    return Value(min(known), "dB") if known else Value(unit="dB", unavailable="identical")


def _delegated(item: Profile) -> Value:
    return _value(item, "delegated_macs_ratio", "delegated_operators_ratio")


def _judged_on(variants: Sequence[Variant]) -> tuple[str, ...]:
    """What is known of all files of a device."""
    known: dict[str, Callable[[Variant], bool]] = {
        SIZE: lambda one: one.size.value is not None,
        TIME: lambda one: one.p50.value is not None and not one.emulated,
        ACCURACY: lambda one: one.accuracy.value is not None,
    }
    found = [name for name, has in known.items() if variants and all(map(has, variants))]
    if ACCURACY not in found and variants and all(one.sqnr.value is not None or _equal(one) for one in variants):
        found.append(SQNR)
    return tuple(found)


def _equal(one: Variant) -> bool:
    return one.sqnr.unavailable == "identical"


def _with_pareto(one: Variant, variants: Sequence[Variant], on: Sequence[str]) -> Variant:
    others = [other for other in variants if other.device == one.device and other is not one]
    return replace(one, pareto=bool(on) and not any(_dominates(other, one, on) for other in others))


def _dominates(one: Variant, other: Variant, on: Sequence[str]) -> bool:
    """Whether a file is at least as good in everything, and better in something."""
    if _sound(other) and not _sound(one):
        return False
    signs = [_better(one, other, name) for name in on]
    return all(sign >= 0 for sign in signs) and any(sign > 0 for sign in signs)


def _better(one: Variant, other: Variant, on: str) -> int:
    """1 where it is shown to be better, -1 where worse, 0 where neither."""
    if on == SIZE:
        return _sign((other.size.value or 0) - (one.size.value or 0))
    if on == TIME:
        return _faster(one, other)
    if on == SQNR:
        mine, theirs = (float("inf") if _equal(item) else item.sqnr.value or 0.0 for item in (one, other))
        return 0 if mine == theirs or abs(mine - theirs) < _SAME_DB else _sign(mine - theirs)
    return _more_accurate(one, other)


def _faster(one: Variant, other: Variant) -> int:
    """By ratios to the same baseline where there are any, and else by medians; intervals that overlap say nothing."""
    mine, theirs = one.time_ratio, other.time_ratio
    if mine.value is None or theirs.value is None:
        mine, theirs = one.p50, other.p50
    if mine.value is None or theirs.value is None:
        return 0
    mine_low, mine_high = _bounds(mine)
    theirs_low, theirs_high = _bounds(theirs)
    return 1 if mine_high < theirs_low else -1 if mine_low > theirs_high else 0


def _more_accurate(one: Variant, other: Variant) -> int:
    """By the paired differences from the reference; without them by the intervals of the figures themselves."""
    mine, theirs = one.accuracy_change, other.accuracy_change
    if mine.value is None or theirs.value is None:
        mine, theirs = one.accuracy, other.accuracy
    mine_low, mine_high = _bounds(mine)
    theirs_low, theirs_high = _bounds(theirs)
    direction = -1 if one.accuracy_better is False else 1
    return direction * (1 if mine_low > theirs_high else -1 if mine_high < theirs_low else 0)


def _bounds(one: Value) -> tuple[float, float]:
    value = one.value or 0.0
    return (value if one.low is None else one.low), (value if one.high is None else one.high)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _keys(variants: Sequence[Variant]) -> list[str]:
    devices = len({one.device for one in variants}) > 1
    threads = len({one.threads for one in variants}) > 1
    names = [one.name for one in variants]
    several = {name for name in names if len({one.path for one in variants if one.name == name}) > 1}
    return [
        (one.path if one.name in several else one.name)
        + (f" on {one.device}" if devices else "")
        + (f", {one.threads} thread{'s' if one.threads > 1 else ''}" if threads else "")
        for one in variants
    ]


def _recommended(variants: Sequence[Variant]) -> Variant | None:
    """The fastest, or else the smallest, whose outputs are not shown to be worse than they may be.

    ``None`` with one file alone, and where nothing is known of what the files compute.
    """
    found = [one for one in variants if one.pareto and _sound(one)]
    if len(variants) < 2 or not found:
        return None
    return min(found, key=lambda one: (_seconds(one), one.size.value or 0))


def _sound(one: Variant) -> bool:
    """Whether it is known what a file computes, and nothing shows that to be worse than it may be."""
    known = one.verdict != "none" or one.accuracy.value is not None
    return known and one.verdict not in _BAD and one.accuracy_words != "worse"


def _seconds(one: Variant) -> float:
    """For sorting: times of one device, those of emulated ones and unknown ones last."""
    if one.emulated or one.p50.value is None:
        return float("inf")
    return one.p50.value


def _finding(chosen: Variant | None, variants: Sequence[Variant]) -> str:
    if not variants:
        return "No file could be measured."
    if len(variants) == 1:
        return _alone(variants[0])
    if chosen is None:
        return f"None can be recommended: {_why_none(variants)}."
    if chosen.baseline:
        return f"{_named(chosen)}: none of the others is better than this baseline without being worse elsewhere."
    parts = [_size_words(chosen), _time_words(chosen), _accuracy_words(chosen)]
    return f"{_named(chosen)}: {', '.join(part for part in parts if part)}."


def _alone(one: Variant) -> str:
    from edgekit.report.units import SIZES, TIMES, with_unit

    parts = [] if one.size.value is None else [with_unit(one.size.value, SIZES)]
    if one.p50.value is not None and not one.emulated:
        parts.append(f"{with_unit(one.p50.value, TIMES)} for one run")
    if one.accuracy.value is not None:
        parts.append(f"{one.accuracy_name} {_share(one.accuracy)}")
    return f"{_named(one)}: {', '.join(parts) or 'nothing could be measured'}."


def _named(one: Variant) -> str:
    return f"{one.scheme} {_title(one.target)} ({one.key})".strip()


def _title(target: str) -> str:
    """As users call it; a saved run may have one that is not installed here."""
    known = registry.targets()
    return known[target].title if target in known else target


def _size_words(one: Variant) -> str:
    ratio = one.size_ratio.value
    if not ratio or abs(ratio - 1) < 0.005:
        return ""
    return f"{1 / ratio:.1f} times smaller" if ratio < 1 else f"{ratio:.1f} times larger"


def _time_words(one: Variant) -> str:
    if one.emulated:
        return "its time means nothing on an emulated CPU"
    value, low, high = one.time_ratio.value, one.time_ratio.low, one.time_ratio.high
    if value is None or low is None or high is None:
        return ""
    if one.time_verdict == _FASTER:
        return f"{1 / value:.1f} times as fast [{1 / high:.1f}, {1 / low:.1f}]"
    if one.time_verdict == _SLOWER:
        return f"{value:.1f} times as slow [{low:.1f}, {high:.1f}]"
    return "time not shown to differ" if one.time_verdict != "inconclusive" else "whether it is faster is open"


def _accuracy_words(one: Variant) -> str:
    if one.accuracy_words:
        return f"{one.accuracy_name} {one.accuracy_words}"
    if one.accuracy.value is not None:
        return f"{one.accuracy_name} {_share(one.accuracy)}"
    return f"SQNR {one.sqnr.value:.1f} dB" if one.sqnr.value is not None else ""


def _share(one: Value) -> str:
    value = one.value or 0.0
    return f"{value:.2%}" if one.unit == "ratio" else f"{value:.4g}"


def _why_none(variants: Sequence[Variant]) -> str:
    if all(one.verdict == "none" and one.accuracy.value is None for one in variants):
        return "what the files compute was not checked on data of yours (--reference MODEL --data DATA)"
    return "every file that is faster or smaller loses accuracy, or its outputs are degraded"


def _notes(variants: Sequence[Variant]) -> list[str]:
    """What a reader should know of the choice itself."""
    devices = {one.device for one in variants}
    found = []
    if any(one.emulated for one in variants):
        found.append("Times of an emulated CPU are left out of the choice.")
    if len(devices) > 1:
        found.append("Files are chosen among those of one device; between devices, each is compared with itself.")
    return found
