"""What is measured about files; part of :mod:`edgekit.types`."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.drift_types import Drift


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
        device: That the file ran on (:attr:`Place.name`).
        baseline_device: That the baseline ran on.
        same_rounds: Whether the two took turns; else the ratio is that of two medians.
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
    device: str = "host"
    baseline_device: str = "host"
    same_rounds: bool = True


@dataclass(frozen=True)
class Moment:
    """A few seconds of a sustained run.

    Attributes:
        time_s: Its middle, since the start of the run.
        p50_ns: Median run.
        runs: Timed in it.
        temperature_celsius: The hottest sensor; ``None`` where there is none.
        frequency_khz: The highest of the CPUs used; ``None`` where the kernel does not say.
    """

    time_s: float
    p50_ns: float
    runs: int
    temperature_celsius: float | None = None
    frequency_khz: int | None = None


@dataclass(frozen=True)
class Sustained:
    """A file that ran without pause, alone on the device.

    Attributes:
        duration_s: How long.
        window_s: What "first" and "last" mean.
        moments: In order.
    """

    duration_s: float
    window_s: float
    moments: tuple[Moment, ...]


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
        device: That it ran on (:attr:`Place.name`).
        scheme: Of most of its operators; empty where it could not be read.
        sustained: Where that was asked for.
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
    device: str = "host"
    scheme: str = ""
    sustained: Sustained | None = None
