"""Where the time of a run goes, operator by operator, and how much of the model a delegate or provider runs.

From ``MetricInput.raw["operators"]``, what :func:`profiles.operators.collect` wrote. Runtimes slow down under their
profilers, so nothing here is a latency: what counts are shares.

The time of an operator is the mean of the faster half of its own times. A busy machine interrupts every run somewhere,
but most operators in most runs not at all; and a mean sees parts of the whole microseconds that LiteRT, ONNX Runtime
and XNNPACK round down to. What a run took beside its operators is treated in the same way, and the profiled run that
operators are compared with is the sum of both. On a quiet machine that is its time on the clock.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plugins import Metric, MetricInput
from edgekit.types import FloatOperator, Measurement, OperatorTime

_HEAVY = re.compile(
    r"conv(?!ert)|mat_?mul|matrix multiply|gemm|fully_?\s?connected|(?<![a-z])linear(?![a-z0-9_])|"
    r"(?<![a-z])(mm|bmm|addmm|baddbmm)(?![a-z])|einsum|lstm|(?<![a-z])gru(?![a-z])",
    re.IGNORECASE,
)
_NAMED = 5


def measure(data: MetricInput) -> Sequence[Measurement]:
    """How much of the run the operators account for, and the delegate's share of nodes, MACs and time; if asked for."""
    raw = data.raw.get("operators")
    if raw is None:
        return []
    rows = times(raw)
    total = sum(row.time_ns for row in rows)
    accounted = total / (total + _beside_ns(raw)) if rows else None
    delegated = sum(row.time_ns for row in rows if row.delegate) / total if total else None
    reason = raw["unavailable"] or ("" if total else "all operators are below the resolution of the profiler")
    nodes, macs = _delegated_nodes(raw, data.facts), _delegated_macs(raw, data.facts)
    count = len(raw["run_ns"])
    return [
        Measurement("operators_time_ratio", accounted, "ratio", None, samples=count, unavailable=raw["unavailable"]),
        _share("delegated_nodes_ratio", nodes, 1),
        _share("delegated_macs_ratio", macs, 1),
        _share("delegated_time_ratio", reason if delegated is None else delegated, count),
    ]


def times(raw: Mapping[str, Any]) -> tuple[OperatorTime, ...]:
    """The time of each operator, in execution order.

    Args:
        raw: What :func:`profiles.operators.collect` returned.

    Returns:
        Empty where the profiler was not available.
    """
    means = [_faster_half(row["ns"]) for row in raw["operators"]]
    total = sum(means)
    return tuple(
        OperatorTime(
            operator=row["operator"],
            name=row["name"],
            delegate=row["delegate"],
            time_ns=mean,
            share=mean / total if total else 0.0,
            count=row["calls"],
            node=row["node"],
        )
        for row, mean in zip(raw["operators"], means, strict=True)
    )


def by_type(rows: Sequence[OperatorTime]) -> tuple[OperatorTime, ...]:
    """Sums over operators of one type that one delegate ran, the longest first; names are dropped."""
    found: dict[tuple[str, str], OperatorTime] = {}
    for row in rows:
        key = (row.operator, row.delegate)
        sums = found.get(key, OperatorTime(row.operator, "", row.delegate, 0.0, 0.0, 0))
        time_ns, share, count = sums.time_ns + row.time_ns, sums.share + row.share, sums.count + row.count
        found[key] = OperatorTime(row.operator, "", row.delegate, time_ns, share, count)
    return tuple(sorted(found.values(), key=lambda row: -row.time_ns))


def is_heavy(operator: str) -> bool:
    """Whether an operator is a convolution, a matrix product or a recurrent layer, in any format's spelling."""
    return _HEAVY.search(operator.partition("::")[2] or operator) is not None


