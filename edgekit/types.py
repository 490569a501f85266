"""The data that passes between commands, children, reports and files.

Frozen dataclasses, JSON both ways (:func:`to_json`, :func:`from_json`). Units are in the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from edgekit.conditions import Conditions
from edgekit.drift_types import Drift as Drift
from edgekit.drift_types import FileDrift as FileDrift

SCHEMA_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The name a user sees, in every file format.
        shape: Sizes, ``None`` for a dynamic dimension.
        dtype: NumPy dtype name, such as ``float32``.
        scale, zero_point: Of an integer that stands for ``scale * (value - zero_point)``; ``None`` for plain ones.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    def __str__(self) -> str:
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}[{sizes}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Scheme:
    """What a quantization scheme means on every target.

    Attributes:
        name: As typed after ``--quant``.
        flag: The option that is its short form; empty for ``float32``.
        weight_bits: Bits of a stored weight.
        activation_bits: Bits of an activation where operators are quantized.
        granularity: ``per-channel``, ``per-tensor`` or ``-``, of the weights.
        activations: ``float``, ``static`` (ranges from calibration) or ``dynamic`` (ranges at run time).
        needs_calibration: Whether representative data must be given.
        min_sqnr_db: Signal-to-quantization-noise ratio under which a file of this scheme fails.
        summary: One line for help texts.
    """

    name: str
    flag: str
    weight_bits: int
    activation_bits: int
    granularity: str
    activations: str
    needs_calibration: bool
    min_sqnr_db: float
    summary: str


@dataclass(frozen=True)
class Rule:
    """One line of a recipe: layers that match get a scheme of their own.

    Attributes:
        match: A module path or an operator type, with ``*`` and ``?``, or a preset such as ``@last``; what matches
            is written down in :mod:`converters.layers`.
        scheme: Name of the scheme; ``float32`` keeps the layers float.
    """

    match: str
    scheme: str = "float32"


@dataclass(frozen=True)
class Quantization:
    """How to quantize, beside the scheme: the same words for every target.

    Attributes:
        method: Of calibration: ``auto``, ``minmax``, ``percentile[:99.9]``, ``mse`` or ``entropy``.
        cpu: That the file is for: ``x86-vnni``, ``x86`` or ``arm``.
        io: ``float`` or ``int8``: what inputs and outputs of the file are.
        rules: In order; the first that matches a layer decides.
    """

    method: str = "auto"
    cpu: str = "x86-vnni"
    io: str = "float"
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class FloatOperator:
    """An operator that stayed float in a quantized file."""

    operator: str
    name: str


@dataclass(frozen=True)
class Verification:
    """The verdict on one converted file.

    Attributes:
        status: ``passed``, ``failed`` or ``skipped`` (``--no-verify``).
        inputs: Where the inputs came from, in words.
        min_sqnr_db: The limit that was applied.
        outputs: One drift per output.
    """

    status: str
    inputs: str
    min_sqnr_db: float
    outputs: tuple[Drift, ...] = ()


@dataclass(frozen=True)
class CalibrationFacts:
    """Where the ranges of a file with static activations came from.

    Attributes:
        ranges: The kept file, for ``edgekit inspect``; empty where none could be kept.
        method: That chose them.
        samples: Number of samples they were taken from.
        reused: Whether an earlier command had computed them.
    """

    ranges: str
    method: str
    samples: int
    reused: bool


@dataclass(frozen=True)
class OptimizeStep:
    """One thing that ``--optimize`` tried.

    Attributes:
        name: What.
        before_db, after_db: SQNR of the simulated int8 outputs; ``None`` where it is not finite.
        kept: Whether it stayed in.
    """

    name: str
    before_db: float | None
    after_db: float | None
    kept: bool


@dataclass(frozen=True)
class Artifact:
    """One converted file, and everything needed to judge and repeat it."""

    path: str
    target: str
    scheme: str
    size_bytes: int
    sha256: str
    signature: Signature
    verification: Verification
    stayed_float: tuple[FloatOperator, ...] = ()
    undelegated: tuple[FloatOperator, ...] = ()
    notes: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    command: str = ""
    calibration: CalibrationFacts | None = None
    optimized: tuple[OptimizeStep, ...] = ()
    recipe: str = ""


@dataclass(frozen=True)
class Failure:
    """Something asked for that could not be made or measured."""

    what: str
    error: str
    exit_code: int
    message: str
    hint: str = ""
    log: str = ""


@dataclass(frozen=True)
class DeviceFacts:
    """Conditions that figures were taken under."""

    name: str
    system: str
    machine: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    load_average: float
    emulated: bool = False


@dataclass(frozen=True)
class Measurement:
    """One figure of one file.

    Attributes:
        metric: Name, with the unit in it where there is one: ``latency_p50_ns``.
        value: The figure; ``None`` when it could not be taken, and then ``unavailable`` says why.
        unit: ``ns``, ``bytes``, ``dB``, ``ratio``…
        higher_is_better: Direction; ``None`` where neither is better.
        low, high: Bounds of a confidence interval or spread; what they are is in ``spread``.
        spread: What ``low`` and ``high`` mean, such as ``95% CI of the median``.
        samples: Number of raw samples behind the value.
    """

    metric: str
    value: float | None
    unit: str
    higher_is_better: bool | None
    low: float | None = None
    high: float | None = None
    spread: str = ""
    samples: int = 0
    unavailable: str = ""


@dataclass(frozen=True)
class Turn:
    """The timed runs of one file in one round.

    Attributes:
        round: Its number; files that were timed together share it.
        ns: Of each run, in nanoseconds.
        preempted: Per run, whether something else had the CPU meanwhile; ``None`` where the kernel does not say.
        sentinel_ns: What a fixed computation took at the start of the round.
    """

    round: int
    ns: tuple[int, ...]
    preempted: tuple[bool, ...] | None = None
    sentinel_ns: float | None = None


@dataclass(frozen=True)
class Comparison:
    """How much faster or slower a file is than the baseline.

    Attributes:
        path, threads: Of the file.
        baseline, baseline_threads: Of the baseline.
        verdict: ``faster``, ``slower``, ``no difference shown``, or ``inconclusive``.
        ratio: Median over rounds of its time by the baseline's: below 1 it is faster; ``None`` without rounds.
        low, high: 95 % interval of that.
        floor_ratio: Differences up to this share are none: two processes of the baseline differ by as much.
        rounds: In which both were timed.
        reason: Why it is inconclusive.
    """

    path: str
    threads: int
    baseline: str
    baseline_threads: int
    verdict: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    floor_ratio: float | None = None
    rounds: int = 0
    reason: str = ""


@dataclass(frozen=True)
class OperatorTime:
    """How long one operator takes, or all of one type; under a profiler, so that the share is what counts.

    Attributes:
        operator: Type, as the runtime calls it: inside a delegate that of its kernel, and ``delegate call`` for what
            calling one takes beside the operators in it.
        name: Of this one; empty where the runtime does not say.
        delegate: The delegate or execution provider that ran it; empty outside of any.
        time_ns: In one run, all its calls together; mean of the faster half of its times.
        share: Of the time of all operators.
        count: How often it ran in one run; of a type, over all its operators.
        node: The operator's ``node`` in what ``inspect`` says about the file; empty where that is not known.
    """

    operator: str
    name: str
    delegate: str
    time_ns: float
    share: float
    count: int
    node: str = ""


@dataclass(frozen=True)
class NodeWork:
    """What one operator of a file is to a run, whether it was timed or not; as ``work`` of ``edgekit inspect`` has it.

    Attributes:
        operator: Type, as the format calls it.
        node: What its runtime calls it; see :attr:`OperatorTime.node`.
        macs: Multiply-accumulates of one run; ``None`` when they cannot be derived.
        weights_bytes: Of the stored tensors that it reads.
        moved_bytes: Of its weights, inputs and outputs; ``None`` when a size is only known at run time.
        explorer: Graph and node as Model Explorer calls them; ``None`` where it does not show the operator.
    """

    operator: str
    node: str
    macs: int | None
    weights_bytes: int
    moved_bytes: int | None
    explorer: tuple[str, str] | None = None


@dataclass(frozen=True)
class Profile:
    """All figures of one file, with its raw samples.

    Attributes:
        sha256: Of the file.
        inputs_sha256: Of the samples that it ran on.
        operators: Each with its time, in execution order, where that was asked for and the runtime could tell.
        work: All operators of the file; empty where it could not be read.
    """

    path: str
    target: str
    sha256: str
    inputs_sha256: str
    runtime: str
    threads: int
    measurements: tuple[Measurement, ...]
    drift: tuple[Drift, ...] = ()
    turns: tuple[Turn, ...] = ()
    notes: tuple[str, ...] = ()
    operators: tuple[OperatorTime, ...] = ()
    work: tuple[NodeWork, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a command hands over; also its ``--json`` output.

    Attributes:
        fingerprint: What measured figures depend on beside the files: those of runs that differ in it are not compared.
        conditions: The state of the machine before and after files were timed.
        data: What files were run on (:func:`edgekit.data_facts.of_samples`), and ``random``: whether it was made up.
    """

    command: str
    schema_version: int = SCHEMA_VERSION
    source: str = ""
    artifacts: tuple[Artifact, ...] = ()
    profiles: tuple[Profile, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    drifts: tuple[FileDrift, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    device: DeviceFacts | None = None
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Conditions, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def to_json(value: Any) -> Any:
    """A dataclass of this file as plain data."""
    return asdict(value)


def from_json(kind: type[T], data: Any) -> T:
    """The dataclass that :func:`to_json` wrote.

    Raises:
        cattrs.ClassValidationError: A field is missing or of another type.
    """
    import cattrs

    return cattrs.structure(data, kind)
