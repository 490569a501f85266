"""Everything that ``edgekit drift`` says about one file, from the outputs that were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import feeds, labels, own_metric, registry
from edgekit.errors import DriftError, EdgekitError, MissingDependencyError, UsageError
from edgekit.feeds import Array, Feeds
from edgekit.jobs import Workers
from edgekit.options import SourceOptions
from edgekit.plugins import Task, TaskInput
from edgekit.samples import Samples
from edgekit.subjects import File, Subject
from edgekit.types import Drift, FileDrift

_OWN = "own"


def settings_of(decode: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE``, as typed after ``--decode``, by key.

    Raises:
        UsageError: There is no ``=``, or a key comes twice.
    """
    found: dict[str, str] = {}
    for typed in decode:
        key, equals, value = typed.partition("=")
        if not equals or not key or not value:
            raise UsageError(f"--decode {typed}: expected KEY=VALUE.", hint="--decode scores=logits")
        if key in found:
            raise UsageError(f"--decode: {key} is given twice.", hint="Leave one of them out.")
        found[key] = value
    return found


def chosen_task(name: str | None) -> Task | None:
    """The task that ``--judge-as`` names, with what it needs.

    Raises:
        UsageError: There is none of that name.
        MissingDependencyError: A library of its is not installed.
    """
    if name is None:
        return None
    known = registry.tasks()
    if name not in known:
        raise UsageError(f"--judge-as {name}: there is no such task.", hint=f"Tasks: {', '.join(known)}.")
    task = known[name]
    registry.require(task.packages, task.extra, f"--judge-as {name}")
    return task


def scheme_of(file: File) -> str:
    """The scheme of most of a file's operators, from what ``inspect`` says; empty where it could not be read."""
    if "quantization" not in file.facts:
        return ""
    return str(registry.function("converters.arrived:scheme_of")(file.facts))


