"""The files of a command on one device: started, timed in turns, run on all samples, and measured on the side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import affinity, asides, cooldown, registry, remarks
from edgekit.conditions import Conditions
from edgekit.device_plugins import ConnectOptions, Device, Session
from edgekit.devices import Resolved
from edgekit.errors import EdgekitError
from edgekit.figures import profile_of
from edgekit.measuring import Measuring
from edgekit.progress import Progress
from edgekit.samples import Samples
from edgekit.subjects import File, Subject, each
from edgekit.types import Comparison, DeviceFacts, Failure, Place, Profile
from edgekit.versus import Versus

_TIMING = "warm-up and timing"
_FACTS = ("system", "machine", "cpu", "cores", "python", "board")


class DeviceRun:
    """One device.

    Args:
        resolved: Which.
        measuring: How to measure.
        progress: Told what is going on there.
        versus: What files are compared with; ``None`` where they are not.
        scratch: An existing folder on this machine, for this device alone.
        stack: Closes what is opened.

    Attributes:
        subjects: The files, with what was measured.
        timed: Those, and the baseline's copy.
        facts: Of the machine, once it is connected.
        error: Why the device as a whole could not be used.
    """

    def __init__(
        self,
        resolved: Resolved,
        measuring: Measuring,
        progress: Progress,
        versus: Versus | None,
        scratch: Path,
        stack: ExitStack,
    ) -> None:
        self.resolved, self.measuring, self.progress, self.versus = resolved, measuring, progress, versus
        self.scratch, self.stack = scratch, stack
        self.subjects: list[Subject] = []
        self.timed: list[Subject] = []
        self.facts: DeviceFacts | None = None
        self.error: EdgekitError | None = None
        self.cpus: tuple[int, ...] = ()
        self.conditions: list[Conditions] = []
        self.notes: list[str] = []
        self._device: Device | None = None

    @property
    def name(self) -> str:
        """As reports call the device."""
        return self.resolved.name

    def open(self, files: Sequence[File]) -> None:
        """Connect, and start what runs each file.

        Raises:
            UsageError: It has no such CPUs.
            MissingDependencyError: A runtime is not installed on this machine, where files run here.
            DeviceError: It cannot be reached or used.
        """
        options = ConnectOptions(
            scratch=self.scratch, name=self.name, runners=self.measuring.runners, progress=self.progress
        )
        self._device = self.stack.enter_context(self.resolved.connect(options))
        self.facts = replace(self._device.facts(), name=self.name)
        self.cpus = affinity.resolve(self.measuring.affinity, self.facts)
        pairs = [(file, threads) for file in files for threads in self.measuring.threads]
        self.subjects = [Subject(file, threads, number) for number, (file, threads) in enumerate(pairs)]
        self.timed = list(self.subjects)
        for one in self.subjects:
            one.error = one.file.error
            if one.error is None:
                self._open(one)

    def choose(self) -> None:
        """Find the baseline, and start its copy, once it is known what the files are.

        Raises:
            MeasurementError: There is none that can be measured.
        """
        if self.versus is not None:
            self.timed.append(self.versus.choose(self.subjects))
            self._open(self.timed[-1])

    def start(self, samples: Samples) -> None:
        """Load and first run, one file at a time, and none while another still imports its runtime."""

        def ready(one: Subject) -> None:
            one.raw["start"] = one.session.ready()

        def load(one: Subject) -> None:
            one.raw["load"] = one.session.load()
            one.notes += one.raw["load"]["notes"]
            one.feeds = samples.for_signature(one.session.signature, one.file.path)
            one.raw["first"] = one.session.first(one.feeds)

        each(self.timed, "start runtimes", self.progress, ready)
        each(self.timed, "load files", self.progress, load)

    def measure(self, samples: Samples) -> None:
        """Time all files, run them on all samples, and measure what was asked for beside that."""
        self._cool_down()
        before = self._conditions()
        self._time()
        after = self._conditions()
        self.conditions = [one for one in (before, after) if one is not None]
        if samples.reference is not None or samples.dataset is not None:
            self._run_samples()
        self._asides()
        self.notes += [*remarks.busy(self._facts), *remarks.weather(self.timed, before, after)]
        self.notes += dict.fromkeys(
            note for one in self.timed if one.agent is not None for note in one.agent.link_notes
        )

    def profiles(self, samples: Samples) -> list[tuple[Subject, Profile]]:
        """The figures of each file that could be measured."""
        found = []
        for one in self.subjects:
            if one.error is None:
                found.append((one, profile_of(one, samples, self.name)))
        return found

    def comparisons(self) -> list[Comparison]:
        """Every file beside the baseline."""
        return [] if self.versus is None else self.versus.comparisons(self.subjects, self._facts)

    def failures(self, *, several: bool) -> list[Failure]:
        """Of the files, or of the device.

        Args:
            several: Whether there are other devices.
        """
        on = f" on {self.name}" if several else ""
        if self.error is not None:
            error = self.error
            return [Failure(self.name, type(error).__name__, error.exit_code, error.message, error.hint, error.log)]
        more = len(self.measuring.threads) > 1
        found = [one.failure(several=more) for one in self.subjects if one.error is not None]
        return [replace(one, what=one.what + on) for one in found]

    def place(self) -> Place:
        """The device, for a report."""
        facts = self._facts
        found = {"name": self.name, **{name: str(getattr(facts, name)) for name in _FACTS}}
        fingerprint = {**found, "affinity": ",".join(map(str, self.cpus)) or "all"}
        return Place(self.name, facts, fingerprint, tuple(self.conditions), tuple(self.notes))

    @property
    def _facts(self) -> DeviceFacts:
        assert self.facts is not None  # noqa: S101 - read when it was opened
        return self.facts

    def _session(self, one: Subject) -> Session:
        assert self._device is not None  # noqa: S101 - opened before any file
        arguments = (one.file.path, one.target.name, one.threads, None, self.scratch, self.measuring.timeout_s)
        return self._device.open_session(*arguments, affinity=self.cpus or None)

    def _open(self, one: Subject) -> None:
        one.agent = self.stack.enter_context(self._session(one))

    def _time(self) -> None:
        well = [one for one in self.timed if one.error is None]
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

    def _conditions(self) -> Conditions | None:
        """The state of the machine now; ``None`` when no file is left to ask for it."""
        one = next((item for item in self.subjects if item.error is None), None)
        if one is None:
            return None
        try:
            found: Conditions = registry.function("profiles.conditions:read")(one.session)
        except EdgekitError as error:
            one.fail(error)
            return self._conditions()
        return found

    def _cool_down(self) -> None:
        if self.measuring.cooldown:
            said = cooldown.wait(self.measuring.cooldown, self._conditions, self.progress)
            self.notes += [note for note in said if note not in self.notes]

    def _asides(self) -> None:
        """What is measured when the rounds are over, one file at a time."""
        measuring, subjects = self.measuring, self.subjects
        if measuring.operators:
            asides.operators(subjects, self._session, self.progress)
        if measuring.cold:
            asides.cold(subjects, self._session, measuring.cold, self.progress)
        if measuring.sustained_s:
            asides.sustained(subjects, measuring.sustained_s, self.progress, before=self._cool_down)
        if measuring.thorough:
            asides.peaks(subjects, self.progress)
            asides.arenas(subjects, self.progress)
        else:
            for one in subjects:
                one.raw["arena"] = {"unavailable": "not asked for with --quick"}

    def _run_samples(self) -> None:
        def run(one: Subject) -> None:
            assert one.feeds is not None  # noqa: S101 - set before the first run
            one.outputs = one.session.outputs(one.feeds, self.scratch / f"outputs-{one.number}")
            one.notes += one.session.outputs_notes

        each(self.subjects, "run all samples", self.progress, run)
