"""Android devices over adb, through the user's own ``adb``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

from edgekit.device_plugins import ConnectOptions, Device, DeviceKind
from edgekit.device_types import Discovered
from edgekit.errors import DeviceError, LinkLostError, UsageError
from profiles.devices._shell import ShellTransport, last_line, printable

PROGRAM = "EDGEKIT_ADB"
"""Environment variable with the program and its options, such as ``adb -P 5038``."""

_PATTERN = "adb:SERIAL"
_SCHEME = "adb:"
_SERIAL = re.compile(r"[A-Za-z0-9][\w.:\[\]%-]*", re.ASCII)
_INSTALL = "Install it (Debian: apt install adb; or Android's platform-tools)."
_HOME = "/data/local/tmp/edgekit"
_NEEDED = "shell_v2"
"""Without it adb passes neither exit codes nor bytes as they are."""

_STATES = {
    "device": ("ready", "", ""),
    "unauthorized": ("unauthorized", "it has not allowed this machine", "Unlock its screen and allow USB debugging"),
    "authorizing": ("unauthorized", "it is asking whether to allow this machine", "Unlock its screen and allow it"),
    "offline": ("offline", "it does not answer", "Plug it in again, or: adb reconnect offline"),
    "recovery": ("recovery", "it has booted into recovery", "adb reboot"),
    "sideload": ("sideload", "it waits for an update", "adb reboot"),
    "bootloader": ("bootloader", "it has booted into its bootloader", "fastboot reboot"),
    "no permissions": (
        "no permissions",
        "this user may not use that USB device",
        "Install udev rules (Debian: apt install android-sdk-platform-tools-common), and plug it in again",
    ),
}
"""adb's word for a state: ours, what it means, and the remedy."""


class AdbTransport(ShellTransport):
    """A device that adb knows (:class:`profiles.devices._transport.Transport`).

    Args:
        address: As :func:`_parse` gave it.
        timeout_s: Time limit of connecting, in seconds.

    Raises:
        DeviceError: It is not there, or not ready; the message has its state and the remedy.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(address, _INSTALL)
        self.serial = address.removeprefix(_SCHEME)
        self.timeout_s = timeout_s
        self._check_ready()

    def command(self, script: str, *, lasting: bool) -> list[str]:
        """No terminal, so that bytes pass as they are."""
        return [*program(), "-s", self.serial, "shell", "-T", f"exec sh -c {shlex.quote(script)}"]

    def alive(self) -> bool:
        """Whether adb calls it ready."""
        return self._state() == "device"

    def failure(self, stderr: str) -> DeviceError:
        """From adb's words."""
        return DeviceError(
            f"{self.address}: adb could not run anything there: {last_line(stderr)}",
            hint=f"Try it by hand: adb -s {self.serial} shell true",
        )

    def home_script(self) -> str:
        """Where a shell of adb's may run programs."""
        return f"printf %s {_HOME}"

    def reconnect(self) -> None:
        """Wait for it: adb finds it by itself."""
        if ":" in self.serial:  # over TCP; anything else comes back by itself
            _adb(["connect", self.serial], self.timeout_s)
        try:
            _adb(["-s", self.serial, "wait-for-device"], self.timeout_s)
        except DeviceError as error:
            raise LinkLostError(f"{self.address}: it did not come back: {error.message}", hint=error.hint) from error
        self._check_ready()

    def _state(self) -> str:
        found = _adb(["devices"], self.timeout_s).stdout
        return dict(_rows(found)).get(self.serial, "")

    def _check_ready(self) -> None:
        found = _adb(["devices"], self.timeout_s).stdout
        rows = dict(_rows(found))
        state = rows.get(self.serial)
        if state is None:
            known = ", ".join(rows) or "none"
            raise DeviceError(
                f"{self.address}: adb knows no device of that serial number. It knows: {printable(known)}.",
                hint="Plug it in and switch USB debugging on, or: adb connect HOST:PORT",
            )
        if state != "device":
            _, words, hint = _described(state)
            raise DeviceError(f"{self.address}: {words}.", hint=hint)
        features = _adb(["-s", self.serial, "features"], self.timeout_s).stdout.split()
        if _NEEDED not in features:
            raise DeviceError(
                f"{self.address}: its adb has no {_NEEDED}, so exit codes do not come through.",
                hint="It needs Android 7 or newer, and a current adb on this machine.",
            )


def program() -> list[str]:
    """How adb is called."""
    return shlex.split(os.environ.get(PROGRAM, "")) or ["adb"]


def _adb(words: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [*program(), *words]
    try:
        return subprocess.run(  # noqa: S603 - the user's own adb
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise DeviceError(f"There is no program {command[0]} on this machine.", hint=_INSTALL) from None
    except subprocess.TimeoutExpired:
        raise DeviceError(f"adb did not answer within {timeout_s:g} s.", hint="Try: adb devices") from None


def _rows(listing: str) -> list[tuple[str, str]]:
    """Serial number and state of each line of ``adb devices``."""
    found = []
    for line in listing.splitlines():
        serial, tab, rest = line.partition("\t")
        if tab:
            state = rest.strip()
            word = "no permissions" if state.startswith("no permissions") else state.partition(" ")[0]
            found.append((serial, word or "unknown"))
    return found


def _described(state: str) -> tuple[str, str, str]:
    return _STATES.get(state, (state, f"its state is {printable(state)!r}", "adb reconnect"))


def _parse(typed: str) -> str | None:
    if not typed.lower().startswith(_SCHEME):
        return None
    serial = typed[len(_SCHEME) :].removeprefix("//")
    if not _SERIAL.fullmatch(serial):
        raise UsageError(
            f"--device {typed!r} is no serial number of adb's.", hint="Such as adb:R58M12ABCDE: see adb devices"
        )
    return _SCHEME + serial


def _connect(address: str, options: ConnectOptions) -> Device:
    from profiles.devices._remote import RemoteDevice

    return RemoteDevice(AdbTransport(address, options.timeout_s), options)


def _discover() -> list[Discovered]:
    """Everything that adb lists."""
    if shutil.which(program()[0]) is None:
        return []
    found = []
    for serial, state in _rows(_adb(["devices"], 20.0).stdout):
        name, words, hint = _described(state)
        found.append(Discovered(f"{_SCHEME}{serial}", name, words, hint))
    return found


DEVICE = DeviceKind(
    name="adb", title="Android, over adb", pattern=_PATTERN, parse=_parse, connect=_connect, discover=_discover
)
