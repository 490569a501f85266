"""What a reader wants to know of a report at a glance (:mod:`edgekit.summary`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """A figure as a summary has it.

    Attributes:
        value: ``None`` where it could not be taken or nobody asked for it; ``unavailable`` says which.
        unit: ``bytes``, ``ns``, ``ratio``, ``dB`` or empty.
        low, high: 95 % interval; ``None`` without one.
        unavailable: Why there is no value.
    """

    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    unavailable: str = ""


@dataclass(frozen=True)
class Variant:
    """One file on one device with one number of threads.

    Attributes:
        key: Unlike all others of the summary, and short: ``digits.int8.tflite``, with device and threads where several.
        name: Of the file.
        path, target, scheme, device, threads: As in :class:`edgekit.types.Profile`.
        emulated: Whether its device is software, whose times mean nothing.
        baseline: Whether the others are compared with it.
        size, size_ratio: Of the file, and to the baseline's.
        p50, p90: Latency.
        time_ratio: Of the same rounds, below 1 is faster; across devices that of two medians.
        time_verdict: As :attr:`edgekit.types.Comparison.verdict`; empty for the baseline.
        memory: Peak.
        accuracy: Headline figure of the task, with labels; ``accuracy_name`` says which, ``accuracy_better`` its
            direction.
        accuracy_change: Its paired difference from the reference's, or else from the baseline's.
        accuracy_words: That in words: ``not shown to differ``…
        sqnr: The worst output against the reference.
        delegated: Share of the multiply-accumulates in a delegate, or else of the operators.
        verdict: Of the drift: ``equal``, ``acceptable``, ``degraded``, ``broken``, or ``none``.
        pareto: Whether no other variant of its device is at least as good in size, latency and accuracy, and better
            in one.
    """

    key: str
    name: str
    path: str
    target: str
    scheme: str
    device: str
    threads: int
    emulated: bool = False
    baseline: bool = False
    size: Value = Value()
    size_ratio: Value = Value()
    p50: Value = Value()
    p90: Value = Value()
    time_ratio: Value = Value()
    time_verdict: str = ""
    memory: Value = Value()
    accuracy: Value = Value()
    accuracy_name: str = ""
    accuracy_better: bool | None = None
    accuracy_change: Value = Value()
    accuracy_words: str = ""
    sqnr: Value = Value()
    delegated: Value = Value()
    verdict: str = "none"
    pareto: bool = False


@dataclass(frozen=True)
class Summary:
    """A report at a glance.

    Attributes:
        variants: The best first.
        baseline: Key of what the others are compared with; empty without one.
        recommended: Key of the one to take; empty where none can be recommended.
        finding: Why, in a sentence or two: ``int8 TFLite (digits.int8.tflite): 3.7 times smaller, 2.9 times as fast
            [2.8, 3.1], accuracy not shown to differ``.
        judged_on: Which of size, latency and accuracy the Pareto set is about, for not all are always known.
        notes: What a reader should know.
    """

    variants: tuple[Variant, ...]
    baseline: str = ""
    recommended: str = ""
    finding: str = ""
    judged_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