class Judge:
    """Figures, tasks and verdicts of files that ran on the same samples.

    Args:
        samples: With the reference's outputs.
        settings: How a task reads outputs.
        task: That was asked for.
        metric: A function of the user's, as typed; empty for none.
        typed_labels: ``--labels``, as typed.
        bands: For verdicts.
        workers: Run the user's function.
        options: For the time limit.

    Attributes:
        labels: Of the samples; ``None`` where there are none.
        classes: Their names, where the data has them.
        reference: The reference's outputs.
        vacuous: Names of those that are the same for all samples.
        notes: What holds for all files.

    Raises:
        UsageError: Labels do not go with the data, or are missing where a task needs them.
    """

    def __init__(
        self,
        samples: Samples,
        settings: Mapping[str, str],
        task: Task | None,
        metric: str,
        typed_labels: str | None,
        bands: Any,
        workers: Workers,
        options: SourceOptions,
    ) -> None:
        assert samples.fixed is not None and samples.reference is not None  # noqa: S101 - there is a reference
        self.samples, self.settings, self.task, self.metric, self.bands = samples, settings, task, metric, bands
        self.workers, self.options = workers, options
        self.inputs = feeds.read(samples.fixed)
        self.reference = feeds.read(samples.reference)
        self.labels, self.classes = self._labels(typed_labels)
        self.vacuous: list[str] = registry.function("profiles.metrics.drift:constant_outputs")(self.reference)
        self.notes: list[str] = []
        self.reference_answers: Array | None = None
        if self.labels is None and not metric and (task is not None or settings):
            option = "--decode" if task is None else f"--judge-as {task.name}"
            raise UsageError(
                f"{option} is about labels, and there are none.", hint="Give them with --labels, or in the data."
            )

    def _labels(self, typed: str | None) -> tuple[Any, tuple[str, ...]]:
        dataset = self.samples.dataset
        names = () if dataset is None else dataset.classes
        files = () if dataset is None or dataset.pictures is None else dataset.pictures.files
        if typed is None:
            return self.inputs.labels, names
        names = labels.class_names(typed) or names
        return labels.read(typed, self.inputs, names, files), names

    def drift(self, one: Subject, float_one: Subject | File | None) -> FileDrift:
        """All about one file.

        Args:
            one: With its outputs.
            float_one: The float file of its format; a :class:`File` where that is the reference.

        Raises:
            DriftError: Its outputs are not those of the reference.
            EdgekitError: The task could not be measured.
        """
        outputs = self._paired(one)
        drifts = self._compared(one, self.reference, outputs)
        conversion, quantization = self._apart(one, outputs, drifts, float_one)
        task, notes = self._measured(one, outputs)
        scheme = scheme_of(one.file)
        verdict = registry.function("profiles.verdicts:judge")(
            scheme,
            drifts,
            task,
            self.bands,
            findings=registry.function("profiles.metrics.drift:findings")(self.reference, outputs, drifts),
            vacuous=self.vacuous,
            random_inputs=self.samples.dataset is None,
        )
        float_file = float_one if isinstance(float_one, File) or float_one is None else float_one.file
        return FileDrift(
            path=str(one.file.path),
            target=one.target.name,
            scheme=scheme,
            sha256=one.file.sha256,
            outputs=tuple(drifts),
            verdict=verdict,
            float_file="" if float_file is None else str(float_file.path),
            conversion=tuple(conversion),
            quantization=tuple(quantization),
            task=task,
            notes=(*one.notes, *notes),
        )

    def _paired(self, one: Subject) -> Feeds:
        """Outputs under the reference's names, so that a task finds them by the same name on both sides."""
        assert one.outputs is not None  # noqa: S101 - it has run
        match = registry.function("profiles.agent.binding:match")
        outputs = feeds.read(one.outputs)
        try:
            pairs = match(list(self.reference.arrays), list(outputs.arrays))
        except ValueError as error:
            raise _not_the_same(one, str(error)) from error
        if list(pairs.items()) != [(name, name) for name in outputs.arrays]:
            feeds.rename(one.outputs, {given: name for name, given in pairs.items()})
        return feeds.read(one.outputs)

    def _compared(self, one: Subject, reference: Feeds, outputs: Feeds) -> list[Drift]:
        try:
            found: list[Drift] = registry.function("profiles.metrics.drift:compare")(reference, outputs)
        except ValueError as error:
            raise _not_the_same(one, str(error)) from error
        return found

    def _apart(
        self, one: Subject, outputs: Feeds, drifts: list[Drift], float_one: Subject | File | None
    ) -> tuple[list[Drift], list[Drift]]:
        """The error of conversion, and that of quantization."""
        if float_one is None:
            return [], []
        if isinstance(float_one, File):
            return [], drifts  # the float file is the reference
        made_float = self._paired(float_one)
        return self._compared(float_one, self.reference, made_float), self._compared(one, made_float, outputs)

    def _measured(self, one: Subject, outputs: Feeds) -> tuple[Any, list[str]]:
        """The task, and what to say where there is none."""
        if self.labels is None and not self.metric:
            return None, []
        answers = self._answers(one) if self.metric else None
        given = TaskInput(
            outputs=outputs,
            reference=self.reference,
            inputs=self.inputs,
            labels=self.labels,
            settings=self.settings,
            classes=self.classes,
            metric=self.metric,
            answers=answers,
        )
        task = self.task or next((item for item in registry.tasks().values() if item.fits(given)), None)
        if task is None:
            names = ", ".join(name for name in registry.tasks() if name != _OWN)
            return None, [f"No task fits these labels and outputs; name one with --judge-as ({names})."]
        unknown = set(self.settings) - set(task.settings)
        if unknown:
            heeded = "; ".join(f"{key}: {meaning}" for key, meaning in task.settings.items()) or "it has no settings"
            raise UsageError(f"--decode {sorted(unknown)[0]}: {task.name} has no such setting.", hint=heeded)
        try:
            registry.require(task.packages, task.extra, f"Measuring {task.title}")
        except MissingDependencyError as error:
            return None, [f"{error.message} {error.hint}"]
        return task.measure(given), []

    def _answers(self, one: Subject) -> tuple[Array, Array | None]:
        """What the user's function says of the file and of the reference."""
        assert one.outputs is not None and self.samples.reference is not None  # noqa: S101 - both have run
        if self.reference_answers is None:
            self.reference_answers = self._call(self.samples.reference, "reference")
        return self._call(one.outputs, one.file.path.name), self.reference_answers

    def _call(self, outputs: Path, label: str) -> Array:
        scratch, timeout_s = self.workers.scratch, self.options.timeout_s
        return own_metric.call(self.metric, outputs, self.labels, scratch, self.workers, timeout_s, label=label)


def _not_the_same(one: Subject, reason: str) -> EdgekitError:
    return DriftError(
        f"{one.file.path}: it cannot be compared with the reference: {reason}.",
        hint="Name the model that this file was made from: --reference MODEL",
    )
