"""Which CPUs of a machine are of one kind, from what Linux says. Standard library alone, Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CPU = Path("/sys/devices/system/cpu")
_INTEL = {"cpu_atom": "Atom cores", "cpu_core": "Core cores"}
_DEVICES = Path("/sys/devices")

_ARM = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72",
    0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0D: "Cortex-A77", 0xD41: "Cortex-A78",
    0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD48: "Cortex-X2", 0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720", 0xD82: "Cortex-X4",
    0xC07: "Cortex-A7", 0xC09: "Cortex-A9", 0xC0F: "Cortex-A15", 0xB76: "ARM1176", 0xD0C: "Neoverse-N1",
    0xD40: "Neoverse-V1", 0xD49: "Neoverse-N2", 0xD4F: "Neoverse-V2",
}  # fmt: skip
"""Part numbers of Arm's own cores (implementer 0x41), from the Main ID Register of their manuals."""


def read() -> list[dict[str, Any]]:
    """Of this machine: :func:`of` what its kernel says; empty where all CPUs are alike, or it does not say."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []  # no Linux
    found = of(cpuinfo, _numbers("cpu_capacity"), _numbers("cpufreq/cpuinfo_max_freq"))
    return found if len(found) > 1 else _hybrid()


def of(cpuinfo: str, capacities: Mapping[int, int], max_khz: Mapping[int, int]) -> list[dict[str, Any]]:
    """CPUs by kind, the fastest last.

    Args:
        cpuinfo: Text of /proc/cpuinfo.
        capacities: Of each CPU, as the scheduler has it; 1024 for the fastest.
        max_khz: Highest frequency of each CPU.

    Returns:
        For each kind ``cpus``, ``part``, ``max_khz`` and ``capacity`` (:class:`edgekit.device_types.Cluster`).
    """
    parts = _parts(cpuinfo)
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for cpu in sorted({*parts, *capacities, *max_khz}):
        kinds.setdefault((capacities.get(cpu), max_khz.get(cpu), parts.get(cpu, "")), []).append(cpu)
    ordered = sorted(kinds.items(), key=lambda item: (item[0][0] or 0, item[0][1] or 0, item[1]))
    return [
        {"cpus": cpus, "part": part, "max_khz": khz, "capacity": capacity} for (capacity, khz, part), cpus in ordered
    ]


def _parts(cpuinfo: str) -> dict[int, str]:
    """Name of each CPU's core, where it is one of Arm's."""
    found: dict[int, str] = {}
    cpu, implementer = -1, ""
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            cpu = int(value)
        elif key == "CPU implementer":
            implementer = value
        elif key == "CPU part" and cpu >= 0:
            found[cpu] = _ARM.get(int(value, 16), value) if implementer == "0x41" else f"{implementer}:{value}"
    return found


def _numbers(file: str) -> dict[int, int]:
    found = {}
    for place in _CPU.glob("cpu[0-9]*"):
        try:
            found[int(place.name[3:])] = int((place / file).read_text())
        except (OSError, ValueError):
            continue  # off line, or without such a file
    return found


def _hybrid() -> list[dict[str, Any]]:
    """Intel's two kinds, each with a performance counter of its own."""
    found = []
    for name, words in _INTEL.items():
        try:
            text = (_DEVICES / name / "cpus").read_text()
        except OSError:
            return []  # one kind alone
        found.append({"cpus": list(_range(text)), "part": words, "max_khz": None, "capacity": None})
    return found


def _range(text: str) -> Iterable[int]:
    """``0-3,8`` as numbers."""
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
