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
from profiles.agent.conditions import SINCE_BOOT

_PRESSURE_RATIO = 0.1
_STEAL_RATIO = 0.02
_SLOWER_RATIO = 0.9
_WARMER_CELSIUS = 10.0
_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""What Android calls its thermal status, from 0 on."""


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
    """What happened between two readings that a reader of the figures must know, in words; empty when nothing did.

    A processor that was throttled all the time is among it, though nothing changed.
    """
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
    found += _firmware(before.throttled or {}, after.throttled or {})
    found += _thermal(before.thermal_status or 0, after.thermal_status or 0)
    if before.governor != after.governor:
        found.append("the frequency governor was changed")
    return found


def _firmware(before: Mapping[str, bool], after: Mapping[str, bool]) -> list[str]:
    """What a Raspberry Pi's firmware says of now, or of the time since: what was so before is no better for that."""
    found = []
    for name in (one for one in after if not one.endswith(SINCE_BOOT)):
        since = name + SINCE_BOOT
        if after[name]:
            found.append(f"its firmware said {name}" + (" from the start" if before.get(name) else ""))
        elif before.get(name):
            found.append(f"its firmware said {name} in the beginning")
        elif after.get(since) and not before.get(since, True):
            found.append(f"its firmware said {name} for a while")
    return found


def _thermal(before: int, after: int) -> list[str]:
    if after > before:
        return [f"its thermal status rose from {_status(before)} to {_status(after)}"]
    return [f"its thermal status was {_status(before)} from the start"] if before else []


def _status(number: int) -> str:
    return f"{number} ({_THERMAL[number]})" if number < len(_THERMAL) else str(number)


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
