"""What a source, a target, a conversion step, a runtime, a metric and a device look like to edgekit.

A capability is one file that holds one of these under the name its docstring gives. :mod:`edgekit.registry` finds
it by listing the folder; no list anywhere else is touched. The file's top level imports nothing heavy: functions
that need a framework are named as ``package.module:function`` and run in a child (:mod:`edgekit.jobs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.drift_types import TaskResult
from edgekit.types import Measurement

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds


@dataclass(frozen=True)
class Source:
    """A format that models come in: ``SOURCE`` in ``converters/sources/<name>.py``.

    Attributes:
        name: Short name, as listed.
        title: What users call it.
        identify: Looks at a file's content (never its suffix) with the standard library alone; returns the kind of
            file in words (``TorchScript archive``) or ``None`` when it is not this source's.
        form: The form that ``load`` writes (see :mod:`converters.graph`).
        load: Entry of the job that reads the file; its contract is :func:`converters.sources.pytorch.load`.
        inspect: Entry of the job behind ``edgekit inspect``; takes a ``request`` as ``load`` does, returns
            ``converters.facts`` data.
        preload: Modules the jobs want imported beforehand.
        packages: Top-level import names that must be installed.
        extra: The extra of edgekit that installs them.
        suffixes: Usual file suffixes, for messages only.
        folders: Whether its models may be folders; ``identify`` gets those too, then.
        options: Fields of :class:`edgekit.requests.LoadRequest` that it heeds, of those that not all sources do:
            ``outputs``, ``signature``, ``task``, ``dynamic``.
        layout: Of the images of its framework: ``nhwc`` or ``nchw``; empty where that is not known.
        arrives: Entry of a job ``(path) -> scheme`` for formats whose files may come quantized, and that a runtime
            runs as they are; else empty.
    """

    name: str
    title: str
    identify: Callable[[Path], str | None]
    form: str
    load: str
    inspect: str
    preload: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    suffixes: tuple[str, ...]
    folders: bool = False
    options: tuple[str, ...] = ()
    layout: str = ""
    arrives: str = ""


@dataclass(frozen=True)
class Target:
    """A format that models leave in: ``TARGET`` in ``converters/<folder>/__init__.py``.

    Attributes:
        name: As typed after ``--to``.
        title: What users call it.
        form: The form its files are (see :mod:`converters.graph`).
        suffix: Of its files, with the dot.
        runtime: Name of the runtime that runs them (``profiles/runtimes/<runtime>.py``).
        identify: As :attr:`Source.identify`.
        inspect: As :attr:`Source.inspect`, but it takes ``path`` and ``inputs``, a list of
            ``--input`` as typed or empty.
        preload, packages, extra: What ``inspect`` needs, as in :class:`Source`.
        refused: Schemes it will not do, with the reason, in a sentence that follows a colon.
    """

    name: str
    title: str
    form: str
    suffix: str
    runtime: str
    identify: Callable[[Path], str | None]
    inspect: str
    preload: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Step:
    """One edge of the conversion graph: an entry of ``STEPS`` in a file of a folder that makes a form.

    Attributes:
        name: What it does, in the words of the result: ``torch.export -> TFLite``.
        source, target: Forms.
        schemes: Pairs of scheme before and scheme after: ``("float32", "int8")`` quantizes.
        entry: The job; its contract is :class:`converters.graph.StepResult`.
        preload, packages, extra: As in :class:`Source`.
        mixes: Schemes that single layers may have in a file that this step quantizes (rules of a recipe), by the
            scheme of the file.
        options: Fields of :class:`edgekit.convert.ConvertOptions` that the job gets as keyword arguments of their own.
    """

    name: str
    source: str
    target: str
    schemes: tuple[tuple[str, str], ...]
    entry: str
    preload: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    mixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """How the tensors of a form get their ranges: ``CALIBRATION`` in ``converters/<folder>/calibrate.py``.

    Attributes:
        form: That it runs; steps that leave this form for a scheme with calibration get its ranges.
        entry: The job; its contract is :func:`converters.tflite.calibrate.calibrate`.
        preload, packages, extra: As in :class:`Source`.
    """

    form: str
    entry: str
    preload: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str


@dataclass(frozen=True)
class Relayout:
    """How a form gets inputs in another layout: ``RELAYOUT`` in ``converters/<folder>/relayout.py``.

    Attributes:
        form: That it rewrites; it needs what the source that wrote it needed.
        entry: The job; its contract is :func:`converters.torch_export.relayout.relayout`.
        preload: As in :class:`Source`.
    """

    form: str
    entry: str
    preload: tuple[str, ...]


@dataclass(frozen=True)
class Tap:
    """How a target's files get their inner tensors as outputs: ``TAP`` in ``converters/<target>/tap.py``.

    Attributes:
        form: Of the files.
        entry: A job ``(path, into, exact) -> mapping`` that writes a file of the same format with more outputs: those
            of ``path`` first, under their own names, then one for each tensor that an operator makes at run time.
            ``exact`` leaves out tensors whose being outputs would keep the runtime from fusing operators as it does in
            ``path``, where that can be told. The mapping holds ``taps``, in order of execution, each with ``output``
            (name in the new file), ``tensor`` (name in ``path``), ``operator`` (type), ``module`` (path in the source,
            or empty), ``inputs`` (``tensor`` names of what its operator reads), ``scale`` and ``zero_point``
            (``None`` for floats), and ``shape``; and ``notes``, sentences for the user.
        preload, packages, extra: As in :class:`Source`.
    """

    form: str
    entry: str
    preload: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str


@dataclass(frozen=True)
class DataFormat:
    """A format that samples come in: ``DATA`` in ``converters/datasets/<name>.py``.

    Attributes:
        name: Short name.
        title: What users call it, to stand in a list.
        identify: Looks at what was typed after ``--data``, a path as a rule, and says whether it is of this format:
            by content, with the standard library alone, and without raising.
        read: Entry of ``(path, options, into, advance) -> Dataset``: the text that was typed, a
            :class:`edgekit.data_options.DataOptions`, an existing folder for what is extracted, and a function to
            call with parts done and all parts.
        child: Whether it runs in a child: it needs a framework, or runs code of the user's.
        preload, packages, extra: As in :class:`Source`.
        options: Fields of :class:`edgekit.data_options.DataOptions` that it heeds.
    """

    name: str
    title: str
    identify: Callable[[str], bool]
    read: str
    child: bool = False
    preload: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    extra: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A node of the conversion graph: a form in a scheme, such as TFLite in int8."""

    form: str
    scheme: str = "float32"


