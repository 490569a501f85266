"""``edgekit drift``: how far files are from a reference, whether it matters, and where it begins.

Every file runs on all samples, one after the other, in a process of its own; everything else is arithmetic on what they
wrote. A file that fails is a failure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import data_facts, feeds, own_metric, registry
from edgekit.data import RANDOM_SAMPLES, SEED
from edgekit.data_options import DataOptions
from edgekit.errors import EdgekitError
from edgekit.file_drift import Judge, chosen_task, settings_of
from edgekit.jobs import Workers
from edgekit.judging import judged_file
from edgekit.layered import Layered
from edgekit.options import SourceOptions, named
from edgekit.paths import existing
from edgekit.progress import Progress, Silent
from edgekit.samples import Samples, is_converted, open_samples
from edgekit.scratch import scratch_folder
from edgekit.subjects import Subject, keep_contents, open_file, read_contents
from edgekit.types import Place, Report

RANDOM_INPUTS = (
    f"Random inputs: {RANDOM_SAMPLES} samples of noise, seed {SEED}. These figures say nothing about your data, and "
    "there is no verdict."
)
_THREADS = 1


@dataclass(frozen=True)
class Looking:
    """What to look at beside the outputs.

    Attributes:
        labels: ``--labels``, as typed (:mod:`edgekit.labels`); those in the data where it is ``None``.
        judge_as: Name of the task; the first that fits where it is ``None``.
        decode: ``KEY=VALUE``, as typed: how the task reads outputs.
        metric: ``FILE.py:NAME``: a function of the user's; empty for none.
        layers: Whether to look where drift begins.
        bands: A TOML file with other bands for verdicts.
        fresh: Whether to run a source model even where its outputs are kept.
    """

    labels: str | None = None
    judge_as: str | None = None
    decode: tuple[str, ...] = ()
    metric: str = ""
    layers: bool = False
    bands: Path | None = None
    fresh: bool = False


def drift(
    files: Sequence[Path],
    *,
    reference: Path,
    options: SourceOptions | None = None,
    data: str | None = None,
    data_options: DataOptions | None = None,
    looking: Looking | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare converted files with a reference on all samples of the data.

    Args:
        files: ``.tflite``, ``.onnx`` and ``.pte`` files, told apart by content. A float file among them tells the
            errors of conversion and of quantization apart, for the files of its format.
        reference: The source model, or a converted file, whose outputs are taken as right.
        options: How to read a source model.
        data: Samples to run on; a few random ones when there are none, and then there is no verdict.
        data_options: How to read them.
        looking: What to look at beside the outputs.
        progress: Told what is going on.

    Returns:
        A :class:`edgekit.drift_types.FileDrift` for each file that could be run, and the failures of the others.

    Raises:
        UsageError: A file does not exist, the data or the labels cannot be used, or a request contradicts itself.
        MissingDependencyError: A runtime, or what a task was asked for needs, is not installed.
        EdgekitError: The reference could not be run.
    """
    run = _Run(looking or Looking(), options or SourceOptions(), progress or Silent())
    return run.report(files, reference, data, data_options or DataOptions())


class _Run:
    """One command."""

    def __init__(self, looking: Looking, options: SourceOptions, progress: Progress) -> None:
        self.looking = looking
        self.options = options
        self.progress = progress
        self.device = registry.host()

    def report(self, files: Sequence[Path], reference: Path, data: str | None, data_options: DataOptions) -> Report:
        """Run and compare everything; see :func:`drift`."""
        looking, source = self.looking, str(reference)
        reference, self.options = named(reference, self.options)
        existing(reference)
        settings, task, bands = settings_of(looking.decode), chosen_task(looking.judge_as), self._bands()
        if looking.metric:
            own_metric.check(looking.metric)
        opened = [open_file(path) for path in files]
        baseline = open_file(reference) if is_converted(reference) else None
        subjects = [Subject(file, _THREADS, number) for number, file in enumerate(opened)]
        for one in subjects:
            one.error = one.file.error
        with scratch_folder() as scratch, Workers(scratch, progress=self.progress) as workers:
            begun = read_contents([*opened, *([baseline] if baseline else [])], workers, self.options.timeout_s)
            samples = self._samples(reference, data, data_options, workers)
            judge = Judge(samples, settings, task, looking.metric, looking.labels, bands, workers, self.options)
            guard = self._guard(samples, judge, data)
            keep_contents(begun)
            for one in subjects:
                self._run_samples(one, samples, workers)
            layered = Layered(reference, baseline, samples, workers, self.options, data, data_options, self.progress)
            looking_in = layered if looking.layers else None
            drifts = [judged_file(one, subjects, baseline, judge, looking_in) for one in subjects]
            notes = self._notes(samples, judge, data)
        return Report(
            command="edgekit drift",
            source=source,
            drifts=tuple(found for found in drifts if found is not None),
            failures=tuple(one.failure(several=False) for one in subjects if one.error is not None),
            notes=notes,
            devices=(Place(self.device.name, self.device.facts()),),
            data=guard,
        )

    def _bands(self) -> Any:
        """Bands of verdicts, by scheme (:class:`profiles.verdicts.Bands`)."""
        if self.looking.bands is None:
            return registry.function("profiles.verdicts:standard")()
        return registry.function("profiles.verdicts:read")(self.looking.bands)

    def _samples(self, reference: Path, data: str | None, data_options: DataOptions, workers: Workers) -> Samples:
        return open_samples(
            reference,
            data,
            data_options,
            self.options,
            self.device,
            _THREADS,
            self.options.timeout_s,
            workers,
            fresh=self.looking.fresh,
        )

    def _guard(self, samples: Samples, judge: Judge, data: str | None) -> dict[str, Any]:
        assert samples.fixed is not None  # noqa: S101 - there is a reference
        labels = judge.labels if hasattr(judge.labels, "dtype") else None
        found = data_facts.of_samples(feeds.read(samples.fixed), labels, judge.classes, self.progress)
        return {**found, "random": data is None}

    def _run_samples(self, one: Subject, samples: Samples, workers: Workers) -> None:
        if one.error is not None:
            return
        assert samples.fixed is not None  # noqa: S101 - there is a reference
        label, into = f"{one.file.path.name}: run samples", workers.scratch / f"outputs-{one.number}"
        arguments = (one.file.path, one.target.name, one.threads, None, workers.scratch, self.options.timeout_s)
        total = feeds.read(samples.fixed).count

        def advance(done: int) -> None:
            self.progress.advance(label, done, total, "samples")

        self.progress.start(label)
        try:
            with self.device.open_session(*arguments) as session, workers.ended_by_close(session.close):
                one.notes += session.load()["notes"]
                one.feeds = samples.for_signature(session.signature, one.file.path)
                one.outputs = session.outputs(one.feeds, into, advance)
                one.notes += session.outputs_notes
        except EdgekitError as error:
            one.fail(error)
        finally:
            self.progress.end(label)

    def _notes(self, samples: Samples, judge: Judge, data: str | None) -> tuple[str, ...]:
        assert samples.fixed is not None  # noqa: S101 - there is a reference
        origin = [] if data is None else [f"Inputs: {feeds.read(samples.fixed).origin}."]
        vacuous = [
            f"Output {name} of the reference is the same for all samples: drift on it proves nothing."
            for name in judge.vacuous
        ]
        return (*([RANDOM_INPUTS] if data is None else []), *samples.notes, *origin, *judge.notes, *vacuous)
