"""How much work a run is, and how near to the limit of the CPU it is done.

- ``parameters``, ``macs``, ``moved_bytes`` and ``arithmetic_intensity`` are those of :mod:`converters.work`, from the
  file's own shapes.
- ``achieved_gflops`` is ``2 · macs / median latency``: a multiplication and an addition each, elementwise work left
  out, the time of feeding and fetching included.
- ``peak_gflops`` is what NumPy's float32 matrix product reached on the same CPU with as many threads, in its best run
  (:mod:`profiles.agent.peak`), and ``peak_share_ratio`` the quotient. A convolution of the Winograd kind needs fewer
  multiplications than it has, so more than 1 is possible; far below 1 may be memory: see the arithmetic intensity.

Integers have no share: a CPU multiplies 8 bits two to four times as fast as float32, by instructions that some CPUs
have and NumPy does not use. A share of the float32 peak would say the less, the better the kernels are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.plugins import Metric, MetricInput
from edgekit.types import Measurement

_FLOAT_SHARE = 0.9
"""Of the MACs that must be on float32 to compare with its peak."""

_NO_PEAK = "the peak of this CPU was not measured"


def measure(data: MetricInput) -> Sequence[Measurement]:
    """What the file says, what was reached on it, and the share of the peak."""
    facts = data.facts
    if "macs" not in facts:
        reason = facts.get("unavailable", "the file's content was not read")
        counted = [_none(name, unit, better, reason) for name, unit, better in _COUNTED]
        return [*counted, *_measured(data, reason)]
    notes = _notes(facts)
    reasons = {"macs": facts["macs_note"], "moved_bytes": facts["moved_note"]}
    reasons["arithmetic_intensity"] = _why_no_intensity(facts)
    found = []
    for name, unit, better in _COUNTED:
        value = facts[name]
        if value is None:
            found.append(_none(name, unit, better, reasons[name]))
        else:
            spread = "" if name == "parameters" else notes
            found.append(Measurement(name, value, unit, better, spread=spread, samples=1))
    return [*found, *_measured(data, _why_no_speed(data))]


_COUNTED = (
    ("parameters", "elements", False),
    ("macs", "MACs", False),
    ("moved_bytes", "bytes", False),
    ("arithmetic_intensity", "operations/byte", None),
)


def _none(name: str, unit: str, better: bool | None, reason: str) -> Measurement:
    return Measurement(name, None, unit, better, unavailable=reason)


def _notes(facts: Mapping[str, Any]) -> str:
    """What the counts take for granted or leave out."""
    return f"a lower bound: {facts['macs_note']}" if facts["uncounted"] else facts["macs_note"]


def _why_no_intensity(facts: Mapping[str, Any]) -> str:
    if facts["macs"] is None:
        return str(facts["macs_note"])
    return str(facts["moved_note"]) if facts["moved_bytes"] is None else "the file moves no data"


def _measured(data: MetricInput, reason: str) -> list[Measurement]:
    """Figures that need the latency or the peak; ``reason`` says why nothing was reached, if so."""
    peak = peak_gflops(data.raw.get("peak") or {})
    words = _peak_words(data.raw.get("peak") or {})
    shown = (
        _none("peak_gflops", "GFLOP/s", None, words)
        if peak is None
        else Measurement("peak_gflops", peak, "GFLOP/s", None, spread=words, samples=1)
    )
    if reason:
        achieved = _none("achieved_gflops", "GFLOP/s", True, reason)
        return [achieved, shown, _none("peak_share_ratio", "ratio", True, reason)]
    achieved = _achieved(data)
    return [achieved, shown, _share(data, achieved, peak, words)]


def _why_no_speed(data: MetricInput) -> str:
    """Why the speed of this run is not known; empty where it is."""
    facts = data.facts
    if facts["macs"] is None:
        return str(facts["macs_note"])
    if facts["macs"] == 0:
        return "the file has no multiply-accumulates" + (f" ({facts['macs_note']})" if facts["uncounted"] else "")
    if not data.raw.get("turns"):
        return "it was not timed"
    return _other_sizes(data)


def _other_sizes(data: MetricInput) -> str:
    """Says so where the runs had other sizes than the counts."""
    if data.feeds is None or not data.facts["counted_shapes"]:
        return ""
    from edgekit import feeds

    counted = {name: tuple(shape) for name, shape in data.facts["counted_shapes"].items()}
    run = {name: tuple(array.shape[1:]) for name, array in feeds.read(data.feeds).arrays.items()}
    if counted.keys() != run.keys():  # a runtime that calls them otherwise has them in the file's order
        counted = dict(zip(run, counted.values(), strict=False))
    other = [name for name, shape in run.items() if counted.get(name, shape) != shape]
    if not other:
        return ""
    name = other[0]
    sizes, asked = (",".join(map(str, shape)) for shape in (counted[name], run[name]))
    return f"MACs are counted for {name}={sizes}, and it was run on {asked}: --input {name}={asked} counts for that"


def _achieved(data: MetricInput) -> Measurement:
    from profiles import stats

    rounds = [turn["ns"] for turn in data.raw["turns"]]
    samples = [value for one in rounds for value in one]
    operations = 2 * data.facts["macs"]  # per nanosecond that is 10^9 per second
    interval = stats.median_interval(rounds)
    low, high = (None, None) if interval is None else (operations / interval[1], operations / interval[0])
    spread = "" if interval is None else f"95% CI of the median, from {len(rounds)} rounds"
    notes = "; ".join(filter(None, [spread, _notes(data.facts)]))
    value = operations / stats.percentile(samples, 0.5)
    return Measurement("achieved_gflops", value, "GFLOP/s", True, low, high, notes, len(samples))


def _share(data: MetricInput, achieved: Measurement, peak: float | None, words: str) -> Measurement:
    name, reason = "peak_share_ratio", ""
    floats = float_share(data.facts)
    if floats < _FLOAT_SHARE:
        reason = f"{1 - floats:.0%} of its MACs are not on float32, and the peak is that of float32"
    elif peak is None:
        reason = words
    if reason or peak is None or achieved.value is None:
        return _none(name, "ratio", True, reason)
    low, high = (None if bound is None else bound / peak for bound in (achieved.low, achieved.high))
    spread = f"{achieved.spread}; of {words}" if achieved.spread else f"of {words}"
    return Measurement(name, achieved.value / peak, "ratio", True, low, high, spread, achieved.samples)


def float_share(facts: Mapping[str, Any]) -> float:
    """The share of a file's MACs that are multiplied as float32, weights of any width included."""
    total = sum(row["macs"] or 0 for row in facts["work"])
    floats = sum(row["macs"] or 0 for row in facts["work"] if row["activations"] in ("float32", ""))
    return floats / total if total else 0.0


def peak_gflops(raw: Mapping[str, Any]) -> float | None:
    """The best of what :func:`profiles.agent.peak.measure` timed, in 10^9 operations per second.

    Returns:
        ``None`` where it was not measured, or where several threads did not reach what one does.
    """
    one, several = (_best(raw, threads) for threads in (1, raw.get("threads", 1)))
    return several if several is not None and (one is None or several >= one) else None


def _best(raw: Mapping[str, Any], threads: int) -> float | None:
    products = [item for item in raw.get("products", ()) if item["threads"] == threads]
    return max((2 * item["size"] ** 3 / min(item["ns"]) for item in products), default=None)


def _peak_words(raw: Mapping[str, Any]) -> str:
    """What the peak is, or why there is none."""
    if not raw.get("products"):
        return str(raw.get("unavailable", _NO_PEAK))
    threads = raw["threads"]
    if peak_gflops(raw) is None:
        return f"NumPy's product was slower with {threads} threads than with one: they did not have a CPU each"
    library = f" ({raw['library']})" if raw.get("library") else ""
    return f"NumPy's float32 matrix product{library}, best run, {threads} thread{'s' if threads > 1 else ''}"


METRIC = Metric("work", "Work", measure)
