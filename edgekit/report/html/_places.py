"""Where figures were taken, and in which state that was."""

from __future__ import annotations

from datetime import UTC, datetime

from edgekit.conditions import Conditions
from edgekit.report.html._details import Grid
from edgekit.report.html._text import NONE
from edgekit.report.units import SIZES, percent, with_unit
from edgekit.types import Report


def places(report: Report) -> list[Grid]:
    """One table per device: the machine."""
    found = []
    for place in report.devices:
        facts = place.facts
        rows = [
            ("address", facts.address),
            ("board", facts.board),
            ("chip", facts.soc),
            ("processor", facts.cpu + (" (emulated: its times mean nothing)" if facts.emulated else "")),
            ("architecture", facts.machine),
            ("cores that may be used", str(facts.cores)),
            ("memory", with_unit(facts.memory_bytes, SIZES)),
            ("system", ", ".join(text for text in (facts.distribution, facts.system, facts.libc) if text)),
            ("Python", facts.python),
            ("runtimes", ", ".join(f"{name} {number}" for name, number in facts.runtimes.items())),
            *((f"not known: {name}", why) for name, why in facts.unavailable.items()),
            *(("note", note) for note in place.notes),
        ]
        found.append(Grid(place.name, ("", ""), tuple(row for row in rows if row[1])))
    return found


def conditions(report: Report) -> list[Grid]:
    """One table per device: its state before and after."""
    found = []
    for place in report.devices:
        if not place.conditions:
            continue
        states = place.conditions
        rows = [
            (name, *(each[index] for each in map(_state, states)))
            for index, (name, _) in enumerate(zip(_STATES, _state(states[0]), strict=True))
        ]
        why = {name: text for one in states for name, text in one.unavailable.items()}
        note = " ".join(f"{name.replace('_', ' ')}: {text}." for name, text in why.items())
        heads = ("before and after" if len(states) == 2 else "one after the other", *map(_moment, states))
        kept = tuple(row for row in rows if any(text != NONE for text in row[1:]))
        found.append(Grid(f"State of {place.name}", heads, kept, note))
    return found


_STATES = (
    "load average over a minute", "tasks waiting for a CPU, 10 s", "governor", "frequency, MHz", "temperature, °C",
    "CPUs that may be used", "throttled", "Android's thermal status", "battery",
)  # fmt: skip


def _state(one: Conditions) -> tuple[str, ...]:
    return (
        NONE if one.load_average is None else f"{one.load_average:.1f}",
        NONE if one.cpu_pressure is None else f"{percent(one.cpu_pressure.average_10s_ratio)} %",
        ", ".join(sorted(set(one.governor.values()))) if one.governor else NONE,
        _span([khz / 1000 for khz in one.frequency_khz.values()]) if one.frequency_khz else NONE,
        _span(list(one.temperature_celsius.values())) if one.temperature_celsius else NONE,
        ", ".join(map(str, one.affinity)) if one.affinity else NONE,
        NONE if one.throttled is None else ", ".join(name for name, on in one.throttled.items() if on) or "no",
        NONE if one.thermal_status is None else str(one.thermal_status),
        NONE if one.battery_ratio is None else f"{percent(one.battery_ratio)} %",
    )


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f}"


def _moment(one: Conditions) -> str:
    return datetime.fromtimestamp(one.time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