@dataclass(frozen=True)
class Edge:
    """An edge of it: a step between two nodes."""

    step: Step
    source: Node
    target: Node


class Runtime(Protocol):
    """A module ``profiles/runtimes/<name>.py``; it must run on a device without edgekit.

    Attributes:
        NAME: As in :attr:`Target.runtime`.
        TITLE: What users call it.
        TARGET: Name of the target whose files it runs.
        PACKAGES, EXTRA: As in :class:`Source`.
        DISTRIBUTION: The package whose version is the runtime's.
    """

    NAME: str
    TITLE: str
    TARGET: str
    PACKAGES: tuple[str, ...]
    EXTRA: str
    DISTRIBUTION: str


@dataclass(frozen=True)
class MetricInput:
    """What a metric may look at: raw figures of the agent and files, never a framework.

    Attributes:
        path: The measured file.
        facts: What ``inspect`` found in it, or empty.
        raw: The agent's raw record (see :mod:`profiles.metrics`).
        outputs: Folder of the file's outputs on the data, if there was any.
        reference: Folder of the reference's outputs on the same data, if there was one.
        feeds: Folder of the inputs, with labels where the data has them.
    """

    path: Path
    facts: Mapping[str, Any]
    raw: Mapping[str, Any]
    outputs: Path | None = None
    reference: Path | None = None
    feeds: Path | None = None


@dataclass(frozen=True)
class Metric:
    """A family of figures: ``METRIC`` in ``profiles/metrics/<name>.py``."""

    name: str
    title: str
    measure: Callable[[MetricInput], Sequence[Measurement]]


@dataclass(frozen=True)
class TaskInput:
    """What a task is measured on: arrays, which may lie on disk and be larger than memory.

    Attributes:
        outputs: Of the file.
        reference: Of the reference, on the same samples; ``None`` without one.
        inputs: The samples.
        labels: As the labels file or the data has them: first axis samples, then the batch as in ``inputs``; for
            tasks whose labels are no arrays, a list with one entry per sample.
        settings: What the user set (``--decode KEY=VALUE``), by key.
        classes: Names of the classes, by label; empty where nobody named them.
        metric: A user's function, as typed after ``--metric``; empty without one.
        answers: What that function gave (:func:`edgekit.own_metric.call`) for the file and for the reference.
    """

    outputs: Feeds
    reference: Feeds | None
    inputs: Feeds
    labels: Array | Sequence[Any] | None
    settings: Mapping[str, str]
    classes: tuple[str, ...] = ()
    metric: str = ""
    answers: tuple[Array, Array | None] | None = None


@dataclass(frozen=True)
class Task:
    """Something that models are for: ``TASK`` in ``profiles/tasks/<name>.py``.

    Attributes:
        name: As typed after ``--judge-as``.
        title: What users call it.
        fits: Why this is the task, from labels and outputs, in words such as ``labels are whole numbers and output
            'scores' has 10 values per sample``; empty when it is not. The first that fits, in order of :attr:`rank`,
            is taken where the user names none.
        measure: The figures.
        rank: Smaller is asked first.
        settings: Keys of :attr:`TaskInput.settings` that it heeds, each with its meaning.
        packages, extra: As in :class:`Source`; those of figures that need a library.
    """

    name: str
    title: str
    fits: Callable[[TaskInput], str]
    measure: Callable[[TaskInput], TaskResult]
    rank: int
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    packages: tuple[str, ...] = ()
    extra: str = ""
