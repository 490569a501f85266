"""Puts runtimes on a device that needs neither pip nor internet for it: unpacked here, sent as they are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import registry
from edgekit.device_plugins import SetupOptions
from edgekit.device_types import DeviceFacts, DeviceSetup
from edgekit.errors import DeviceError, UsageError
from edgekit.progress import Progress
from profiles.devices import _wheels
from profiles.devices._shell import last_line
from profiles.devices._transport import Transport

_OLDEST = (3, 9)
_COMPLETE = "edgekit-complete"
_TERMUX = "/data/data/com.termux/files/usr/bin/python3"
_IMPORT_S = 600.0
_USUAL = ("litert", "onnxruntime")
"""Executorch brings torch, hundreds of megabytes: it has to be asked for."""

_LOOK = """
import sys
try:
    from importlib.metadata import version
except ImportError:
    sys.exit(0)
import json
found = {}
for name, packages in json.loads(sys.argv[1]).items():
    for package in packages:
        try:
            version("numpy")
            found.setdefault(name, version(package))
        except Exception:
            continue
print(json.dumps([sys.executable, "%d.%d.%d" % sys.version_info[:3], found]))
"""


@dataclass(frozen=True)
class Python:
    """A Python on a device.

    Attributes:
        path: Of the program.
        version: Such as ``3.11.2``.
        runtimes: Version by name of each runtime that it has.
    """

    path: str
    version: str
    runtimes: Mapping[str, str]


def pythons(transport: Transport) -> list[Python]:
    """Those of a device that are new enough, edgekit's own first, the newest of these first.

    Raises:
        DeviceError: It cannot be reached.
    """
    packages = {
        name: [runtime.DISTRIBUTION, *([alternative] if (alternative := getattr(runtime, "ALTERNATIVE", "")) else [])]
        for name, runtime in registry.runtimes().items()
    }
    script = (
        f"for p in $(ls -1td {shlex.quote(transport.home)}/venvs/*/{_COMPLETE} 2>/dev/null | "
        f"sed 's|/{_COMPLETE}$|/bin/python|') python3 {_TERMUX}; do "
        f'"$p" -c {shlex.quote(_LOOK)} {shlex.quote(json.dumps(packages))} 2>/dev/null; done; true'
    )
    found: dict[str, Python] = {}
    for line in transport.run(script, timeout_s=180).text.splitlines():
        if line.startswith("["):
            path, version, runtimes = json.loads(line)
            if tuple(int(part) for part in version.split(".")[:2]) >= _OLDEST:
                found.setdefault(path, Python(path, version, runtimes))
    return list(found.values())


def setup(
    transport: Transport,
    name: str,
    facts: DeviceFacts,
    options: SetupOptions,
    progress: Progress,
    scratch: Path,
    agent: str,
) -> DeviceSetup:
    """Make an environment of its own on a device; the same wheels are not sent twice.

    Args:
        transport: To the device.
        name: Of the device.
        facts: Of it.
        options: What to put there.
        progress: Told what takes long.
        scratch: An existing folder on this machine.
        agent: Where the device has the agent.

    Raises:
        UsageError: There is no such runtime.
        DeviceError: It has no Python, a wheel is missing, or does not work there.
    """
    wanted = _wanted(options.runtimes, transport)
    if not facts.python:
        raise DeviceError(f"{name}: there is no Python.", hint="sudo apt install python3   (on the device)")
    if tuple(int(part) for part in facts.python.split(".")[:2]) < _OLDEST:
        raise DeviceError(f"{name}: its Python is {facts.python}; edgekit needs 3.9.", hint="Use a newer system there.")
    platform = _wheels.platform_of(facts.python, facts.machine, facts.libc)
    files: dict[str, Path] = {}
    notes = []
    for runtime in wanted:
        try:
            found = _wheels.download(runtime, platform, options.wheels, options.pip, _wheels.folder(platform), progress)
        except DeviceError as error:
            if options.runtimes:
                raise
            notes.append(f"{runtime}: {error.message}")
            continue
        files.update({path.name: path for path in found})
    if not files:
        raise DeviceError(f"{name}: there are wheels for no runtime. {' '.join(notes)}", hint="See docs/devices.md")
    wheels = list(files.values())
    place = f"{transport.home}/venvs/{_wheels.digest(wheels)[:16]}"
    python = f"{place}/bin/python"
    reused = transport.run(f"test -e {shlex.quote(place)}/{_COMPLETE}").code == 0
    sent = 0
    if not reused:
        sent = _install(transport, name, place, wheels, platform, scratch, progress)
    try:
        working = _prove(transport, name, python, agent, wanted, progress)
    except DeviceError:
        transport.run(f"rm -rf {shlex.quote(place)}", timeout_s=120)
        raise
    _keep_only(transport, place)
    return DeviceSetup(
        name, transport.address, place, working, tuple(sorted(files)), sent, reused=reused, notes=tuple(notes)
    )


def clean(transport: Transport) -> str:
    """Remove everything of edgekit's from a device.

    Returns:
        The folder that was removed.

    Raises:
        DeviceError: It could not be.
    """
    home = transport.home
    found = transport.run(f"rm -rf {shlex.quote(home)}", timeout_s=120)
    if found.code:
        raise DeviceError(f"{transport.address}: {home} could not be removed: {last_line(found.stderr)}")
    return home


def _wanted(typed: Sequence[str], transport: Transport) -> tuple[str, ...]:
    """What was typed and what is there already, for the new environment takes the place of the old one."""
    known = registry.runtimes()
    unknown = [name for name in typed if name not in known]
    if unknown:
        raise UsageError(f"--runtime {unknown[0]}: there is no such runtime.", hint=f"Runtimes: {', '.join(known)}.")
    own = [one for one in pythons(transport) if one.path.startswith(f"{transport.home}/venvs/")]
    return tuple(dict.fromkeys([*(typed or _USUAL), *(name for one in own[:1] for name in one.runtimes)]))


def _install(
    transport: Transport,
    name: str,
    place: str,
    wheels: Sequence[Path],
    platform: _wheels.Platform,
    scratch: Path,
    progress: Progress,
) -> int:
    """Make the environment and fill it; how many bytes that took."""
    tree = scratch / "site-packages"
    progress.start("unpack wheels")
    try:
        _wheels.unpack(wheels, platform, tree)
    finally:
        progress.end("unpack wheels")
    quoted = shlex.quote(place)
    made = transport.run(f"rm -rf {quoted}; python3 -m venv --without-pip {quoted}", timeout_s=180)
    if made.code:
        raise DeviceError(
            f"{name}: its Python cannot make an environment: {last_line(made.stderr)}",
            hint="sudo apt install python3-venv   (on the device)",
        )
    site = transport.run(f"ls -d {quoted}/lib/python3*/site-packages").text.splitlines()[-1]
    label = f"send runtimes to {name}"
    progress.start(label)
    try:
        transport.push(tree, site, lambda done, total: progress.advance(label, done, total, "bytes"))
    finally:
        progress.end(label)
    transport.run(f"touch {quoted}/{_COMPLETE}")
    return sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())


def _prove(
    transport: Transport, name: str, python: str, agent: str, wanted: Sequence[str], progress: Progress
) -> dict[str, str]:
    """Version by name of those that the agent can start.

    Raises:
        DeviceError: One cannot; with what Python says.
    """
    working = {}
    here = next((one for one in pythons(transport) if one.path == python), None)
    for runtime in wanted:
        if here is None or runtime not in here.runtimes:
            continue
        code = f"import sys; sys.path.insert(0, {agent!r}); import profiles.runtimes.{runtime} as r; r.start()"
        label = f"{name}: import {runtime}"
        progress.start(label)
        try:
            found = transport.run(f"{shlex.quote(python)} -c {shlex.quote(code)}", timeout_s=_IMPORT_S)
        finally:
            progress.end(label)
        if found.code:
            raise DeviceError(
                f"{name}: {runtime} {here.runtimes[runtime]} does not work there: {last_line(found.stderr)}",
                hint="Is it for this processor and system? Name other wheels with --wheels FOLDER",
            )
        working[runtime] = here.runtimes[runtime]
    if not working:
        raise DeviceError(f"{name}: none of {', '.join(wanted)} can be found there after the installation.")
    return working


def _keep_only(transport: Transport, place: str) -> None:
    """Remove environments that this one replaces."""
    name = place.rpartition("/")[2]
    script = f'cd {shlex.quote(transport.home)}/venvs && for d in *; do [ "$d" = {name} ] || rm -rf "./$d"; done'
    transport.run(script, timeout_s=120)