def heavy_outside(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[FloatOperator, ...]:
    """Convolutions and matrix products that the delegate did not take.

    Args:
        raw: What :func:`profiles.operators.collect` returned.
        facts: What ``inspect`` says about the file.
    """
    outside = _outside(raw, facts) or ()
    return tuple(FloatOperator(one["operator"], one["name"]) for one in outside if is_heavy(one["operator"]))


def notes(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What a reader must know about the delegation of a file, a sentence each; empty when all is well.

    Args:
        raw: As of :func:`heavy_outside`.
        facts: As of :func:`heavy_outside`.
    """
    found = []
    heavy = heavy_outside(raw, facts)
    if heavy:
        listed = ", ".join(f"{one.operator} ({one.name})" if one.name else one.operator for one in heavy[:_NAMED])
        more = f", and {len(heavy) - _NAMED} more" if len(heavy) > _NAMED else ""
        share = sum(row.share for row in times(raw) if not row.delegate and is_heavy(row.operator))
        took = f", for {share:.0%} of the time" if raw["operators"] else ""
        found.append(f"SLOW PATH: convolutions or matrix products run outside the delegate{took}: {listed}{more}")
    listed_outside = {one.get("node") for one in raw["undelegated"] or ()}
    # Runtimes list what is delegated of the main graph alone, whose nodes are called 0:INDEX.
    ran_outside = {row["node"] for row in raw["operators"] if not row["delegate"] and row["node"].startswith("0:")}
    if raw["operators"] and raw["undelegated"] is not None and listed_outside != ran_outside:
        found.append(
            f"the profiled run delegated otherwise than the timed ones: {len(ran_outside)} operators outside the "
            f"delegate, {len(listed_outside)} there"
        )
    if raw["unavailable"]:
        found.append(f"no times of operators, only what is delegated: {raw['unavailable']}")
    return found


def share_to_require(measurements: Sequence[Measurement]) -> Measurement:
    """The delegated share that ``--require-delegated`` is about: of MACs, where they are known, else of nodes."""
    found = {item.metric: item for item in measurements}
    macs = found["delegated_macs_ratio"]
    return macs if macs.value is not None else found["delegated_nodes_ratio"]


def _faster_half(values: Sequence[int]) -> float:
    """Mean of the smaller half of some times."""
    return statistics.fmean(sorted(values)[: (len(values) + 1) // 2])


def _beside_ns(raw: Mapping[str, Any]) -> float:
    """What a run takes beside its operators."""
    within = [sum(times) for times in zip(*(row["ns"] for row in raw["operators"]), strict=True)]
    return _faster_half([max(0, run - own) for run, own in zip(raw["run_ns"], within, strict=True)])


def _share(metric: str, value: float | str, samples: int) -> Measurement:
    """A share, or why there is none."""
    if isinstance(value, str):
        return Measurement(metric, None, "ratio", True, unavailable=value)
    return Measurement(metric, value, "ratio", True, samples=samples)


def _outside(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """What the delegate did not take: as the runtime says, else as the file does; ``None`` when neither does."""
    if raw["undelegated"] is not None:
        found: Sequence[Mapping[str, Any]] = raw["undelegated"]
        return found
    return [row for row in facts["work"] if not row["delegated"]] if facts.get("work") else None


def _delegated_nodes(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> float | str:
    outside = _outside(raw, facts)
    if outside is None:
        return str(facts.get("unavailable", "neither the runtime nor the file says what is delegated"))
    if not outside:
        return 1.0
    nodes = raw["nodes"] or len(facts.get("work") or ())
    return 1 - len(outside) / nodes if nodes else "the runtime does not say how many operators there are"


def _delegated_macs(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> float | str:
    outside = _outside(raw, facts)
    if outside is not None and not outside:
        return 1.0
    work = facts.get("work")
    if not work or outside is None:
        return str(facts.get("unavailable", "the file's operators were not read"))
    if any(row["macs"] is None for row in work) or facts.get("uncounted"):
        return f"multiply-accumulates are not known of all operators ({facts.get('macs_note', '')})"
    if raw["undelegated"] is not None and any(not row["node"].startswith("0:") for row in work):
        return "the file has several graphs, and the runtime says what is delegated of the first alone"
    missed = {one["node"] for one in outside}
    total: int = sum(row["macs"] for row in work)
    if not total:
        return "it has no convolutions or matrix products"
    outside_macs: int = sum(row["macs"] for row in work if row["node"] in missed)
    return 1 - outside_macs / total


METRIC = Metric("operators", "Operators", measure)
