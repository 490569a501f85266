"""The state of the machine, and a fixed computation that shows when it has slowed down.

Everything is read as the kernel says it, from ``/proc`` and ``/sys``; what a machine does not have is named with the
reason. Linux and Android.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from profiles.agent import clusters, programs
from profiles.agent.programs import UnavailableError

SENTINEL_REPEATS = 5
_SENTINEL_SIZE = 176
"""Of its square matrices: 11 million operations, about 100 us on a desktop's core."""

_PROC = Path("/proc")
_CPU = Path("/sys/devices/system/cpu")
_HWMON = Path("/sys/class/hwmon")
_THERMAL = Path("/sys/class/thermal")
_SUPPLIES = Path("/sys/class/power_supply")

_THROTTLE = ("undervoltage", "frequency capped", "throttled", "soft temperature limit")
SINCE_BOOT = " since boot"
"""How names of what the firmware said since the start end."""

_MODEL_KEYS = ("model name", "Model", "Hardware", "cpu model", "uarch", "cpu")
"""Lines of /proc/cpuinfo that name the processor, on the architectures that have one each."""

_GENERIC = re.compile(r"ARMv\d+ Processor rev \d+ \(v\d+\w*\)")
"""What Linux calls any Arm processor towards 32-bit programs, and qemu always: the core's own number says more."""

_NO_VENDOR = ("0x0", "0x00")
"""Arm reserves this implementer for software."""

_UNKNOWN_VENDOR = "unknown vendor (implementer 0x00)"

_EMULATED = ("ARMv8 Processor rev 0 (v8l)", _UNKNOWN_VENDOR, "VirtualApple")
"""Beside names with qemu in them: qemu-user's for arm64, an Arm machine of no vendor, and Rosetta's for Linux."""


def read() -> dict[str, Any]:
    """The state now: the fields of :class:`edgekit.conditions.Conditions` that a machine itself knows."""
    found: dict[str, Any] = {"time_s": time.time(), "emulated": is_emulated(cpu())}
    missing: dict[str, str] = {}
    readers: dict[str, tuple[Callable[[], Any], str]] = {
        "load_average": (lambda: os.getloadavg()[0], "this system reports no load average"),
        "cpu_pressure": (_pressure, "there is no /proc/pressure/cpu: the kernel was built or started without PSI"),
        "cpu_ticks": (_ticks, "there is no /proc/stat"),
        "governor": (_governors, "no cpufreq: the kernel does not manage the frequency, as in most virtual machines"),
        "frequency_khz": (_frequencies, "no cpufreq: the kernel does not know the frequency"),
        "temperature_celsius": (_temperatures, "no sensor in /sys/class/thermal or /sys/class/hwmon can be read"),
        "affinity": (_affinity, "this system does not bind processes to CPUs"),
        "throttled": (_throttled, "only the firmware of a Raspberry Pi says that"),
        "thermal_status": (_thermal_status, "only Android says that, from version 10 on"),
        "battery_ratio": (_battery, "there is no battery"),
    }
    for name, (reader, reason) in readers.items():
        try:
            found[name] = reader()
        except OSError as error:
            found[name], reason = None, f"{reason} ({error.strerror or error})"
        except (UnavailableError, ValueError) as error:
            found[name], reason = None, f"{reason} ({error})"
        if not found[name] and found[name] != 0:
            found[name], missing[name] = None, reason
    found["unavailable"] = missing
    return found


