"""``edgekit profile`` and ``edgekit compare``: figures of converted files on this machine and on attached devices.

One agent per file (:mod:`profiles.agent`), all alive, taking turns. Everything raw is measured there; the
figures are arithmetic here, by the metrics that the registry finds. A file that fails is a failure of its
own, and so is a device where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from edgekit import asides, devices, registry, remarks
from edgekit.data_options import DataOptions
from edgekit.device_run import DeviceRun
from edgekit.errors import EdgekitError, UsageError
from edgekit.jobs import Workers
from edgekit.judging import Judged, judged_files
from edgekit.measuring import Measuring
from edgekit.options import SourceOptions, named
from edgekit.paths import existing
from edgekit.progress import Labelled, Progress, Silent
from edgekit.samples import Samples, open_samples
from edgekit.scratch import scratch_folder
from edgekit.subjects import Subject, keep_contents, open_file, read_contents, recount
from edgekit.types import Failure, Profile, Report
from edgekit.versus import Versus, across

_HERE = "host"


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
        DeviceError: The only device cannot be reached or used; one of several is a failure of its own.
        EdgekitError: The reference could not be run.
    """
    run = _Run("edgekit profile", measuring or Measuring(), progress or Silent(), lambda: None)
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
        As there, with :attr:`edgekit.types.Report.comparisons`, and with ``drifts`` where there is a reference.

    Raises:
        MeasurementError: The baseline cannot be run.
        EdgekitError: As there.
    """
    if baseline is not None and baseline.absolute() not in [file.absolute() for file in files]:
        files = [baseline, *files]
    run = _Run("edgekit compare", measuring or Measuring(), progress or Silent(), lambda: Versus(baseline))
    return run.report(files, reference, options or SourceOptions(), data, data_options or DataOptions())


class _Run:
    """One command.

    Args:
        command: Its name.
        measuring: How to measure.
        progress: Told what is going on.
        versus: Makes what files are compared with, for each device.
    """

    def __init__(
        self, command: str, measuring: Measuring, progress: Progress, versus: Callable[[], Versus | None]
    ) -> None:
        self.command, self.measuring, self.progress, self.versus = command, measuring, progress, versus
        self.stopping = Event()

    def report(
        self,
        files: Sequence[Path],
        reference: Path | None,
        options: SourceOptions,
        data: str | None,
        data_options: DataOptions,
    ) -> Report:
        """Measure everything; see :func:`profile`."""
        source = "" if reference is None else str(reference)
        if reference is not None:
            reference, options = named(reference, options)
            existing(reference)
        resolved = [devices.resolve(typed) for typed in dict.fromkeys(self.measuring.devices)]
        here = any(one.kind.name == _HERE for one in resolved)
        opened = [open_file(path, runs_here=here) for path in files]
        with scratch_folder() as scratch, ExitStack() as stack:
            runs = [self._run(one, scratch, stack, len(resolved)) for one in resolved]
            self._each(runs, lambda run: run.open(opened))
            with Workers(scratch, progress=self.progress) as workers:
                begun = read_contents(opened, workers, options.timeout_s)
                samples = self._samples(reference, data, data_options, options, workers)
                keep_contents(begun)
                self._each(runs, DeviceRun.choose)
                self._each(runs, lambda run: run.start(samples))
                subjects = [one for run in runs if run.error is None for one in run.subjects]
                keep_contents(recount(subjects, workers, options.timeout_s))
            self._each(runs, lambda run: run.measure(samples))
            well = [run for run in runs if run.error is None]
            judged = Judged()
            if well and well[0].versus is not None and samples.reference is not None:
                judged = self._judged(well, reference, samples, options, data, data_options, scratch)
            pairs = [pair for run in well for pair in run.profiles(samples)]
            comparisons = [one for run in well for one in run.comparisons()]
            if len(runs) > 1:
                comparisons += across([item for _, item in pairs], [run.place() for run in well])
            return Report(
                command=self.command,
                source=source,
                profiles=tuple(item for _, item in pairs),
                comparisons=tuple(comparisons),
                drifts=judged.drifts,
                thumbnails=judged.thumbnails,
                failures=(
                    *(one for run in runs for one in run.failures(several=len(runs) > 1)),
                    *self._undelegated(pairs),
                ),
                notes=(*remarks.notes([one for run in well for one in run.timed], samples), *judged.notes),
                devices=tuple(run.place() for run in well),
            )

    def _run(self, resolved: devices.Resolved, scratch: Path, stack: ExitStack, count: int) -> DeviceRun:
        number = len(list(scratch.glob("device-*")))
        folder = scratch / f"device-{number}"
        folder.mkdir()
        progress = self.progress if count == 1 else Labelled(self.progress, resolved.name, self.stopping)
        return DeviceRun(resolved, self.measuring, progress, self.versus(), folder, stack)

    def _each(self, runs: Sequence[DeviceRun], action: Callable[[DeviceRun], None]) -> None:
        """Do something on all devices that are still well, at the same time.

        Raises:
            EdgekitError: Of the only device, or of all of them; another one fails alone.
        """
        well = [run for run in runs if run.error is None]
        if len(runs) == 1:
            action(well[0])
            return
        with ThreadPoolExecutor(len(runs), thread_name_prefix="edgekit-device") as pool:
            begun: list[tuple[DeviceRun, Future[None]]] = [(run, pool.submit(action, run)) for run in well]
            for run, future in begun:
                try:
                    future.result()
                except BaseException as error:
                    if not isinstance(error, EdgekitError) or isinstance(error, UsageError):
                        self.stopping.set()  # or the pool would wait for what the other threads are at
                        raise
                    run.error = error
        if well and all(run.error is not None for run in runs):
            assert runs[0].error is not None  # noqa: S101 - just looked at
            raise runs[0].error

    def _samples(
        self,
        reference: Path | None,
        data: str | None,
        data_options: DataOptions,
        options: SourceOptions,
        workers: Workers,
    ) -> Samples:
        measuring = self.measuring
        threads, timeout_s, fresh = measuring.threads[0], measuring.timeout_s, measuring.fresh
        return open_samples(
            reference, data, data_options, options, registry.host(), threads, timeout_s, workers, fresh=fresh
        )

    def _judged(
        self,
        runs: Sequence[DeviceRun],
        reference: Path | None,
        samples: Samples,
        options: SourceOptions,
        data: str | None,
        data_options: DataOptions,
        scratch: Path,
    ) -> Judged:
        """What the outputs are worth; files with other numbers of threads have the same."""
        assert reference is not None  # noqa: S101 - there are outputs of it
        first = self.measuring.threads[0]
        subjects = [(run.name, one) for run in runs for one in run.subjects if one.threads == first]
        with Workers(scratch, progress=self.progress) as workers:
            return judged_files(
                subjects, reference, samples, options, data, data_options, workers, self.progress,
                layers=self.measuring.layers,
            )  # fmt: skip

    def _undelegated(self, profiles: Sequence[tuple[Subject, Profile]]) -> list[Failure]:
        least = self.measuring.require_delegated
        if least is None:
            return []
        found = [asides.too_little_delegated(one, item.measurements, least) for one, item in profiles]
        return [one for one in found if one is not None]
