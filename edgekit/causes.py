"""From evidence to words: why a quantized file drifts, and which option to try.

The evidence is that of ``converters.torch_export.causes:gather``, gathered when a file has failed; nothing is said here
that it does not hold. What is most specific comes first, for it is the cause of what comes later.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

JOB = "converters.torch_export.causes:gather"
"""The job that gathers evidence; it takes ``source``, ``feeds``, ``ranges``, ``settings`` and ``scheme``."""

MIXED = "mixed ranges"
"""How a finding begins that :mod:`profiles.metrics.slices` makes."""

_FINE_DB = 20.0
"""Simulated int8 above this works: what is lost, is lost elsewhere."""
_AS_GOOD_DB = 3.0
"""Exceptions that bring this much less than the best are as good, and the one with the fewest layers is named."""

Evidence = Mapping[str, Any]


def explain(evidence: Evidence, findings: str = "", per_tensor: bool = False) -> tuple[str, str]:
    """Why a file failed.

    Args:
        evidence: Of the job.
        findings: What verification found, all of it in one string.
        per_tensor: Whether the file has one scale per weight tensor (edgekit's own have one per channel).

    Returns:
        A sentence or two, and a hint on what to type next; both empty when the evidence names nothing.
    """
    for cause in (_not_finite, _huge_constant, _outlier, _wasted_range):
        if said := cause(evidence):
            return said
    if said := _mixed(evidence, findings):
        return said
    if per_tensor and evidence["depthwise"]:
        return _depthwise(evidence)
    return _collapse(evidence) or _elsewhere(evidence) or _builds_up(evidence) or ("", "")


def _not_finite(evidence: Evidence) -> tuple[str, str] | None:
    found = evidence["not_finite"]
    if not found or evidence["huge_constants"]:  # a mask of infinities is its own cause, with a better name
        return None
    first = found[0]
    return (
        f"{_start(first)} holds values that are not finite on the calibration data ({first['values']} of them), "
        "and 8 bits cannot express these.",
        "Look for NaN in the data, and for a division by zero or a logarithm of zero in the model."
        if first["kind"] == "input"
        else f"Rewrite that place in the model, or keep it float: --exclude {_pattern(first)}",
    )


def _huge_constant(evidence: Evidence) -> tuple[str, str] | None:
    """One that reaches the place where int8 collapses, or that no range can hold."""
    guilty = [item for item in evidence["huge_constants"] if item.get("upstream") or "inf" in item["value"]]
    if not guilty:
        return None
    first = guilty[0]
    return (
        f"{first['operator']}{_of(first['path'])} brings in the constant {first['value']}: one step of 8 bits is then "
        "larger than all the other values.",
        "Fill with a number of the size of the other values in the model (a mask of -30 is as good as -inf before a "
        f"softmax), or keep it float: --exclude {_pattern(first)}",
    )


def _outlier(evidence: Evidence) -> tuple[str, str] | None:
    if not evidence["outliers"] or not evidence["wasted"]:
        return None  # a method that clips has dealt with it
    first, wasted = evidence["outliers"][0], evidence["wasted"][0]
    several = first["samples"] > 1
    which = ", ".join(str(place) for place in first["places"]) + (" …" if first["samples"] > 5 else "")
    percentile = math.ceil(100 * (1 - first["samples"] / first["of"])) - 1  # the largest whole one that cuts them off
    return (
        f"{first['samples']} of {first['of']} calibration samples (number{'s' if several else ''} {which}) "
        f"{'reach' if several else 'reaches'} {first['largest']} in input {first['input']!r}, where the median sample "
        f"stays within {first['usual']}. {_few_steps(wasted)}",
        f"Remove such samples from the data, or cut them off: --calibration-method percentile:{percentile}",
    )


def _wasted_range(evidence: Evidence) -> tuple[str, str] | None:
    if not evidence["wasted"]:
        return None
    return (
        f"The calibrated range does not fit the data. {_few_steps(evidence['wasted'][0])}",
        "Calibrate on data like that of later use, with --calibration-method auto or percentile:99.9, or keep the "
        f"layer float: --exclude {_pattern(evidence['wasted'][0])}",
    )


def _few_steps(item: Mapping[str, Any]) -> str:
    (low, high), (least, most) = item["range"], item["seen"]
    return (
        f"{_start(item)} has 255 steps from {low:.3g} to {high:.3g}, and other samples lie between {least:.3g} and "
        f"{most:.3g}, within {item['steps']:.2g} of these steps."
    )


def _mixed(evidence: Evidence, findings: str) -> tuple[str, str] | None:
    """A concatenation that the failed output comes from; or what the output itself shows."""
    shown = MIXED in findings
    guilty = [item for item in evidence["mixed"] if item["upstream"] or (shown and item["is_output"])]
    guilty = guilty or [item for item in evidence["mixed"] if shown]
    if guilty:
        first = guilty[0]
        ranges = " and ".join(f"{low:.3g} to {high:.3g}" for low, high in first["inputs"][:4])
        option = "--exclude " + ("@detection-head" if first["preset"] else _pattern({**first, "kind": "concat"}))
        said = (
            f"One tensor with mixed ranges: concat{_of(first['path'])} puts {ranges} into one tensor with one scale, "
            "and the smaller ones lie within a few of its steps."
        )
    elif shown:
        said = "One output holds quantities of different sizes, and has one scale for all."
        cure = _best_cure(evidence)
        option = "--exclude @last" if cure is None else _exclude(cure)
    else:
        return None
    return said, (
        f"{option} keeps that part float. Or give the quantities one size in the model (boxes divided by "
        "the size of the picture), or return them as outputs of their own."
    )


def _depthwise(evidence: Evidence) -> tuple[str, str]:
    first = evidence["depthwise"][0]
    return (
        f"Depthwise weights with one scale per tensor: in {first['path'] or 'a depthwise convolution'} the largest "
        f"channel is {first['ratio']:.3g} times the least, and {first['lost']} of {first['channels']} channels are "
        "left with fewer than 5 steps.",
        "Convert from the float model: edgekit quantizes weights per channel.",
    )


def _collapse(evidence: Evidence) -> tuple[str, str] | None:
    first = evidence["first_collapse"]
    if first is None:
        return None
    before = "no error" if first["sqnr_before"] is None else f"{first['sqnr_before']:.1f} dB"
    after = "one constant value" if first["dead"] else f"{first['sqnr_after']:.1f} dB"
    said = f"The first layer that 8 bits break is {_at(first)}: SQNR {before} before it, {after} behind it."
    return _with_cure(said, evidence)


def _elsewhere(evidence: Evidence) -> tuple[str, str] | None:
    simulated = evidence["simulated_db"]
    if simulated is None or simulated < _FINE_DB:
        return None
    return (
        f"8 bits alone do not explain it: the same program, simulated in int8, keeps {simulated:.1f} dB. "
        "So it is lost in what this target makes of it.",
        "Try another target, and please report this model.",
    )


def _builds_up(evidence: Evidence) -> tuple[str, str] | None:
    """No single layer: error adds up."""
    if evidence["simulated_db"] is None or not evidence["worst"]:
        return None
    worst = ", ".join(dict.fromkeys(_at(item) for item in evidence["worst"]))
    said = f"No single layer breaks; the error adds up. Most is lost in {worst}."
    return _with_cure(said, evidence)


def _with_cure(said: str, evidence: Evidence) -> tuple[str, str]:
    cure = _best_cure(evidence)
    if cure is None:
        return (
            f"{said} Keeping single layers float was tried and does not help.",
            "--quant int16x8 (16-bit activations) or int8-dynamic keep more   (edgekit list: which target has them)",
        )
    return (
        f"{said} Simulated with {_exclude(cure)}, the worst output has {cure['sqnr_db']:.1f} dB in place of "
        f"{evidence['simulated_db']:.1f} dB.",
        _exclude(cure),
    )


def _best_cure(evidence: Evidence) -> Mapping[str, Any] | None:
    cures = evidence["cures"]
    if not cures:
        return None
    best = max(cure["sqnr_db"] for cure in cures)
    enough = [cure for cure in cures if cure["sqnr_db"] >= best - _AS_GOOD_DB]
    found: Mapping[str, Any] = min(enough, key=lambda cure: cure["layers"])
    return found


def _exclude(cure: Mapping[str, Any]) -> str:
    return " ".join(f"--exclude {shlex.quote(pattern)}" for pattern in cure["exclude"])


def _at(item: Mapping[str, Any]) -> str:
    """``conv2 (conv)``, or ``input 'image'``."""
    if item["kind"] == "input":
        return f"input {item['node']!r}"
    return f"{item['path']} ({item['kind']})" if item["path"] else f"{item['kind']} ({item['node']})"


def _start(item: Mapping[str, Any]) -> str:
    """The same at the start of a sentence; the names in it keep their case."""
    return "I" + _at(item)[1:] if item["kind"] == "input" else _at(item)


def _of(path: str) -> str:
    return f" in {path}" if path else ""


def _pattern(item: Mapping[str, Any]) -> str:
    """What ``--exclude`` takes to mean this place."""
    if item["kind"] == "input":
        return "@first"
    return shlex.quote(item["path"] or item["kind"])
