"""The figures of one file, from everything that was written down about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit import feeds, registry
from edgekit.file_drift import scheme_of
from edgekit.plugins import MetricInput
from edgekit.samples import Samples
from edgekit.subjects import Subject
from edgekit.types import Drift, Measurement, OperatorTime, Profile, Sustained, Turn

_BUSY_RATIO = 0.1


def profile_of(one: Subject, samples: Samples, device: str) -> Profile:
    """Everything about a file that was measured.

    Args:
        one: With its raw figures, and its outputs where there are any.
        samples: That it ran on.
        device: As reports call it.
    """
    assert one.feeds is not None  # noqa: S101 - set before the first run
    given = MetricInput(one.file.path, one.file.facts, one.raw, one.outputs, samples.reference, one.feeds)
    found: list[Measurement] = []
    for metric in registry.metrics().values():
        found += metric.measure(given)
    preempted = next((item.value for item in found if item.metric == "preempted_ratio"), None)
    if preempted is not None and preempted > _BUSY_RATIO:
        one.notes.append(f"other processes took the CPU during {preempted:.0%} of the timed runs")
    drift, problems = _drift(one, samples)
    runtime = registry.runtimes()[one.target.runtime]
    versions = one.raw["start"]["versions"]
    return Profile(
        path=str(one.file.path),
        target=one.target.name,
        sha256=one.file.sha256,
        inputs_sha256=registry.function("profiles.conditions:hash_of")(one.feeds),
        runtime=f"{runtime.TITLE} {versions[runtime.DISTRIBUTION]}",
        threads=one.threads,
        measurements=tuple(found),
        drift=drift,
        turns=tuple(map(_turn, one.raw["turns"])),
        operators=_operators(one),
        work=one.file.work,
        notes=(*one.notes, *problems),
        device=device,
        scheme=scheme_of(one.file),
        sustained=_sustained(one),
    )


def _turn(raw: Mapping[str, Any]) -> Turn:
    flags = registry.function("profiles.turns:preempted")(raw)
    return Turn(raw["round"], tuple(raw["ns"]), None if flags is None else tuple(flags), raw["sentinel_ns"])


def _operators(one: Subject) -> tuple[OperatorTime, ...]:
    raw = one.raw.get("operators")
    return () if raw is None else tuple(registry.function("profiles.metrics.operators:times")(raw))


def _sustained(one: Subject) -> Sustained | None:
    raw = one.raw.get("sustained")
    found: Sustained | None = None if raw is None else registry.function("profiles.metrics.sustained:record")(raw)
    return found


def _drift(one: Subject, samples: Samples) -> tuple[tuple[Drift, ...], list[str]]:
    """Drift per output, and what is wrong with it in words."""
    if samples.reference is None or one.outputs is None:
        return (), []
    compare = registry.function("profiles.metrics.drift:compare")
    try:
        drifts = tuple(compare(feeds.read(samples.reference), feeds.read(one.outputs)))
    except ValueError as error:
        return (), [f"drift: {error}"]
    return drifts, [f"output {drift.output}: {drift.finding}" for drift in drifts if drift.finding]
