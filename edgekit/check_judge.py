"""One budget against one figure; the rules are those of :mod:`profiles.limits`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit import registry
from edgekit.check_types import INCONCLUSIVE, KEPT, REGRESSION, Judgement, Model
from edgekit.types import Comparison, Measurement, Profile

_EMULATED = "an emulated CPU, whose times mean nothing"
_VERDICTS = {True: KEPT, False: REGRESSION, None: INCONCLUSIVE}


@dataclass(frozen=True)
class Evidence:
    """What is known of one file on one device.

    Attributes:
        model: The file and its budgets.
        device: Where.
        profile: Its figures; ``None`` where it could not be measured.
        baseline: Those of its baseline.
        comparison: Of the two.
        emulated: Whether the device is software.
        missing: Why there is no profile.
        no_comparison: Why there is none, where there is a baseline.
        reference, data: As a command that looks closer takes them; empty where there are none.
    """

    model: Model
    device: str
    profile: Profile | None = None
    baseline: Profile | None = None
    comparison: Comparison | None = None
    emulated: bool = False
    missing: str = ""
    no_comparison: str = ""
    reference: str = ""
    data: str = ""

    def figure(self, name: str) -> Measurement | None:
        """One of its measurements."""
        return _named(self.profile, name)


def judge(found: Evidence) -> list[Judgement]:
    """Every budget of a file on a device."""
    return [_judged(found, budget, limit) for budget, limit in found.model.on(found.device).items()]


def _judged(found: Evidence, budget: str, limit: float) -> Judgement:
    empty = Judgement(found.model.name, found.device, budget, limit, INCONCLUSIVE)
    if found.profile is None:
        return replace(empty, reason=found.missing)
    judged = _RULES[budget](found, empty)
    if judged.verdict == KEPT or judged.hint:
        return judged
    return replace(judged, hint=_hint(found, budget))


def _size(found: Evidence, empty: Judgement) -> Judgement:
    size = found.figure("size_bytes")
    return _exact(empty, None if size is None else size.value, most=True)


def _size_ratio(found: Evidence, empty: Judgement) -> Judgement:
    size, base = found.figure("size_bytes"), _named(found.baseline, "size_bytes")
    if size is None or base is None or not size.value or not base.value:
        return replace(empty, reason=found.no_comparison or "the baseline's size is not known")
    return _exact(empty, size.value / base.value, most=True)


def _median(found: Evidence, empty: Judgement) -> Judgement:
    figure = found.figure("latency_p50_ns")
    if found.emulated or figure is None or figure.value is None:
        return _nothing(empty, figure, _EMULATED if found.emulated else "")
    bounds = [None if one is None else one / 1e6 for one in (figure.low, figure.high)]
    few = "" if figure.low is not None else "too few rounds for an interval"
    return _timed(empty, figure.value / 1e6, bounds, few)


def _tail(found: Evidence, empty: Judgement) -> Judgement:
    figure = found.figure("latency_p90_ns")
    if found.emulated or figure is None or figure.value is None:
        return _nothing(empty, figure, _EMULATED if found.emulated else "")
    assert found.profile is not None  # noqa: S101 - a figure of it is there
    samples = [value for turn in found.profile.turns for value in turn.ns]
    bounds = registry.function("profiles.limits:percentile_bounds")(samples, 0.9)
    return _timed(empty, figure.value / 1e6, [None if one is None else one / 1e6 for one in bounds], "")


def _timed(empty: Judgement, value: float, bounds: Sequence[float | None], few: str) -> Judgement:
    low, high = bounds
    kept = registry.function("profiles.limits:at_most")(empty.limit, low, high)
    reason = "" if kept is not None else few or "the interval holds the limit"
    return replace(empty, verdict=_VERDICTS[kept], value=value, low=low, high=high, reason=reason)


def _latency_ratio(found: Evidence, empty: Judgement) -> Judgement:
    one = found.comparison
    if found.emulated:
        return replace(empty, reason=_EMULATED)
    if one is None or one.ratio is None:
        return replace(empty, reason=found.no_comparison or (one.reason if one else "") or "it was not timed")
    kept, reason = registry.function("profiles.limits:ratio_at_most")(
        empty.limit, one.ratio, one.low, one.high, one.rounds, one.floor_ratio
    )
    return replace(empty, verdict=_VERDICTS[kept], value=one.ratio, low=one.low, high=one.high, reason=reason)


def _accuracy(found: Evidence, empty: Judgement) -> Judgement:
    figure = found.figure("accuracy")
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return _nothing(empty, figure, "")
    kept = registry.function("profiles.limits:at_most")(-empty.limit, -figure.high, -figure.low)
    judged = replace(empty, verdict=_VERDICTS[kept], value=figure.value, low=figure.low, high=figure.high)
    return judged if kept is not None else _more_samples(judged, figure.samples)


def _accuracy_drop(found: Evidence, empty: Judgement) -> Judgement:
    if _identical(found):
        return replace(empty, verdict=KEPT, value=0.0, reason="identical outputs")
    measured = () if found.profile is None else found.profile.measurements
    changes = (one for one in measured if one.metric.startswith("task_") and one.metric.endswith("_change"))
    figure = next((one for one in changes if one.unit == "ratio" and one.higher_is_better), None)
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        reasons = (one.unavailable for one in measured if one.metric in ("task", "accuracy", "drift_sqnr_db"))
        return _nothing(empty, figure, next(filter(None, reasons), ""))
    low, high = -figure.high, -figure.low
    kept = registry.function("profiles.limits:at_most")(empty.limit, low, high)
    judged = replace(empty, verdict=_VERDICTS[kept], value=-figure.value + 0.0, low=low, high=high)
    return judged if kept is not None else _more_samples(judged, figure.samples)


def _sqnr(found: Evidence, empty: Judgement) -> Judgement:
    drifts = () if found.profile is None else found.profile.drift
    findings = [f"output {one.output}: {one.finding}" for one in drifts if one.finding]
    if findings:
        return replace(empty, verdict=REGRESSION, reason="; ".join(findings))
    if _identical(found):
        return replace(empty, verdict=KEPT, reason="identical outputs")
    figure = found.figure("drift_sqnr_db")
    if figure is None or figure.value is None:
        return _nothing(empty, figure, "")
    return _exact(empty, figure.value, most=False)


def _delegated(found: Evidence, empty: Judgement) -> Judgement:
    assert found.profile is not None  # noqa: S101 - judged only where there is one
    share = registry.function("profiles.metrics.operators:share_to_require")(found.profile.measurements)
    if share.value is None:
        return _nothing(empty, share, "")
    return _exact(empty, share.value, most=False)


def _exact(empty: Judgement, value: float | None, *, most: bool) -> Judgement:
    """A figure without uncertainty."""
    if value is None:
        return _nothing(empty, None, "")
    kept = value <= empty.limit if most else value >= empty.limit
    return replace(empty, verdict=_VERDICTS[kept], value=value)


def _nothing(empty: Judgement, figure: Measurement | None, reason: str) -> Judgement:
    return replace(empty, reason=reason or (figure.unavailable if figure else "") or "it was not measured")


def _more_samples(judged: Judgement, samples: int) -> Judgement:
    needed = registry.function("profiles.limits:samples_to_tell")(
        judged.limit, judged.value, judged.low, judged.high, samples
    )
    if needed is None:
        return replace(judged, reason=f"it is at the limit itself, from {samples} samples")
    hint = f"Give about {needed} labelled samples, or set another limit."
    return replace(judged, reason=f"{samples} samples do not tell", hint=hint)


def _identical(found: Evidence) -> bool:
    """Whether all outputs are those of the reference, to the last bit."""
    drifts = () if found.profile is None else found.profile.drift
    return bool(drifts) and all(one.max_abs == 0 and one.sqnr_db is None and not one.finding for one in drifts)


def _named(profile: Profile | None, name: str) -> Measurement | None:
    return None if profile is None else next((one for one in profile.measurements if one.metric == name), None)


def _hint(found: Evidence, budget: str) -> str:
    """What to type to see more."""
    import shlex

    file = shlex.quote(str(found.model.path))
    beside = "" if found.model.baseline is None else f" --baseline {shlex.quote(str(found.model.baseline))}"
    device = "" if found.device == "host" else f" --device {shlex.quote(found.device)}"
    if budget.startswith("max_size"):
        return f"edgekit inspect {file}"
    if budget == "min_delegated":
        return f"edgekit profile {file} --ops{device}"
    if budget in ("min_accuracy", "max_accuracy_drop", "min_sqnr_db"):
        if not found.reference:
            return "Set reference in [check], or a baseline that is a file."
        data = f" --data {shlex.quote(found.data)}" if found.data else ""
        return f"edgekit drift {file} --reference {shlex.quote(found.reference)}{data} --layers"
    return f"edgekit compare {file}{beside}{device}" if beside else f"edgekit profile {file} --ops{device}"


_RULES: Mapping[str, Callable[[Evidence, Judgement], Judgement]] = {
    "max_size": _size,
    "max_size_ratio": _size_ratio,
    "max_p50_ms": _median,
    "max_p90_ms": _tail,
    "max_latency_ratio": _latency_ratio,
    "min_accuracy": _accuracy,
    "max_accuracy_drop": _accuracy_drop,
    "min_sqnr_db": _sqnr,
    "min_delegated": _delegated,
}
