"""What a device is, from one script in its shell."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from edgekit.device_types import Cluster, DeviceFacts
from edgekit.errors import DeviceError
from profiles.agent import clusters
from profiles.agent import conditions as agent_conditions
from profiles.devices._shell import last_line, printable
from profiles.devices._transport import Transport

# Each fact is a line of a key, a tab and a value; of several lines, each has the key.
_SCRIPT = r"""
f() { k=$1; shift; "$@" 2>/dev/null | tr -d '\r' | while IFS= read -r l; do printf '%s\t%s\n' "$k" "$l"; done; }
f system uname -s
f release uname -r
f machine uname -m
f os grep -E '^(PRETTY_NAME)=' /etc/os-release
f libc getconf GNU_LIBC_VERSION
f ldd ldd --version
f elf od -An -tx1 -N5 /bin/sh
f cpuinfo grep -E '^(processor|model name|Model|Hardware|CPU (implementer|part)|cpu( model)?|uarch)[[:space:]]*:' \
  /proc/cpuinfo
f memory grep MemTotal /proc/meminfo
f load cat /proc/loadavg
f cores env -u OMP_NUM_THREADS nproc
f board cat /proc/device-tree/model
f abi getprop ro.product.cpu.abi
f android getprop ro.build.version.release
f maker getprop ro.product.manufacturer
f phone getprop ro.product.model
f soc getprop ro.soc.model
f python python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'
f date date +%s
f free df -Pk "$HOME"
for c in /sys/devices/system/cpu/cpu[0-9]*; do
  n=${c##*cpu}
  [ -r "$c/cpu_capacity" ] && printf 'capacity\t%s %s\n' "$n" "$(cat "$c/cpu_capacity")"
  [ -r "$c/cpufreq/cpuinfo_max_freq" ] && printf 'khz\t%s %s\n' "$n" "$(cat "$c/cpufreq/cpuinfo_max_freq")"
  [ -r "$c/cpufreq/scaling_governor" ] && printf 'governor\t%s %s\n' "$n" "$(cat "$c/cpufreq/scaling_governor")"
done
for z in /sys/class/thermal/thermal_zone*; do
  [ -r "$z/temp" ] && printf 'temperature\t%s %s\n' "$(cat "$z/temp" 2>/dev/null)" "$(cat "$z/type" 2>/dev/null)"
done
f throttled vcgencmd get_throttled
f thermal dumpsys thermalservice
true
"""

_WIDE_MACHINES = {"aarch64": "armv7l", "x86_64": "i686"}
"""What a machine's programs are for when they are of 32 bits, by its kernel's name."""


@dataclass(frozen=True)
class Raw:
    """What the script printed.

    Attributes:
        lines: Values by key.
    """

    lines: dict[str, list[str]]

    def one(self, key: str) -> str:
        """The first value without what a terminal would obey; empty where there is none."""
        return printable(self.lines.get(key, [""])[0].strip("\0 "))

    def numbers(self, key: str) -> dict[int, int]:
        """Values that are pairs of numbers."""
        pairs = (value.split() for value in self.lines.get(key, []))
        return {int(one[0]): int(one[1]) for one in pairs if len(one) == 2 and all(word.isdigit() for word in one)}


def read(transport: Transport) -> Raw:
    """Run the script.

    Raises:
        DeviceError: It is no POSIX shell that answers.
    """
    found = transport.run(_SCRIPT)
    lines: dict[str, list[str]] = {}
    for line in found.stdout.decode(errors="replace").splitlines():
        key, tab, value = line.partition("\t")
        if tab:
            lines.setdefault(key, []).append(value)
    if "system" not in lines:
        raise DeviceError(
            f"{transport.address}: its shell did not run a script: {last_line(found.stderr)}",
            hint="edgekit needs a POSIX shell with the usual programs there.",
        )
    return Raw(lines)


def facts(transport: Transport, name: str, raw: Raw | None = None) -> DeviceFacts:
    """What a device is.

    Args:
        transport: To it.
        name: As reports call it.
        raw: What was read; it is read now where it is ``None``.

    Raises:
        DeviceError: It does not answer.
    """
    raw = raw or read(transport)
    cpuinfo = "\n".join(raw.lines.get("cpuinfo", []))
    kinds = clusters.of(cpuinfo, raw.numbers("capacity"), raw.numbers("khz"))
    cpu = agent_conditions.named(cpuinfo.splitlines()) or (kinds[-1]["part"] if kinds else "") or raw.one("machine")
    memory = re.search(r"\d+", raw.one("memory"))
    load = raw.one("load").split()
    from profiles.devices._setup import pythons

    there = pythons(transport)
    found: dict[str, Any] = {
        "distribution": _distribution(raw),
        "libc": libc(raw),
        "board": raw.one("board") or f"{raw.one('maker')} {raw.one('phone')}".strip(),
        "soc": raw.one("soc"),
        "abi": raw.one("abi"),
        # That of Termux is on no PATH of adb's shell.
        "python": raw.one("python") or (there[0].version if there else ""),
    }
    runtimes = {key: version for one in reversed(there) for key, version in one.runtimes.items()}
    return DeviceFacts(
        name=name,
        system=f"{raw.one('system')} {raw.one('release')}",
        machine=machine(raw),
        cpu=printable(cpu),
        cores=_cores(raw),
        memory_bytes=int(memory[0]) * 1024 if memory else 0,
        load_average=float(load[0]) if load else 0.0,
        emulated=agent_conditions.is_emulated(cpu),
        address=transport.address,
        clusters=tuple(Cluster(tuple(one["cpus"]), *(one[key] for key in _CLUSTER)) for one in kinds if len(kinds) > 1),
        runtimes=runtimes,
        unavailable={key: "the device does not say" for key, value in found.items() if not value},
        **found,
    )


def conditions(transport: Transport) -> dict[str, Any]:
    """The state of a device now, as the agent would say it (:mod:`profiles.agent.conditions`).

    Raises:
        DeviceError: It does not answer.
    """
    raw = read(transport)
    load = raw.one("load").split()
    zones = (value.split(maxsplit=1) for value in raw.lines.get("temperature", []))
    thermal = [line for line in raw.lines.get("thermal", []) if line.strip().startswith("Thermal Status: ")]
    status = thermal[0].rpartition(" ")[2] if thermal else ""
    found = {
        "load_average": float(load[0]) if load else None,
        "governor": dict(pair for value in raw.lines.get("governor", []) if len(pair := value.split()) == 2) or None,
        "temperature_celsius": {
            f"zone {number} {printable(' '.join(rest))}".strip(): int(degrees) / 1000
            for number, (degrees, *rest) in enumerate(zones)
            if degrees.lstrip("-").isdigit()
        }
        or None,
        "throttled": agent_conditions.throttle_bits(raw.one("throttled")),
        "thermal_status": int(status) if status.isdigit() else None,
    }
    missing = {name: "its shell does not say" for name, value in found.items() if value is None}
    cpu = agent_conditions.named(raw.lines.get("cpuinfo", []))
    emulated = agent_conditions.is_emulated(cpu)
    return {"time_s": time.time(), "emulated": emulated, **found, "unavailable": missing}


_CLUSTER = ("part", "max_khz", "capacity")


def machine(raw: Raw) -> str:
    """Architecture of the programs there: a 64-bit kernel with a 32-bit system is a usual thing on a Raspberry Pi."""
    name = raw.one("machine")
    is_32_bit = raw.one("elf").split()[4:5] == ["01"]
    return _WIDE_MACHINES.get(name, name) if is_32_bit else name


def libc(raw: Raw) -> str:
    """``glibc 2.36``, ``musl 1.2.4`` or ``bionic``; empty where it is not known."""
    if raw.one("libc"):
        return raw.one("libc")
    text = " ".join(raw.lines.get("ldd", []))
    for pattern, name in ((r"GLIBC (\d+\.\d+)|GNU libc\) (\d+\.\d+)", "glibc"), (r"musl libc.*?Version (\S+)", "musl")):
        found = re.search(pattern, text)
        if found:
            return f"{name} {next(group for group in found.groups() if group)}"
    return "bionic" if raw.one("android") else ""


def _distribution(raw: Raw) -> str:
    named = raw.one("os").partition("=")[2].strip('"')
    return named or (f"Android {raw.one('android')}" if raw.one("android") else "")


def _cores(raw: Raw) -> int:
    counted = sum(line.startswith("processor") for line in raw.lines.get("cpuinfo", []))
    text = raw.one("cores")
    return int(text) if text.isdigit() else max(counted, 1)
