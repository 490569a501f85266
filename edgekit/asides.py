"""What is measured beside the rounds, when nothing else runs: cold starts, operators, memory plans, the CPU's peak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.device_plugins import Session
from edgekit.errors import EdgekitError, MeasurementError
from edgekit.progress import Progress
from edgekit.subjects import Subject, each
from edgekit.types import Failure, FloatOperator, Measurement

Opener = Callable[[Subject], Session]
"""Starts one more agent for a subject's file."""


def cold(subjects: Sequence[Subject], open_one: Opener, processes: int, progress: Progress) -> None:
    """Start processes for each file and time their way to a warm model, into ``raw["cold"]``."""
    collect = registry.function("profiles.cold:cold")

    def start(one: Subject) -> None:
        label = f"{one.file.path.name}: {processes} fresh processes"
        progress.start(label)
        try:
            one.raw["cold"] = collect(
                lambda: open_one(one),
                _feeds(one),
                processes=processes,
                on_progress=lambda done: progress.advance(label, done, processes),
            )
        finally:
            progress.end(label)

    for one in subjects:
        if one.error is None:
            start(one)


def operators(subjects: Sequence[Subject], open_one: Opener, progress: Progress) -> None:
    """Run each file under its runtime's profiler, in one more process, into ``raw["operators"]``."""
    collect = registry.function("profiles.operators:collect")
    runs_for = registry.function("profiles.operators:runs_for")

    def run(one: Subject) -> None:
        latency_ns = min(min(turn["ns"]) for turn in one.raw["turns"])
        one.raw["operators"] = collect(lambda: open_one(one), _feeds(one), runs_for(latency_ns))
        one.notes += registry.function("profiles.metrics.operators:notes")(one.raw["operators"], one.file.facts)

    each(subjects, "profile operators", progress, run)


def sustained(subjects: Sequence[Subject], duration_s: float, progress: Progress, before: Callable[[], None]) -> None:
    """Run each file alone and without pause, into ``raw["sustained"]``.

    Args:
        subjects: The files.
        duration_s: For each, in seconds.
        progress: Told how far it is.
        before: Called before each, to let the device cool down.
    """
    collect = registry.function("profiles.sustained:run")

    def start(one: Subject) -> None:
        before()
        label = f"{one.file.path.name}: {duration_s:g} s without pause"
        progress.start(label)
        try:
            one.raw["sustained"] = collect(
                one.session, duration_s, lambda done: progress.advance(label, round(done * 10), round(duration_s * 10))
            )
            one.notes += registry.function("profiles.metrics.sustained:notes")(one.raw["sustained"])
        except MeasurementError as error:  # all other figures of the file are there already
            one.raw["sustained"] = {"unavailable": error.message}
        finally:
            progress.end(label)

    for one in subjects:
        if one.error is None:
            start(one)


def arenas(subjects: Sequence[Subject], progress: Progress) -> None:
    """Ask each runtime what it plans for activations, into ``raw["arena"]``; its session can do nothing more then."""

    def ask(one: Subject) -> None:
        try:
            one.raw["arena"] = one.session.arena()
        except MeasurementError as error:  # all other figures of the file are there already
            one.raw["arena"] = {"unavailable": error.message}

    each(subjects, "read memory plans", progress, ask)


def peaks(subjects: Sequence[Subject], progress: Progress) -> None:
    """Measure what this CPU can do with each number of threads, into ``raw["peak"]`` of those that use it."""
    found: dict[int, Mapping[str, Any]] = {}

    def ask(one: Subject) -> None:
        if one.threads not in found:
            try:
                found[one.threads] = one.session.peak(one.threads)
            except MeasurementError as error:
                found[one.threads] = {"unavailable": error.message}
        one.raw["peak"] = found[one.threads]

    each(subjects, "measure the CPU's peak", progress, ask)


def too_little_delegated(one: Subject, measurements: Sequence[Measurement], least: float) -> Failure | None:
    """What ``--require-delegated`` has to say about a file; ``None`` where enough of it is in the delegate."""
    share = registry.function("profiles.metrics.operators:share_to_require")(measurements)
    if share.value is not None and share.value >= least:
        return None
    what = "multiply-accumulates" if share.metric == "delegated_macs_ratio" else "operators"
    if share.value is None:
        message = f"{one.file.path}: how much of it is delegated is not known: {share.unavailable}."
    else:
        message = f"{one.file.path}: {share.value:.1%} of its {what} are delegated, {least:.1%} are required."
    outside: Sequence[FloatOperator] = registry.function("profiles.metrics.operators:heavy_outside")(
        one.raw["operators"], one.file.facts
    )
    named = ", ".join(f"{item.operator} {item.name}".strip() for item in outside)
    error: EdgekitError = MeasurementError(
        message,
        hint=f"Outside the delegate: {named}." if named else f"edgekit inspect {one.file.path}   (lists its operators)",
    )
    return Failure(str(one.file.path), type(error).__name__, error.exit_code, error.message, error.hint)


def _feeds(one: Subject) -> Path:
    assert one.feeds is not None  # noqa: S101 - set before the first run
    return one.feeds
