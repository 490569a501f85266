"""Devices as users type them: addresses, and names that they have given to some."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import registry
from edgekit.device_plugins import ConnectOptions, Device, DeviceKind
from edgekit.device_types import Discovered
from edgekit.errors import EdgekitError, UsageError
from edgekit.publish import write_text

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,40}", re.ASCII)
_FILE = "devices.toml"


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
    found = _address(typed)
    if found is not None:
        return found
    known = named()
    address = _address(known[typed]) if typed in known else None
    if address is not None:
        return replace(address, name=typed)
    patterns = ", ".join(kind.pattern for kind in registry.devices().values())
    names = f", or a name: {', '.join(known)}" if known else ""
    raise UsageError(
        f"--device {typed!r}: there is no such device.",
        hint=f"Devices: {patterns}{names}.   (edgekit devices list shows what there is)",
    )


def named() -> dict[str, str]:
    """Address by name.

    Raises:
        UsageError: The file of names is damaged.
    """
    path = file()
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        message = f"{path}: the names of devices cannot be read: {error}."
        raise UsageError(message, hint="Mend the file, or remove it.") from error
    devices = content.get("devices", {})
    if not isinstance(devices, dict) or not all(isinstance(one, str) for one in devices.values()):
        raise UsageError(f"{path}: [devices] is no table of addresses.", hint="Mend the file, or remove it.")
    return devices


def add(name: str, address: str) -> Resolved:
    """Give a device a name; it is not connected to.

    Raises:
        UsageError: The name cannot be one, or there is no such kind of address.
    """
    if not _NAME.fullmatch(name) or _address(name) is not None:
        raise UsageError(
            f"{name!r} cannot be the name of a device.", hint="Letters, digits, '-', '_' and '.', a letter in front."
        )
    found = _address(address)
    if found is None:
        patterns = ", ".join(kind.pattern for kind in registry.devices().values())
        raise UsageError(f"{address!r} is no address of a device.", hint=f"Addresses: {patterns}.")
    _write({**named(), name: found.address})
    return replace(found, name=name)


def remove(name: str) -> None:
    """Forget a name.

    Raises:
        UsageError: There is none.
    """
    known = named()
    if name not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"There is no device called {name!r}.", hint=f"Names: {names}.")
    _write({key: value for key, value in known.items() if key != name})


def discovered() -> list[Discovered]:
    """Devices with a name first, then all that could be used.

    Raises:
        UsageError: The file of names is damaged.
    """
    found = {one.address: one for kind in registry.devices().values() for one in kind.discover()}
    names = []
    for name, address in named().items():
        unseen = Discovered(address, "named", "not tried", f"edgekit devices check {name}")
        names.append(replace(found.get(address, unseen), name=name))
    taken = {one.address for one in names}
    return [*names, *(one for address, one in found.items() if address not in taken)]


def file() -> Path:
    """Where names are kept: in ``$EDGEKIT_CONFIG``, else below ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    explicit = os.environ.get("EDGEKIT_CONFIG")
    if explicit:
        return Path(explicit) / _FILE
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgekit" / _FILE


def _address(typed: str) -> Resolved | None:
    for kind in registry.devices().values():
        address = kind.parse(typed)
        if address is not None:
            return Resolved(typed, address, kind)
    return None


def _write(names: dict[str, str]) -> None:
    import tomli_w

    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, tomli_w.dumps({"devices": names}))
    except OSError as error:
        raise EdgekitError(f"{path}: the names of devices cannot be written: {error.strerror}.") from error
