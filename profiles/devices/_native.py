"""Devices without Python: a runtime's own program is sent there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.device_types import DeviceFacts
from edgekit.errors import DeviceError


def find_runner(runners: Sequence[Path], target: str, facts: DeviceFacts) -> Path | None:
    return None


def no_python(name: str, target: str) -> DeviceError:
    return DeviceError(f"{name}: there is no Python, and no native program for {target} was given.")


def open_native(*args):
    raise NotImplementedError
