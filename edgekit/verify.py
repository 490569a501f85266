"""Every converted file is run once in its own runtime against its source, before it is handed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit import feeds, registry
from edgekit.jobs import Workers
from edgekit.plugins import Target
from edgekit.source import OpenedSource
from edgekit.types import Drift, FloatOperator, Signature, Verification


def verify(
    made: Path,
    target: Target,
    opened: OpenedSource,
    limit_db: float,
    scratch: Path,
    timeout_s: float,
    workers: Workers,
) -> tuple[Verification, Signature, tuple[FloatOperator, ...]]:
    """Run a file on the reference inputs and compare.

    Args:
        made: The converted file.
        target: What it is.
        opened: The source, with inputs and its own outputs on them.
        limit_db: SQNR below which an output fails.
        scratch: An existing folder of this file's own.
        timeout_s: Time limit of each request to the runtime.
        workers: Ends the runtime when they are closed.

    Returns:
        The verdict, the signature as the runtime sees it, and the operators that its delegate did not take.

    Raises:
        MeasurementError: The runtime could not load or run the file, or died.
    """
    device = registry.devices()["host"]
    opening = device.open_session(made, target.name, 1, opened.feeds, scratch, timeout_s)
    with opening as session, workers.ended_by_close(session.close):
        outputs = feeds.read(session.outputs(opened.feeds, scratch / "outputs"))
        signature = session.signature
        undelegated = tuple(session.undelegated() or ())
    reference = feeds.read(opened.reference)
    compare = registry.function("profiles.metrics.drift:compare")
    constant_outputs = registry.function("profiles.metrics.drift:constant_outputs")
    vacuous, dead = set(constant_outputs(reference)), set(constant_outputs(outputs))
    drifts: list[Drift] = [
        replace(drift, finding=drift.finding or _finding(drift, limit_db, vacuous, dead, reference.count))
        for drift in compare(reference, outputs)
    ]
    failed = any(drift.finding for drift in drifts)
    verdict = Verification("failed" if failed else "passed", reference.origin, limit_db, tuple(drifts))
    return verdict, signature, undelegated


def _finding(drift: Drift, limit_db: float, vacuous: set[str], dead: set[str], samples: int) -> str:
    """What is wrong with an output; empty when nothing is."""
    if drift.output in vacuous:
        return (
            f"the source's own output is the same for all {samples} inputs, so nothing can be proven"
            if samples > 1
            else "the source's own output is constant, so nothing can be proven"
        )
    if drift.output in dead:
        return "dead: the same output for every input"
    if drift.sqnr_db is not None and drift.sqnr_db < limit_db:
        return f"SQNR {drift.sqnr_db:.1f} dB is below the limit of {limit_db:g} dB"
    return ""