def cpu() -> str:
    """The processor's name, as the kernel has it."""
    try:
        lines = (_PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        lines = []  # no Linux
    return named(lines) or platform.processor() or platform.machine()


def named(lines: Iterable[str]) -> str:
    """The processor's name in lines of /proc/cpuinfo; empty where they do not say."""
    lines = list(lines)
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    implementer = found.get("CPU implementer", "")
    if implementer in _NO_VENDOR:
        return found.get("model name") or _UNKNOWN_VENDOR
    names = [found[key] for key in _MODEL_KEYS if found.get(key)]
    if implementer and names and _GENERIC.fullmatch(names[0]):
        names = [*names[1:], ", ".join(dict.fromkeys(clusters.parts("\n".join(lines)).values()))]
    return names[0] if names else ""


def is_emulated(name: str) -> bool:
    """Whether a processor of this name is software, whose times mean nothing."""
    return "qemu" in name.lower() or any(known in name for known in _EMULATED)


def throttle_bits(text: str) -> dict[str, bool] | None:
    """What ``vcgencmd get_throttled`` says, by name; ``None`` where it is no such text.

    The bits are those of the Raspberry Pi's documentation: 0 to 3 hold now, 16 to 19 did since the start.
    """
    _, equals, value = text.strip().partition("throttled=")
    try:
        bits = int(value, 16) if equals else -1
    except ValueError:
        bits = -1
    if bits < 0:
        return None
    now = {name: bool(bits >> place & 1) for place, name in enumerate(_THROTTLE)}
    return {**now, **{name + SINCE_BOOT: bool(bits >> 16 + place & 1) for place, name in enumerate(_THROTTLE)}}


def _throttled() -> dict[str, bool] | None:
    """What the firmware says; where it cannot be asked, the undervoltage alarm that the kernel has from it."""
    try:
        bits = throttle_bits(programs.said("vcgencmd", "get_throttled"))
        if bits is None:
            raise UnavailableError("vcgencmd printed something else")
    except UnavailableError:
        alarm = _undervoltage()
        if alarm is None:
            raise
        return {_THROTTLE[0]: alarm}
    return bits


def _undervoltage() -> bool | None:
    """Of the kernel's raspberrypi-hwmon driver, which asks the firmware every two seconds."""
    for place in sorted(_HWMON.glob("hwmon*/in0_lcrit_alarm")):
        if _text(place.parent / "name") == "rpi_volt":
            return _text(place) == "1"
    return None


def _thermal_status() -> int:
    """From 0 (none) to 6 (shutdown), of Android 10 and newer."""
    for line in programs.said("dumpsys", "thermalservice").splitlines():
        words, _, value = line.strip().partition(": ")
        if words == "Thermal Status" and value.isdigit():
            return int(value)
    raise UnavailableError("dumpsys does not say it")


def _battery() -> float | None:
    """Of the machine's own battery: those of a mouse or a headset have the scope of a device."""
    for place in sorted(_SUPPLIES.glob("*/capacity")):
        kind, scope, value = (_text(place.parent / name) for name in ("type", "scope", "capacity"))
        if kind == "Battery" and scope != "Device" and value:
            return int(value) / 100
    return None


def _pressure() -> dict[str, float]:
    """PSI (Documentation/accounting/psi.rst): ``some``, the time in which a task waited for a CPU."""
    words = (_PROC / "pressure" / "cpu").read_text().splitlines()[0].split()
    values = dict(word.split("=") for word in words[1:])
    return {"average_10s_ratio": float(values["avg10"]) / 100, "total_us": int(values["total"])}


def _ticks() -> dict[str, int]:
    """Of all CPUs since the machine started (proc_stat(5)): all of it, and what a hypervisor gave to others."""
    fields = [int(word) for word in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return {"total": sum(fields), "steal": fields[7]}


def _governors() -> dict[str, str]:
    return dict(_of_cpus("cpufreq/scaling_governor"))


def _frequencies() -> dict[str, int]:
    return {name: int(text) for name, text in _of_cpus("cpufreq/scaling_cur_freq")}


def _of_cpus(file: str) -> Iterator[tuple[str, str]]:
    """Number of each CPU that has such a file, as text, and what is in it."""
    for place in sorted(_CPU.glob("cpu[0-9]*"), key=lambda place: int(place.name[3:])):
        try:
            text = (place / file).read_text().strip()
        except OSError:
            continue  # this CPU is off line, or the kernel keeps no such record of it
        yield place.name[3:], text


def _temperatures() -> dict[str, float]:
    """Degrees by sensor: of thermal zones, which name themselves, and of hwmon, by chip and number."""
    found = {}
    for zone in sorted(_THERMAL.glob("thermal_zone*")):
        name, value = _text(zone / "type"), _text(zone / "temp")
        if value:
            found[f"{zone.name} {name}".strip()] = int(value) / 1000
    for sensor in sorted(_HWMON.glob("hwmon*/temp*_input")):
        value = _text(sensor)
        if value:
            found[f"{_text(sensor.parent / 'name')} {sensor.name[: -len('_input')]}"] = int(value) / 1000
    return found or _firmware_temperature()


def _firmware_temperature() -> dict[str, float]:
    """Of a Raspberry Pi whose kernel has no thermal zone."""
    found = re.match(r"temp=(-?\d+(?:\.\d+)?)", programs.said("vcgencmd", "measure_temp"))
    return {"vcgencmd": float(found[1])} if found else {}


def _text(file: Path) -> str:
    """What a file says; empty where it cannot be read, as sensors that are asleep cannot."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _affinity() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def bind(cpus: list[int]) -> None:
    """Keep this process, and the threads that it will start, on some CPUs.

    Raises:
        OSError: The system does not do that, or has none of these.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("this system does not bind processes to CPUs")
    os.sched_setaffinity(0, cpus)


class Sentinel:
    """A product of two matrices in float32, on one thread as long as ``OPENBLAS_NUM_THREADS`` is 1.

    The same work each time: where it takes longer than it did, the processor is slower than it was.
    """

    def __init__(self) -> None:
        import numpy as np

        # What the numbers are does not matter, as long as none is denormal, nan or inf.
        shape = (_SENTINEL_SIZE, _SENTINEL_SIZE)
        self.matrix = np.linspace(-1, 1, _SENTINEL_SIZE * _SENTINEL_SIZE, dtype=np.float32).reshape(shape)
        self.product = np.empty(shape, np.float32)
        np.matmul(self.matrix, self.matrix, out=self.product)

    def run(self) -> list[int]:
        """Nanoseconds of each of some repeats, after one that brings the matrices into the cache."""
        import numpy as np

        found = []
        for _ in range(SENTINEL_REPEATS + 1):
            before = time.perf_counter_ns()
            np.matmul(self.matrix, self.matrix, out=self.product)
            found.append(time.perf_counter_ns() - before)
        return found[1:]
