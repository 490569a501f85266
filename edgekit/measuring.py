"""How files are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.data import SEED
from edgekit.jobs import DEFAULT_TIMEOUT_S

BUDGET_S = 10.0
"""Seconds of warm-up and timing per file."""

QUICK_BUDGET_S = 0.5
COLD_PROCESSES = 5


@dataclass(frozen=True)
class Measuring:
    """How to measure.

    Attributes:
        threads: That each runtime may use; each file is measured with each number.
        affinity: CPUs that it may use, as numbers, or as typed after ``--affinity`` (:mod:`edgekit.affinity`); all
            that there are when empty.
        devices: Where to measure, as typed after ``--device``.
        runners: Native programs for devices without Python.
        budget_s: Seconds of warm-up and timing per file, at most.
        thorough: Whether memory plans and the peak of the CPU are measured too.
        cold: How many fresh processes to start for each file; 0 for none.
        operators: Whether to time the operators of each file.
        require_delegated: Share of each file's work that must be in a delegate; needs ``operators``.
        timeout_s: Time limit of each request to an agent, in seconds.
        seed: Of the order within rounds.
        fresh: Whether to run a source model even where its outputs are kept.
        sustained_s: How long each file runs without pause, alone, after all else; 0 for not at all.
        cooldown: What to wait for before files are timed, as typed after ``--cooldown`` (:mod:`edgekit.cooldown`).
        layers: Whether to look where drift begins, where files are compared and there is a reference.
    """

    threads: tuple[int, ...] = (1,)
    affinity: tuple[int, ...] | str = ()
    devices: tuple[str, ...] = ("host",)
    runners: tuple[Path, ...] = ()
    budget_s: float = BUDGET_S
    thorough: bool = True
    cold: int = 0
    operators: bool = False
    require_delegated: float | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    seed: int = SEED
    fresh: bool = False
    sustained_s: float = 0.0
    cooldown: str = ""
    layers: bool = False
