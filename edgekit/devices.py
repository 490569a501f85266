"""Devices as users type them."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit import registry
from edgekit.device_plugins import ConnectOptions, Device, DeviceKind
from edgekit.errors import UsageError


@dataclass(frozen=True)
class Resolved:
    """What was typed after ``--device``.

    Attributes:
        name: As reports call it.
        address: Canonical.
        kind: That connects to it.
    """

    name: str
    address: str
    kind: DeviceKind

    def connect(self, options: ConnectOptions) -> Device:
        """Connect.

        Raises:
            DeviceError: It cannot be reached.
        """
        return self.kind.connect(self.address, options)


def resolve(typed: str) -> Resolved:
    """Find out what a device is.

    Args:
        typed: An address or a name.

    Raises:
        UsageError: It is neither.
    """
    for kind in registry.devices().values():
        address = kind.parse(typed)
        if address is not None:
            return Resolved(typed, address, kind)
    patterns = ", ".join(kind.pattern for kind in registry.devices().values())
    raise UsageError(f"--device {typed!r}: there is no such device.", hint=f"Devices: {patterns}.")
