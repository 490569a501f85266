"""Devices without Python: a runtime's own program is sent there, and what it prints is read.

Such a program is a process for each turn, so that there is little a caller can steer. What it does not say is not made
up: a turn has as many samples as the program prints, and what it cannot do has a reason in its place.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import registry
from edgekit.device_types import DeviceFacts
from edgekit.errors import DeviceError, UsageError
from edgekit.inspect import inspect
from edgekit.types import Signature, TensorSpec
from profiles.devices import _native_executorch, _native_tflite
from profiles.devices._native_dialect import Dialect
from profiles.devices._native_session import NativeSession

if TYPE_CHECKING:
    from profiles.devices._remote import RemoteDevice

CONFIG_FOLDER = "runners"
"""Beside the names of devices: ``runners/ABI/PROGRAM``."""

_DIALECTS: tuple[Dialect, ...] = (_native_tflite, _native_executorch)


def find_runner(runners: Sequence[Path], target: str, facts: DeviceFacts) -> Path | None:
    """The program for a target's files.

    Args:
        runners: Those that were given; told apart by their names.
        target: Name of the target.
        facts: Of the device.

    Returns:
        One that was given, else one of the configuration's folder; ``None`` where there is none.
    """
    dialect = next((one for one in _DIALECTS if target == one.TARGET), None)
    if dialect is None:
        return None
    given = [path for path in runners if dialect.PROGRAM in path.name]
    from edgekit.devices import file

    kept = file().parent / CONFIG_FOLDER / (facts.abi or facts.machine) / dialect.PROGRAM
    return given[0] if given else kept if kept.is_file() else None


def no_python(name: str, target: str) -> DeviceError:
    """The error for a device that can run nothing."""
    title = registry.targets()[target].title
    dialect = next((one for one in _DIALECTS if target == one.TARGET), None)
    if dialect is None:
        known = " and ".join(registry.targets()[one.TARGET].title for one in _DIALECTS)
        return DeviceError(
            f"{name}: there is no Python, and nobody offers a program of its own for {title} files.",
            hint=f"Install Python there, or measure {known} files: docs/android.md",
        )
    return DeviceError(
        f"{name}: there is no Python to run {title} files.",
        hint=f"Install it there, or give a program: --runner PATH/{dialect.PROGRAM}   (docs/android.md)",
    )


def open_native(
    device: RemoteDevice,
    runner: Path,
    path: Path,
    target: str,
    threads: int,
    feeds: Path | None,
    timeout_s: float,
    affinity: Sequence[int] | None,
) -> NativeSession:
    """Send the program and the file.

    Raises:
        DeviceError: They cannot be sent.
        EdgekitError: The file cannot be read.
    """
    dialect = next(one for one in _DIALECTS if target == one.TARGET)
    facts = inspect(path)
    sides = (tuple(map(_spec, side)) for side in (facts["signature"]["inputs"], facts["signature"]["outputs"]))
    program = device.store.file(runner)
    device.transport.run(f"chmod 700 {shlex.quote(program)}")
    return NativeSession(device, dialect, program, path, Signature(*sides), threads, feeds, timeout_s, affinity)


def _spec(one: Mapping[str, Any]) -> TensorSpec:
    """As ``inspect`` has it."""
    return TensorSpec(one["name"], tuple(one["shape"]), one["dtype"], one["scale"], one["zero_point"])


def check_affinity(cpus: Sequence[int], facts: DeviceFacts) -> None:
    """CPUs are those of the device.

    Raises:
        UsageError: It has no such CPU.
    """
    wrong = [cpu for cpu in cpus if not 0 <= cpu < facts.cores]
    if wrong:
        raise UsageError(
            f"--affinity: {facts.name} has no CPU {', '.join(map(str, wrong))}; it has 0 to {facts.cores - 1}.",
            hint="Such as --affinity 0",
        )
