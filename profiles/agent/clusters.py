"""Which CPUs of a machine are of one kind, from what Linux says. Standard library alone, Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CPU = Path("/sys/devices/system/cpu")
_INTEL = {"cpu_atom": "Atom cores", "cpu_core": "Core cores"}
_DEVICES = Path("/sys/devices")
_CPUINFO = Path("/proc/cpuinfo")

_PARTS = {
    "0x41": {
        0xB76: "ARM1176", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8", 0xC09: "Cortex-A9", 0xC0D: "Cortex-A17",
        0xC0E: "Cortex-A17", 0xC0F: "Cortex-A15", 0xD01: "Cortex-A32", 0xD02: "Cortex-A34", 0xD03: "Cortex-A53",
        0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77", 0xD0E: "Cortex-A76AE",
        0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510",
        0xD47: "Cortex-A710", 0xD48: "Cortex-X2", 0xD49: "Neoverse-N2", 0xD4B: "Cortex-A78C", 0xD4C: "Cortex-X1C",
        0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3", 0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720",
        0xD82: "Cortex-X4", 0xD84: "Neoverse-V3", 0xD85: "Cortex-X925", 0xD87: "Cortex-A725",
    },
    "0x51": {
        0x800: "Kryo 2xx Gold", 0x801: "Kryo 2xx Silver", 0x802: "Kryo 3xx Gold", 0x803: "Kryo 3xx Silver",
        0x804: "Kryo 4xx Gold", 0x805: "Kryo 4xx Silver",
    },
}  # fmt: skip
"""Names of cores by implementer and part, which are fields of the Main ID Register: Arm's own (0x41), from their
manuals, and those that Qualcomm (0x51) made of them, as Linux's ``asm/cputype.h`` has them."""


def read() -> list[dict[str, Any]]:
    """Of this machine: :func:`of` what its kernel says; empty where all CPUs are alike, or it does not say."""
    try:
        cpuinfo = _CPUINFO.read_text()
    except OSError:
        return []  # no Linux
    found = _hybrid() or of(cpuinfo, _numbers("cpu_capacity"), _numbers("cpufreq/cpuinfo_max_freq"))
    return found if len(found) > 1 else []


def of(cpuinfo: str, capacities: Mapping[int, int], max_khz: Mapping[int, int]) -> list[dict[str, Any]]:
    """CPUs by kind, the fastest last.

    Of Arm's processors alone: on others each CPU may have a capacity and a highest frequency of its own, as the
    chips that turned out best may be clocked higher, and that makes no kinds.

    Args:
        cpuinfo: Text of /proc/cpuinfo.
        capacities: Of each CPU, as the scheduler has it; 1024 for the fastest.
        max_khz: Highest frequency of each CPU.

    Returns:
        For each kind ``cpus``, ``part``, ``max_khz`` and ``capacity`` (:class:`edgekit.device_types.Cluster`).
    """
    kinds: dict[tuple[int | None, int | None, str], list[int]] = {}
    for cpu, part in sorted(parts(cpuinfo).items()):
        kinds.setdefault((capacities.get(cpu), max_khz.get(cpu), part), []).append(cpu)
    ordered = sorted(kinds.items(), key=lambda item: (item[0][0] or 0, item[0][1] or 0, item[1]))
    return [
        {"cpus": cpus, "part": part, "max_khz": khz, "capacity": capacity} for (capacity, khz, part), cpus in ordered
    ]


def parts(cpuinfo: str) -> dict[int, str]:
    """Name of each CPU's core in text of /proc/cpuinfo, where it is one of Arm's architecture."""
    found: dict[int, str] = {}
    cpu, implementer = -1, ""
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            cpu = int(value)
        elif key == "CPU implementer":
            implementer = value.lower()
        elif key == "CPU part" and cpu >= 0:
            found[cpu] = _part(implementer, value)
    return found


def _part(implementer: str, part: str) -> str:
    try:
        return _PARTS.get(implementer, {})[int(part, 16)]
    except (KeyError, ValueError):
        return f"{implementer}:{part}"


def _numbers(file: str) -> dict[int, int]:
    found = {}
    for place in _CPU.glob("cpu[0-9]*"):
        try:
            found[int(place.name[3:])] = int((place / file).read_text())
        except (OSError, ValueError):
            continue  # off line, or without such a file
    return found


def _hybrid() -> list[dict[str, Any]]:
    """Intel's two kinds, each with a performance counter of its own; empty where there are not both."""
    fastest = _numbers("cpufreq/cpuinfo_max_freq")
    found = []
    for name, words in _INTEL.items():
        try:
            cpus = list(_range((_DEVICES / name / "cpus").read_text()))
        except (OSError, ValueError):
            return []
        khz = max((fastest[cpu] for cpu in cpus if cpu in fastest), default=None)
        found.append({"cpus": cpus, "part": words, "max_khz": khz, "capacity": None})
    return found


def _range(text: str) -> Iterable[int]:
    """``0-3,8`` as numbers."""
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
