"""Every converted file is run once in its own runtime against its source, before it is handed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit import feeds, registry
from edgekit.device_plugins import Session
from edgekit.errors import MeasurementError
from edgekit.jobs import Workers
from edgekit.plugins import Target
from edgekit.source import OpenedSource
from edgekit.types import Drift, FloatOperator, Signature, Verification

_LEAST_EQUAL = 0.9
"""Share of whole numbers or flags in an output that must be the source's."""


def verify(
    made: Path,
    target: Target,
    opened: OpenedSource,
    limit_db: float,
    scratch: Path,
    timeout_s: float,
    workers: Workers,
    quantized: bool = False,
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
        quantized: Whether the file computes with integers: then parts of an output that are lost are looked for, too.

    Returns:
        The verdict, the signature as the runtime sees it, and the operators that its delegate did not take.

    Raises:
        MeasurementError: The runtime could not load or run the file, or died.
    """
    device = registry.host()
    opening = device.open_session(made, target.name, 1, opened.feeds, scratch, timeout_s)
    with opening as session, workers.ended_by_close(session.close):
        outputs = _outputs(session, opened, target, scratch)
        signature = session.signature
        undelegated = tuple(session.undelegated() or ())
        others = [_in_other_size(session, folder, target, scratch) for folder in opened.sizes]
    reference = feeds.read(opened.reference)
    drifts = _judged(reference, outputs, limit_db, quantized)
    for other_reference, other in others:
        judged = _judged(other_reference, other, limit_db, quantized=False)
        drifts += [replace(drift, output=f"{drift.output} ({other_reference.origin})") for drift in judged]
    failed = any(drift.finding for drift in drifts)
    origin = "; ".join([reference.origin, *(item.origin for item, _ in others)])
    verdict = Verification("failed" if failed else "passed", origin, limit_db, tuple(drifts))
    return verdict, signature, undelegated


def _outputs(session: Session, opened: OpenedSource, target: Target, scratch: Path) -> feeds.Feeds:
    try:
        return feeds.read(session.outputs(opened.feeds, scratch / "outputs"))
    except MeasurementError as error:
        raise _not_open(error, "", target) if opened.sizes else error from error


def _not_open(error: MeasurementError, sizes: str, target: Target) -> MeasurementError:
    """Says that open axes are the likely reason."""
    return MeasurementError(
        f"{error.message} That was with open axes (--dynamic){sizes}: {target.title} cannot keep them open for this "
        "model.",
        hint="Leave --dynamic out, and make one file for each size: --input NAME=SIZES",
        log=error.log,
    )


def _in_other_size(session: Session, folder: Path, target: Target, scratch: Path) -> tuple[feeds.Feeds, feeds.Feeds]:
    """Reference and outputs of a file whose open axes have another size.

    Raises:
        MeasurementError: It does not run so.
    """
    reference = feeds.read(folder / "reference")
    try:
        outputs = session.outputs(folder / "feeds", scratch / f"outputs-{folder.name}")
    except MeasurementError as error:
        raise _not_open(error, f", {reference.origin}", target) from error
    return reference, feeds.read(outputs)


def _judged(reference: feeds.Feeds, outputs: feeds.Feeds, limit_db: float, quantized: bool) -> list[Drift]:
    """Every output, with a finding where it fails."""
    compare = registry.function("profiles.metrics.drift:compare")
    constant_outputs = registry.function("profiles.metrics.drift:constant_outputs")
    vacuous, dead = set(constant_outputs(reference)), set(constant_outputs(outputs))
    discrete = {name for name, array in reference.arrays.items() if array.dtype.kind != "f"}
    if set(reference.arrays) - discrete - vacuous:
        # A flag or a class may well be the same for a few samples; what varies beside it carries the proof.
        vacuous, dead = vacuous - discrete, dead - discrete
    drifts: list[Drift] = []
    for drift in compare(reference, outputs):
        found = drift.finding or _constancy(drift, vacuous, dead, reference.count)
        if not found and drift.output in discrete:
            found = _unequal(drift)
        elif not found:
            lost = _lost_parts(reference, outputs, drift.output) if quantized else ""
            found = "; ".join(filter(None, (_noise(drift, limit_db), lost)))
        drifts.append(replace(drift, finding=found))
    return drifts


def _constancy(drift: Drift, vacuous: set[str], dead: set[str], samples: int) -> str:
    """A finding where an output does not depend on the input."""
    if drift.output in vacuous:
        return (
            f"the source's own output is the same for all {samples} inputs, so nothing can be proven"
            if samples > 1
            else "the source's own output is constant, so nothing can be proven"
        )
    return "dead: the same output for every input" if drift.output in dead else ""


def _lost_parts(reference: feeds.Feeds, outputs: feeds.Feeds, name: str) -> str:
    """A finding where slices or most samples of an output are lost, and the figures of the whole do not show it."""
    match = registry.function("profiles.agent.binding:match")
    finding = registry.function("profiles.metrics.slices:finding")
    given = match(list(reference.arrays), list(outputs.arrays))[name]
    return str(finding(reference.arrays[name], outputs.arrays[given]))


def _noise(drift: Drift, limit_db: float) -> str:
    if drift.sqnr_db is not None and drift.sqnr_db < limit_db:
        return f"SQNR {drift.sqnr_db:.1f} dB is below the limit of {limit_db:g} dB"
    return ""


def _unequal(drift: Drift) -> str:
    """Classes, counts and flags are right or wrong: noise says nothing about them."""
    if drift.top1_agreement is not None and drift.top1_agreement < _LEAST_EQUAL:
        return f"only {drift.top1_agreement:.1%} of its whole numbers are those of the source"
    return ""
