"""What measuring on a device needs, and what would spoil its figures."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

from edgekit import registry
from edgekit.device_types import DeviceCheck, DeviceFacts, Remark
from edgekit.errors import DeviceError
from profiles.agent import conditions
from profiles.devices import _facts, _native, _wheels
from profiles.devices._transport import Transport

_LEAST_FREE_BYTES = 500_000_000
_HOT_CELSIUS = 70.0
_CLOCK_S = 300.0
_RUNNERS = "or give a native program with --runner (docs/android.md)"


def check(transport: Transport, name: str, facts: DeviceFacts, raw: _facts.Raw | None = None) -> DeviceCheck:
    """Look at everything.

    Args:
        transport: To the device.
        name: Of it.
        facts: Of it.
        raw: What its shell said; it is asked now where it is ``None``.

    Raises:
        DeviceError: It cannot be reached.
    """
    raw = raw or _facts.read(transport)
    programs = _programs(facts)
    remarks = [
        Remark("reachable", "ok", f"It answers as {facts.system}, {facts.machine}."),
        _python(facts, programs),
        *_runtimes(facts, programs),
        *_disk(raw),
        *_weather(facts, raw),
    ]
    return DeviceCheck(name, transport.address, facts, tuple(remarks))


def _programs(facts: DeviceFacts) -> dict[str, str]:
    """The native program that lies ready for the device, by the name of the runtime that is not there."""
    found = {one.runtime: _native.find_runner((), name, facts) for name, one in registry.targets().items()}
    return {name: path.name for name, path in found.items() if path is not None and name not in facts.runtimes}


def _python(facts: DeviceFacts, programs: Mapping[str, str]) -> Remark:
    if not facts.python and programs:
        return Remark("python", "warning", "There is no Python: native programs are used.")
    if not facts.python:
        android = facts.libc == "bionic"
        hint = f"Install Termux's Python, {_RUNNERS}" if android else f"sudo apt install python3   (there), {_RUNNERS}"
        return Remark("python", "missing", "There is no Python.", hint)
    if [int(part) for part in facts.python.split(".")[:2]] < [3, 9]:
        return Remark(
            "python", "missing", f"Its Python is {facts.python}; the agent needs 3.9.", "A newer system there"
        )
    return Remark("python", "ok", f"Python {facts.python}.")


def _runtimes(facts: DeviceFacts, programs: Mapping[str, str]) -> Iterator[Remark]:
    """One is enough; where none is there, that is what is missing."""
    setup = f"edgekit devices setup {facts.name}"
    for name, runtime in registry.runtimes().items():
        if name in facts.runtimes:
            yield Remark(name, "ok", f"{runtime.TITLE} {facts.runtimes[name]}.")
            continue
        if name in programs:
            yield Remark(name, "ok", f"{programs[name]}, a native program, runs its files.")
            continue
        state = "warning" if facts.runtimes or programs else "missing"
        if facts.python:
            yield Remark(
                name, state, f"{runtime.TITLE} is not installed. {_wheel(name, facts)}", f"{setup} --runtime {name}"
            )
        else:
            yield Remark(name, state, f"{runtime.TITLE} needs a Python, or a program of its own.", "")


def _wheel(runtime: str, facts: DeviceFacts) -> str:
    """The name of the wheel that would do."""
    package = re.split(r"[<>=]", _wheels.PACKAGES[runtime][0][1])[0].replace("-", "_")
    try:
        platform = _wheels.platform_of(facts.python, facts.machine, facts.libc)
    except DeviceError as error:
        return error.message
    python = platform.python.replace(".", "")
    return f"It takes {package}-…-cp{python}-cp{python}-{platform.tags[0]}.whl, or one with an older tag."


def _disk(raw: _facts.Raw) -> Iterator[Remark]:
    lines = raw.lines.get("free", [])
    words = lines[-1].split() if lines else []
    if len(words) < 4 or not words[3].isdigit():
        yield Remark("disk", "unknown", "It does not say how much room its disk has.")
        return
    free = int(words[3]) * 1024
    state = "ok" if free >= _LEAST_FREE_BYTES else "warning"
    yield Remark(
        "disk", state, f"{free / 1e9:.1f} GB are free.", "" if state == "ok" else "Runtimes take 0.2 GB and more"
    )


def _weather(facts: DeviceFacts, raw: _facts.Raw) -> Iterator[Remark]:
    """What figures would suffer from."""
    if facts.emulated:
        yield Remark("emulated", "warning", "Its CPU is emulated: times mean nothing there, drift does.")
    governors = {value.split()[-1] for value in raw.lines.get("governor", []) if value.split()}
    if governors - {"performance"}:
        words = f"The frequency is steered by {', '.join(sorted(governors))}: times scatter more."
        hint = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor   (there)"
        yield Remark("governor", "warning", words, hint)
    hottest = max(
        (int(value.split()[0]) / 1000 for value in raw.lines.get("temperature", []) if _starts(value)), default=0
    )
    if hottest >= _HOT_CELSIUS:
        yield Remark(
            "temperature", "warning", f"It is {hottest:.0f} degrees Celsius hot.", "Let it cool: --cooldown 55C"
        )
    bits = conditions.throttle_bits(raw.one("throttled"))
    wrong = [words for words, holds in (bits or {}).items() if holds]
    if wrong:
        hint = "A stronger power supply, and cooling" if "undervoltage" in " ".join(wrong) else "Better cooling"
        yield Remark("throttled", "warning", f"Its firmware says: {', '.join(wrong)}.", hint)
    if facts.load_average > facts.cores:
        words = f"It is busy: load average {facts.load_average:.1f}, {facts.cores} cores."
        yield Remark("load", "warning", words, "End what runs there")
    clock = raw.one("date")
    if clock.isdigit() and abs(int(clock) - time.time()) > _CLOCK_S:
        hours = abs(int(clock) - time.time()) / 3600
        yield Remark("clock", "warning", f"Its clock is off by {hours:.1f} hours; edgekit does not depend on it.")


def _starts(value: str) -> bool:
    return value.split()[:1] != [] and value.split()[0].isdigit()
