"""``edgekit profile``: figures of converted files on this machine.

One agent per file (:mod:`profiles.agent`), all alive, taking turns. Everything raw is measured there; the
figures are arithmetic here, by the metrics that the registry finds. A file that fails is a failure of its
own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import feeds, registry
from edgekit.data import RANDOM_SAMPLES, SEED
from edgekit.data_options import DataOptions
from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.jobs import DEFAULT_TIMEOUT_S, Job, Workers
from edgekit.options import SourceOptions, named
from edgekit.paths import existing, existing_file
from edgekit.plugins import MetricInput, Session, Target
from edgekit.progress import Progress, Silent
from edgekit.samples import Samples, open_samples, target_of
from edgekit.scratch import scratch_folder
from edgekit.types import DeviceFacts, Drift, Failure, Measurement, Profile, Report

BUDGET_S = 10.0
"""Seconds of warm-up and timing per file."""

NOTES = (
    "Latency: feeding the inputs, inference and fetching the outputs, called from Python; files take turns.",
    "Load and first run: of one fresh process, the file in the page cache, the runtime's import left out.",
    "Memory: peak resident size up to the first runs, over a process that has imported the runtime alone.",
)
"""What the figures mean, in every report."""

_BUSY_RATIO = 0.1
_TIMING = "warm-up and timing"


@dataclass
class _Subject:
    """One file on its way to a profile, or to a failure."""

    path: Path
    number: int
    target: Target | None = None
    sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    feeds: Path | None = None
    outputs: Path | None = None
    notes: list[str] = field(default_factory=list)
    error: EdgekitError | None = None
    agent: Session | None = None

    @property
    def session(self) -> Session:
        """Its agent."""
        assert self.agent is not None  # noqa: S101 - opened for each file that has a target
        return self.agent

    def fail(self, error: EdgekitError) -> None:
        """It ends here, and the others go on."""
        self.error = error
        if self.agent is not None:
            self.agent.close()


def profile(
    files: Sequence[Path],
    *,
    reference: Path | None = None,
    options: SourceOptions | None = None,
    data: str | None = None,
    data_options: DataOptions | None = None,
    threads: int = 1,
    budget_s: float = BUDGET_S,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    progress: Progress | None = None,
    seed: int = SEED,
) -> Report:
    """Measure converted files: size, load, latency, memory, drift from a reference, accuracy on labels.

    Args:
        files: ``.tflite``, ``.onnx`` and ``.pte`` files, told apart by content.
        reference: The source model, or one more converted file, whose outputs are taken as right.
        options: How to read a source model; its ``inputs`` also give sizes that files leave open.
        data: Samples to run on, with labels or without; seeded random ones when there are none.
        data_options: How to read them.
        threads: That each runtime may use.
        budget_s: Seconds of warm-up and timing per file.
        timeout_s: Time limit of each request to an agent, in seconds.
        progress: Told what is going on.
        seed: Of the order within rounds.

    Returns:
        A profile of each file that could be measured, and the failures of the others.

    Raises:
        UsageError: A file does not exist, or the data cannot be used.
        MissingDependencyError: A runtime is not installed.
        EdgekitError: The reference could not be run.
    """
    options, progress = options or SourceOptions(), progress or Silent()
    if reference is not None:
        reference, options = named(reference, options)
        existing(reference)
    subjects = [_subject(number, path) for number, path in enumerate(files)]
    device = registry.devices()["host"]
    facts = device.facts()
    with scratch_folder() as scratch, ExitStack() as stack:
        for one in subjects:
            if one.target is not None:
                opened = device.open_session(one.path, one.target.name, threads, None, scratch, timeout_s)
                one.agent = stack.enter_context(opened)
        with Workers(scratch, progress=progress) as workers:
            begun = _read_contents(subjects, workers, options.timeout_s)
            samples = open_samples(
                reference, data, data_options or DataOptions(), options, device, threads, timeout_s, workers
            )
            _keep_contents(begun)
        _start(subjects, samples, progress)
        _time(subjects, budget_s, seed, progress)
        if samples.reference is not None or samples.dataset is not None:
            _run_samples(subjects, scratch, progress)
        return Report(
            command="edgekit profile",
            source="" if reference is None else str(reference),
            profiles=tuple(_profile(one, samples, threads) for one in subjects if one.error is None),
            failures=tuple(_failure(one.path, one.error) for one in subjects if one.error is not None),
            notes=_notes(subjects, samples, facts),
            device=facts,
        )


def _subject(number: int, path: Path) -> _Subject:
    """The file, with its target; a model that is no converted file fails at once.

    Raises:
        UsageError: There is no such file.
        MissingDependencyError: Its runtime is not installed.
    """
    one = _Subject(existing_file(path), number)
    try:
        one.target = target_of(one.path)
    except UnsupportedError as error:
        one.fail(error)
        return one
    runtime = registry.runtimes()[one.target.runtime]
    registry.require(runtime.PACKAGES, runtime.EXTRA, f"Running {path.name} in {runtime.TITLE}")
    # Reading it also brings it into the page cache, so that no load waits for a disk.
    with one.path.open("rb") as file:
        one.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return one


def _read_contents(
    subjects: Sequence[_Subject], workers: Workers, timeout_s: float
) -> list[tuple[_Subject, Future[Any]]]:
    """Begin to read what ``inspect`` says about each file."""
    begun = []
    for one in subjects:
        if one.target is None:
            continue
        target, name = one.target, one.path.name
        try:
            registry.require(target.packages, target.extra, f"Reading {name}")
        except EdgekitError as error:
            one.facts = {"unavailable": error.message}
            continue
        arguments = {"path": str(one.path.absolute())}
        job = Job(f"{name}: read weights", target.inspect, arguments, target.preload, timeout_s)
        begun.append((one, workers.submit(job)))
    return begun


def _keep_contents(begun: Iterable[tuple[_Subject, Future[Any]]]) -> None:
    """Wait for it; where a file cannot be read, the reason is kept in its place."""
    for one, future in begun:
        try:
            one.facts = future.result()
        except EdgekitError as error:
            one.facts = {"unavailable": error.message}


def _each(subjects: Sequence[_Subject], label: str, progress: Progress, action: Callable[[_Subject], None]) -> None:
    """Do something with each file that is still well."""
    progress.start(label)
    try:
        for done, one in enumerate(subjects):
            progress.advance(label, done, len(subjects))
            if one.error is None:
                try:
                    action(one)
                except EdgekitError as error:
                    one.fail(error)
    finally:
        progress.end(label)


def _start(subjects: Sequence[_Subject], samples: Samples, progress: Progress) -> None:
    """Load and first run, one file at a time, and none while another still imports its runtime."""

    def ready(one: _Subject) -> None:
        one.raw["start"] = one.session.ready()

    def load(one: _Subject) -> None:
        one.raw["load"] = one.session.load()
        one.notes += one.raw["load"]["notes"]
        one.feeds = samples.for_signature(one.session.signature, one.path)
        one.raw["first"] = one.session.first(one.feeds)

    _each(subjects, "start runtimes", progress, ready)
    _each(subjects, "load files", progress, load)


def _time(subjects: Sequence[_Subject], budget_s: float, seed: int, progress: Progress) -> None:
    well = [one for one in subjects if one.error is None]
    if not well:
        return
    progress.start(_TIMING)
    try:
        timings = registry.function("profiles.rounds:measure")(
            [one.session for one in well],
            budget_s=budget_s,
            seed=seed,
            on_progress=lambda done: progress.advance(_TIMING, round(done * 100), 100),
        )
    finally:
        progress.end(_TIMING)
    for one, timing in zip(well, timings, strict=True):
        one.raw["turns"] = timing.turns
        if timing.error is not None:
            one.fail(timing.error)
        elif not timing.settled:
            one.notes.append("runs had not become steady when the warm-up ended")


def _run_samples(subjects: Sequence[_Subject], scratch: Path, progress: Progress) -> None:
    def run(one: _Subject) -> None:
        assert one.feeds is not None  # noqa: S101 - set before the first run
        one.outputs = one.session.outputs(one.feeds, scratch / f"outputs-{one.number}")

    _each(subjects, "run all samples", progress, run)


def _profile(one: _Subject, samples: Samples, threads: int) -> Profile:
    """The figures of one file, from everything that was written down about it."""
    assert one.target is not None  # noqa: S101 - a file without one has failed
    given = MetricInput(one.path, one.facts, one.raw, one.outputs, samples.reference, one.feeds)
    found: list[Measurement] = []
    for metric in registry.metrics().values():
        found += metric.measure(given)
    preempted = next((item.value for item in found if item.metric == "preempted_ratio"), None)
    if preempted is not None and preempted > _BUSY_RATIO:
        one.notes.append(f"other processes took the CPU during {preempted:.0%} of the timed runs")
    drift, problems = _drift(one, samples)
    runtime = registry.runtimes()[one.target.runtime]
    return Profile(
        path=str(one.path),
        target=one.target.name,
        sha256=one.sha256,
        runtime=f"{runtime.TITLE} {one.raw['start']['versions'][runtime.DISTRIBUTION]}",
        threads=threads,
        measurements=tuple(found),
        drift=drift,
        latency_ns=tuple(value for turn in one.raw["turns"] for value in turn["ns"]),
        notes=(*one.notes, *problems),
    )


def _drift(one: _Subject, samples: Samples) -> tuple[tuple[Drift, ...], list[str]]:
    """Drift per output, and what is wrong with it in words."""
    if samples.reference is None or one.outputs is None:
        return (), []
    compare = registry.function("profiles.metrics.drift:compare")
    try:
        drifts = tuple(compare(feeds.read(samples.reference), feeds.read(one.outputs)))
    except ValueError as error:
        return (), [f"drift: {error}"]
    return drifts, [f"output {drift.output}: {drift.finding}" for drift in drifts if drift.finding]


def _notes(subjects: Sequence[_Subject], samples: Samples, facts: DeviceFacts) -> tuple[str, ...]:
    notes = [*NOTES, *samples.notes]
    if samples.dataset is None:
        notes.append(
            f"Inputs: {RANDOM_SAMPLES} random samples, seed {SEED}; --data FILE measures on yours."
            + (" Drift on random inputs says little about accuracy." if samples.reference else "")
        )
    else:
        origins = dict.fromkeys(feeds.read(one.feeds).origin for one in subjects if one.feeds is not None)
        notes += [f"Inputs: {origin}." for origin in origins]
    if samples.reference is not None:
        constant = registry.function("profiles.metrics.drift:constant_outputs")
        notes += [
            f"Output {name} of the reference is the same for all samples: drift on it proves nothing."
            for name in constant(feeds.read(samples.reference))
        ]
    if facts.load_average > facts.cores:
        busy = f"load average {facts.load_average:.1f}, {facts.cores} cores"
        notes.append(f"The machine was busy when this began: {busy}.")
    return tuple(notes)


def _failure(path: Path, error: EdgekitError) -> Failure:
    return Failure(str(path), type(error).__name__, error.exit_code, error.message, error.hint, error.log)
