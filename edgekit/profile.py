"""``edgekit profile`` and ``edgekit compare``: figures of converted files on this machine.

One agent per file (:mod:`profiles.agent`), all alive, taking turns. Everything raw is measured there; the
figures are arithmetic here, by the metrics that the registry finds. A file that fails is a failure of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import asides, feeds, registry, remarks
from edgekit.conditions import Conditions
from edgekit.data import SEED
from edgekit.data_options import DataOptions
from edgekit.device_plugins import Session
from edgekit.errors import EdgekitError
from edgekit.jobs import DEFAULT_TIMEOUT_S, Workers
from edgekit.options import SourceOptions, named
from edgekit.paths import existing
from edgekit.plugins import MetricInput
from edgekit.progress import Progress, Silent
from edgekit.samples import Samples, open_samples
from edgekit.scratch import scratch_folder
from edgekit.subjects import File, Subject, each, keep_contents, open_file, read_contents, recount
from edgekit.types import DeviceFacts, Drift, Failure, Measurement, OperatorTime, Place, Profile, Report, Turn
from edgekit.versus import Versus

BUDGET_S = 10.0
"""Seconds of warm-up and timing per file."""

QUICK_BUDGET_S = 0.5
COLD_PROCESSES = 5

_BUSY_RATIO = 0.1
_TIMING = "warm-up and timing"


@dataclass(frozen=True)
class Measuring:
    """How to measure.

    Attributes:
        threads: That each runtime may use; each file is measured with each number.
        affinity: CPUs that it may use; all that this process may when empty.
        budget_s: Seconds of warm-up and timing per file, at most.
        thorough: Whether memory plans and the peak of the CPU are measured too.
        cold: How many fresh processes to start for each file; 0 for none.
        operators: Whether to time the operators of each file.
        require_delegated: Share of each file's work that must be in a delegate; needs ``operators``.
        timeout_s: Time limit of each request to an agent, in seconds.
        seed: Of the order within rounds.
        fresh: Whether to run a source model even where its outputs are kept.
    """

    threads: tuple[int, ...] = (1,)
    affinity: tuple[int, ...] = ()
    budget_s: float = BUDGET_S
    thorough: bool = True
    cold: int = 0
    operators: bool = False
    require_delegated: float | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    seed: int = SEED
    fresh: bool = False


def profile(
    files: Sequence[Path],
    *,
    reference: Path | None = None,
    options: SourceOptions | None = None,
    data: str | None = None,
    data_options: DataOptions | None = None,
    measuring: Measuring | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure converted files: size, load, latency, memory, drift from a reference, accuracy on labels.

    Args:
        files: ``.tflite``, ``.onnx`` and ``.pte`` files, told apart by content.
        reference: The source model, or one more converted file, whose outputs are taken as right.
        options: How to read a source model; its ``inputs`` also give sizes that files leave open.
        data: Samples to run on, with labels or without; seeded random ones when there are none.
        data_options: How to read them.
        measuring: How to measure.
        progress: Told what is going on.

    Returns:
        A profile of each file that could be measured, and the failures of the others.

    Raises:
        UsageError: A file does not exist, or the data cannot be used.
        MissingDependencyError: A runtime is not installed.
        EdgekitError: The reference could not be run.
    """
    run = _Run(measuring or Measuring(), progress or Silent(), None)
    return run.report(files, reference, options or SourceOptions(), data, data_options or DataOptions())


