"""What ``edgekit check`` is told and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.data_options import DataOptions
from edgekit.device_types import Place
from edgekit.types import SCHEMA_VERSION, Failure

KEPT, REGRESSION, INCONCLUSIVE = "kept", "regression", "inconclusive"


@dataclass(frozen=True)
class Limits:
    """The budgets of a file on one device; ``None`` for those that were not set.

    Attributes:
        max_size: In bytes.
        max_size_ratio: To the baseline's size.
        max_p50_ms, max_p90_ms: Of the run's percentile, in milliseconds.
        max_latency_ratio: To the baseline's time, from rounds in which both were timed.
        min_accuracy: Top-1, as a share.
        max_accuracy_drop: From the reference's on the same samples, as a share: 0.01 is one point.
        min_sqnr_db: Of the worst output against the reference, in dB.
        min_delegated: Share of the multiply-accumulates in a delegate.
    """

    max_size: float | None = None
    max_size_ratio: float | None = None
    max_p50_ms: float | None = None
    max_p90_ms: float | None = None
    max_latency_ratio: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None
    min_sqnr_db: float | None = None
    min_delegated: float | None = None

    def items(self) -> list[tuple[str, float]]:
        """Those that were set, by name."""
        return [(name, value) for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None]


TIMED = ("max_p50_ms", "max_p90_ms", "max_latency_ratio")
"""Budgets whose figure another measurement may change."""


@dataclass(frozen=True)
class Model:
    """One file and its budgets.

    Attributes:
        name: As the settings call it.
        path: Of the file.
        baseline: A file that is timed in the same rounds, or a run saved with ``--json``.
        limits: On any device.
        devices: On one device, by its name; these replace ``limits`` where they are set.
    """

    name: str
    path: Path
    baseline: Path | None = None
    limits: Limits = field(default_factory=Limits)
    devices: Mapping[str, Limits] = field(default_factory=dict)

    def on(self, device: str) -> Limits:
        """The budgets on a device."""
        own = self.devices.get(device, Limits())
        return Limits(**{**dict(self.limits.items()), **dict(own.items())})


@dataclass(frozen=True)
class Settings:
    """What ``edgekit.toml`` says.

    Attributes:
        path: Of it.
        models: In its order.
        data: As after ``--data``.
        data_options: How to read it.
        reference: A source model, or a converted file.
        devices: Where every file is checked.
        threads: Of each runtime.
        budget_s: Seconds of timing per file, at most.
    """

    path: Path
    models: tuple[Model, ...]
    data: str | None = None
    data_options: DataOptions = field(default_factory=DataOptions)
    reference: Path | None = None
    devices: tuple[str, ...] = ("host",)
    threads: int = 1
    budget_s: float = 10.0


@dataclass(frozen=True)
class Judgement:
    """One budget of one file on one device.

    Attributes:
        model: As the settings call it.
        device: Where.
        budget: A name of :class:`Limits`.
        limit: What was set.
        verdict: ``kept``, ``regression`` or ``inconclusive``.
        value: The figure, in the unit of the limit; ``None`` where there is none.
        low, high: Bounds of its 95 % interval; ``None`` where the figure is exact, or the bound is not known.
        reason: Why it is not kept, or what there is to know.
        hint: What to type next.
        attempts: How often it was measured.
    """

    model: str
    device: str
    budget: str
    limit: float
    verdict: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    hint: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class CheckReport:
    """What ``edgekit check`` hands over; also its ``--json`` output.

    Attributes:
        config: Path of the settings.
        verdict: Of all budgets: the worst of theirs.
        judgements: In the order of the settings.
        failures: Files that could not be measured; each has judgements that say so.
        devices: Where files ran.
        notes: What a reader should know of the run.
    """

    config: str
    verdict: str
    judgements: tuple[Judgement, ...]
    failures: tuple[Failure, ...] = ()
    devices: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = "edgekit check"
    schema_version: int = SCHEMA_VERSION
