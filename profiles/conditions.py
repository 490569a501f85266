"""The conditions that figures were taken under, and what they changed by meanwhile.

The readings are the agent's (:mod:`profiles.agent.conditions`), so that a device gives them as this machine does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edgekit import feeds
from edgekit.conditions import Conditions
from edgekit.device_plugins import Session
from edgekit.types import from_json

_PRESSURE_RATIO = 0.1
_STEAL_RATIO = 0.02
_SLOWER_RATIO = 0.9
_WARMER_CELSIUS = 10.0


def read(session: Session, sha256: Mapping[str, str] | None = None) -> Conditions:
    """The state of the machine that a session runs on, now.

    Args:
        session: A live one; the file may be loaded or not.
        sha256: Of what is measured: ``{"model": ..., "inputs": ...}``.
    """
    found = dict(session.conditions())
    found["versions"] = dict(session.ready()["versions"])
    found["sha256"] = dict(sha256 or {})
    return from_json(Conditions, found)


def hash_of(folder: Path) -> str:
    """The SHA-256 of the inputs in a feeds folder: of names, dtypes, shapes and values, labels left out."""
    digest = hashlib.sha256()
    for name, array in sorted(feeds.read(folder).arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for sample in array:  # one at a time: they may be larger than memory
            digest.update(sample.tobytes())
    return digest.hexdigest()


def changes(before: Conditions, after: Conditions) -> list[str]:
    """What happened between two readings that a reader of the figures must know, in words; empty when nothing did."""
    found = []
    elapsed_us = (after.time_s - before.time_s) * 1e6
    if before.cpu_pressure and after.cpu_pressure and elapsed_us > 0:
        share = (after.cpu_pressure.total_us - before.cpu_pressure.total_us) / elapsed_us
        if share > _PRESSURE_RATIO:
            found.append(f"tasks waited for a CPU in {min(share, 1):.0%} of the time")
    if before.cpu_ticks and after.cpu_ticks and after.cpu_ticks.total > before.cpu_ticks.total:
        share = (after.cpu_ticks.steal - before.cpu_ticks.steal) / (after.cpu_ticks.total - before.cpu_ticks.total)
        if share > _STEAL_RATIO:
            found.append(f"other virtual machines took {share:.0%} of the CPU time")
    found += _slower(before.frequency_khz or {}, after.frequency_khz or {})
    for sensor, degrees in (after.temperature_celsius or {}).items():
        earlier = (before.temperature_celsius or {}).get(sensor, degrees)
        if degrees - earlier >= _WARMER_CELSIUS:
            found.append(f"{sensor} went from {earlier:.0f} to {degrees:.0f} degrees Celsius")
    known = before.throttled or {}
    found += [
        f"its firmware began to say: {name}"
        for name, now in (after.throttled or {}).items()
        if now > known.get(name, now)
    ]
    if (after.thermal_status or 0) > (before.thermal_status or 0):
        found.append(f"its thermal status rose from {before.thermal_status or 0} to {after.thermal_status}")
    if before.governor != after.governor:
        found.append("the frequency governor was changed")
    return found


def _slower(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """CPUs whose frequency fell; all at once, for they do as a rule."""
    fallen = [cpu for cpu, khz in after.items() if khz < _SLOWER_RATIO * before.get(cpu, 0)]
    if not fallen:
        return []
    worst = min(fallen, key=lambda cpu: after[cpu] / before[cpu])
    return [
        f"the frequency fell on {len(fallen)} of {len(after)} CPUs, "
        f"on CPU {worst} from {before[worst] / 1000:.0f} to {after[worst] / 1000:.0f} MHz"
    ]