def compare(
    files: Sequence[Path],
    *,
    baseline: Path | None = None,
    reference: Path | None = None,
    options: SourceOptions | None = None,
    data: str | None = None,
    data_options: DataOptions | None = None,
    measuring: Measuring | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure converted files as :func:`profile` does, and say which are faster than the baseline.

    Args:
        files: As there, the baseline among them or not.
        baseline: What they are compared with. It is the first float32 file when none is given, or else the first.
        reference: As there.
        options: As there.
        data: As there.
        data_options: As there.
        measuring: As there; timing goes on until every ratio is known to one per cent or to half the noise, or the
            budget is spent.
        progress: As there.

    Returns:
        As there, with :attr:`edgekit.types.Report.comparisons`.

    Raises:
        MeasurementError: The baseline cannot be run.
        EdgekitError: As there.
    """
    if baseline is not None and baseline.absolute() not in [file.absolute() for file in files]:
        files = [baseline, *files]
    run = _Run(measuring or Measuring(), progress or Silent(), Versus(baseline))
    return run.report(files, reference, options or SourceOptions(), data, data_options or DataOptions())


class _Run:
    """One command."""

    def __init__(self, measuring: Measuring, progress: Progress, versus: Versus | None) -> None:
        self.measuring = measuring
        self.progress = progress
        self.versus = versus

    def report(
        self,
        files: Sequence[Path],
        reference: Path | None,
        options: SourceOptions,
        data: str | None,
        data_options: DataOptions,
    ) -> Report:
        """Measure everything; see :func:`profile`."""
        if reference is not None:
            reference, options = named(reference, options)
            existing(reference)
        opened = [open_file(path) for path in files]
        subjects = self._subjects(opened)
        device = registry.host()
        facts = device.facts()
        timeout_s = self.measuring.timeout_s
        affinity = self.measuring.affinity or None
        with scratch_folder() as scratch, ExitStack() as stack:

            def open_one(one: Subject) -> Session:
                arguments = (one.file.path, one.target.name, one.threads, None, scratch, timeout_s)
                return device.open_session(*arguments, affinity=affinity)

            def start(one: Subject) -> None:
                one.agent = stack.enter_context(open_one(one))

            for one in subjects:
                if one.error is None:
                    start(one)
            with Workers(scratch, progress=self.progress) as workers:
                begun = read_contents(opened, workers, options.timeout_s)
                threads, fresh = self.measuring.threads[0], self.measuring.fresh
                samples = open_samples(
                    reference, data, data_options, options, device, threads, timeout_s, workers, fresh=fresh
                )
                keep_contents(begun)
                timed = list(subjects)
                if self.versus is not None:
                    timed.append(self.versus.choose(subjects))
                    start(timed[-1])
                self._start(timed, samples)
                keep_contents(recount(subjects, workers, options.timeout_s))
            before = self._conditions(subjects)
            self._time(timed)
            after = self._conditions(subjects)
            if samples.reference is not None or samples.dataset is not None:
                self._run_samples(subjects, scratch)
            self._asides(subjects, open_one)
            profiles = [(one, _profile(one, samples)) for one in subjects if one.error is None]
            return Report(
                command="edgekit profile" if self.versus is None else "edgekit compare",
                source="" if reference is None else str(reference),
                profiles=tuple(item for _, item in profiles),
                comparisons=() if self.versus is None else tuple(self.versus.comparisons(subjects)),
                failures=(*self._failures(subjects), *self._undelegated(profiles)),
                notes=(*remarks.notes(timed, samples, facts), *remarks.weather(timed, before, after)),
                devices=(
                    Place(
                        facts.name,
                        facts,
                        self._fingerprint(facts),
                        tuple(one for one in (before, after) if one is not None),
                    ),
                ),
            )

    def _failures(self, subjects: Sequence[Subject]) -> list[Failure]:
        several = len(self.measuring.threads) > 1
        return [one.failure(several=several) for one in subjects if one.error is not None]

    def _undelegated(self, profiles: Sequence[tuple[Subject, Profile]]) -> list[Failure]:
        least = self.measuring.require_delegated
        if least is None:
            return []
        found = [asides.too_little_delegated(one, item.measurements, least) for one, item in profiles]
        return [one for one in found if one is not None]

    def _fingerprint(self, facts: DeviceFacts) -> dict[str, str]:
        """What figures of two runs must share to be compared, beside files, inputs and versions of the runtimes."""
        names = ("name", "system", "machine", "cpu", "cores", "python")
        found = {name: str(getattr(facts, name)) for name in names}
        return {**found, "affinity": ",".join(map(str, self.measuring.affinity)) or "all"}

    def _subjects(self, files: Sequence[File]) -> list[Subject]:
        pairs = [(file, threads) for file in files for threads in self.measuring.threads]
        subjects = [Subject(file, threads, number) for number, (file, threads) in enumerate(pairs)]
        for one in subjects:
            one.error = one.file.error
        return subjects

    def _start(self, subjects: Sequence[Subject], samples: Samples) -> None:
        """Load and first run, one file at a time, and none while another still imports its runtime."""

        def ready(one: Subject) -> None:
            one.raw["start"] = one.session.ready()

        def load(one: Subject) -> None:
            one.raw["load"] = one.session.load()
            one.notes += one.raw["load"]["notes"]
            one.feeds = samples.for_signature(one.session.signature, one.file.path)
            one.raw["first"] = one.session.first(one.feeds)

        each(subjects, "start runtimes", self.progress, ready)
        each(subjects, "load files", self.progress, load)

    def _time(self, subjects: Sequence[Subject]) -> None:
        well = [one for one in subjects if one.error is None]
        if not well:
            return
        self.progress.start(_TIMING)
        try:
            timings = registry.function("profiles.rounds:measure")(
                [one.session for one in well],
                budget_s=self.measuring.budget_s,
                seed=self.measuring.seed,
                on_progress=lambda done: self.progress.advance(_TIMING, round(done * 100), 100),
                enough=None if self.versus is None else self._enough(well, self.versus),
            )
        finally:
            self.progress.end(_TIMING)
        for one, timing in zip(well, timings, strict=True):
            one.raw["turns"] = timing.turns
            if timing.error is not None:
                one.fail(timing.error)
            elif not timing.settled:
                one.notes.append("runs had not become steady when the warm-up ended")

    @staticmethod
    def _enough(subjects: Sequence[Subject], versus: Versus) -> Callable[[Sequence[Any]], bool]:
        return lambda timings: versus.enough(subjects, [timing.turns for timing in timings])

    def _conditions(self, subjects: Sequence[Subject]) -> Conditions | None:
        """The state of the machine now; ``None`` when no file is left to ask for it."""
        one = next((item for item in subjects if item.error is None), None)
        if one is None:
            return None
        try:
            found: Conditions = registry.function("profiles.conditions:read")(one.session)
        except EdgekitError as error:
            one.fail(error)
            return self._conditions(subjects)
        return found

    def _asides(self, subjects: Sequence[Subject], open_one: asides.Opener) -> None:
        """What is measured when the rounds are over, one file at a time."""
        if self.measuring.operators:
            asides.operators(subjects, open_one, self.progress)
        if self.measuring.cold:
            asides.cold(subjects, open_one, self.measuring.cold, self.progress)
        if self.measuring.thorough:
            asides.peaks(subjects, self.progress)
            asides.arenas(subjects, self.progress)
        else:
            for one in subjects:
                one.raw["arena"] = {"unavailable": "not asked for with --quick"}

    def _run_samples(self, subjects: Sequence[Subject], scratch: Path) -> None:
        def run(one: Subject) -> None:
            assert one.feeds is not None  # noqa: S101 - set before the first run
            one.outputs = one.session.outputs(one.feeds, scratch / f"outputs-{one.number}")
            one.notes += one.session.outputs_notes

        each(subjects, "run all samples", self.progress, run)


def _profile(one: Subject, samples: Samples) -> Profile:
    """The figures of one file, from everything that was written down about it."""
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
    return Profile(
        path=str(one.file.path),
        target=one.target.name,
        sha256=one.file.sha256,
        inputs_sha256=registry.function("profiles.conditions:hash_of")(one.feeds),
        runtime=f"{runtime.TITLE} {one.raw['start']['versions'][runtime.DISTRIBUTION]}",
        threads=one.threads,
        measurements=tuple(found),
        drift=drift,
        turns=tuple(map(_turn, one.raw["turns"])),
        operators=_operators(one),
        work=one.file.work,
        notes=(*one.notes, *problems),
    )


def _turn(raw: Mapping[str, Any]) -> Turn:
    flags = registry.function("profiles.turns:preempted")(raw)
    return Turn(raw["round"], tuple(raw["ns"]), None if flags is None else tuple(flags), raw["sentinel_ns"])


def _operators(one: Subject) -> tuple[OperatorTime, ...]:
    raw = one.raw.get("operators")
    return () if raw is None else tuple(registry.function("profiles.metrics.operators:times")(raw))


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
