"""Files that are compared, judged by their outputs: drift, task, verdict, and where the drift begins if that is asked.

``edgekit drift`` asks for all of it about one set of files, ``edgekit compare`` for what a reader of it wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import feeds, registry
from edgekit.data_options import DataOptions
from edgekit.drift_types import FileDrift, Thumbnail
from edgekit.errors import EdgekitError, MissingDependencyError
from edgekit.file_drift import Judge, scheme_of
from edgekit.jobs import Workers
from edgekit.layered import Layered
from edgekit.options import SourceOptions
from edgekit.progress import Progress
from edgekit.samples import Samples, is_converted
from edgekit.subjects import File, Subject, keep_contents, open_file, read_contents
from edgekit.thumbnails import thumbnails

_SHOWN = 24
"""Pictures of samples that a report holds, at most."""


@dataclass(frozen=True)
class Judged:
    """What is said about the outputs of several files.

    Attributes:
        drifts: One for each file whose outputs could be judged.
        thumbnails: Pictures of samples that went from right to wrong.
        notes: What a reader should know.
    """

    drifts: tuple[FileDrift, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    notes: tuple[str, ...] = ()


def judged_files(
    subjects: Sequence[tuple[str, Subject]],
    reference: Path,
    samples: Samples,
    options: SourceOptions,
    data: str | None,
    data_options: DataOptions,
    workers: Workers,
    progress: Progress,
    *,
    layers: bool,
) -> Judged:
    """Judge files that have run; one that cannot be judged fails as a subject.

    Args:
        subjects: With the device that each ran on.
        reference: The source model, or a converted file.
        samples: With the reference's outputs.
        options: How to read a source model.
        data: As typed after ``--data``.
        data_options: How to read it.
        workers: Run jobs.
        progress: Told what goes on.
        layers: Whether to look where drift begins.
    """
    bands = registry.function("profiles.verdicts:standard")()
    judge = Judge(samples, {}, None, "", None, bands, workers, options)
    baseline = open_file(reference) if is_converted(reference) else None
    if baseline is not None:
        keep_contents(read_contents([baseline], workers, options.timeout_s))
    layered = Layered(reference, baseline, samples, workers, options, data, data_options, progress)
    found = []
    for device, one in subjects:
        own = [other for place, other in subjects if place == device]
        judged = judged_file(one, own, baseline, judge, layered if layers else None)
        if judged is not None:
            found.append(replace(judged, device=device))
    try:
        return Judged(tuple(found), _pictures(found, samples, judge))
    except MissingDependencyError as error:
        return Judged(tuple(found), notes=(f"{error.message} {error.hint}",))


def judged_file(
    one: Subject, subjects: Sequence[Subject], baseline: File | None, judge: Judge, layered: Layered | None
) -> FileDrift | None:
    """All about one file; ``None`` where it has failed.

    Args:
        one: The file, with its outputs.
        subjects: All files that ran where it did.
        baseline: The reference, where that is a converted file.
        judge: Of outputs.
        layered: Looks into files; ``None`` to leave that out.
    """
    if one.error is not None or one.outputs is None:
        return None
    try:
        counterpart = float_counterpart(one, subjects, baseline)
        found = judge.drift(one, counterpart)
        if layered is not None and found.verdict.status == "equal":
            found = replace(found, notes=(*found.notes, "Layers: not looked at, for the outputs are equal."))
        elif layered is not None:
            words, layers = layered.look(one, counterpart)
            found = replace(found, layers=layers, notes=(*found.notes, *words))
    except EdgekitError as error:
        one.fail(error)
        return None
    return found


def float_counterpart(one: Subject, subjects: Sequence[Subject], baseline: File | None) -> Subject | File | None:
    """The float file of the same format: one that was given, or the reference where it is one.

    Args:
        one: A file.
        subjects: All files of the command, with what ``inspect`` says.
        baseline: The reference, where that is a converted file.

    Returns:
        ``None`` where there is none, or where the file is float itself.
    """
    if scheme_of(one.file) in ("float32", ""):
        return None
    if baseline is not None and baseline.target == one.file.target and scheme_of(baseline) == "float32":
        return baseline
    same = [item for item in subjects if item.error is None and item.file.target == one.file.target]
    return next((item for item in same if scheme_of(item.file) == "float32"), None)


def _pictures(drifts: Sequence[FileDrift], samples: Samples, judge: Judge) -> tuple[Thumbnail, ...]:
    """Of the samples that most files have lost."""
    assert samples.fixed is not None  # noqa: S101 - there is a reference
    lost: dict[int, int] = {}
    for one in drifts:
        for place in () if one.task is None or one.task.flips is None else one.task.flips.broken_samples:
            lost[place] = lost.get(place, 0) + 1
    places = sorted(sorted(lost), key=lambda place: -lost[place])[:_SHOWN]
    return thumbnails(feeds.read(samples.fixed), places, judge.classes) if places else ()
