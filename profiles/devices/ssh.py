"""Devices over ssh, through the user's own ``ssh``: its settings, keys, agent, jump hosts and known hosts all hold.

Host keys are checked as the user has it; nothing here turns that off.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from edgekit.device_plugins import ConnectOptions, Device, DeviceKind
from edgekit.device_types import Discovered
from edgekit.errors import DeviceError, LinkLostError, UsageError
from profiles.devices._shell import ShellTransport, last_line
from profiles.devices._silence import marked, new_mark, skip_to

PROGRAM = "EDGEKIT_SSH"
"""Environment variable with the program and its options, such as ``ssh -F my.conf``."""

_PATTERN = "ssh://[USER@]HOST[:PORT]"
_SCHEME = "ssh://"
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][\w.+-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%[\w.]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)
_ALIVE = ("ServerAliveInterval=5", "ServerAliveCountMax=3")
_MOST_LASTING = 7
_DEEPEST_INCLUDE = 4
_LONGEST_SOCKET = 80
"""Names of sockets have a limit of about 100 bytes, and ssh appends to them while it makes one."""


@dataclass
class _Master:
    """A connection that other programs share.

    Attributes:
        process: It waits for the end of its stdin, so that it goes when this process does, however that ends.
        socket: By which they find it.
        lasting: Number of programs that will share it for long.
    """

    process: subprocess.Popen[bytes]
    socket: str
    lasting: int = 0


class SshTransport(ShellTransport):
    """Multiplexed connections, one as a rule (:class:`profiles.devices._transport.Transport`).

    Args:
        address: As :func:`_parse` gave it.
        timeout_s: Time limit of connecting, in seconds.
        scratch: An existing folder on this machine, for logs.
    """

    def __init__(self, address: str, timeout_s: float, scratch: Path) -> None:
        super().__init__(address, "Install it (Debian: apt install openssh-client).")
        found = _ADDRESS.fullmatch(address.removeprefix(_SCHEME))
        assert found is not None  # noqa: S101 - parsed before
        self.host = found["host"].strip("[]")
        self.user, self.port = found["user"] or "", found["port"] or ""
        self.timeout_s, self.scratch = timeout_s, scratch
        self.sockets = _socket_folder(scratch)
        self._numbers = itertools.count(1)
        self._masters: list[_Master] = []
        self._connecting = threading.RLock()
        try:
            self._masters.append(self._connect())
        except BaseException:
            self.close()
            raise

    def command(self, script: str, *, lasting: bool) -> list[str]:
        """Through a master, and never around it: without it, this fails."""
        shared = ["-S", self._socket(lasting), "-o", "ControlMaster=no", "-o", "ProxyCommand=false"]
        return [*self._ssh(), *shared, *self._target(script)]

    def alive(self) -> bool:
        """Whether all masters live."""
        return bool(self._masters) and all(one.process.poll() is None for one in self._masters)

    def failure(self, stderr: str) -> DeviceError:
        """From ssh's words."""
        return explain(self.address, self.user, self.host, self.port, stderr)

    def home_script(self) -> str:
        """Below the user's cache folder."""
        return 'printf %s "${XDG_CACHE_HOME:-$HOME/.cache}/edgekit"'

    def reconnect(self) -> None:
        """A new master, unless another thread has made one."""
        with self._connecting:
            if not self.alive():
                self._end_masters()
                self._masters.append(self._connect())

    def close(self) -> None:
        """End all programs, the masters last."""
        super().close()
        self._end_masters()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _socket(self, lasting: bool) -> str:
        """Of a master with room for one more program: an sshd takes ten on a connection by default."""
        with self._connecting:
            if not self._masters:
                raise LinkLostError(f"{self.address}: the connection is closed.")
            chosen = self._masters[0]
            if lasting:
                chosen = min(self._masters, key=lambda one: one.lasting)
                if chosen.lasting >= _MOST_LASTING:
                    chosen = self._connect()
                    self._masters.append(chosen)
                chosen.lasting += 1
            return chosen.socket

    def _connect(self) -> _Master:
        mark = new_mark()
        socket = str(self.sockets / str(next(self._numbers)))
        options = [f"ConnectTimeout={max(1, round(self.timeout_s))}", *_ALIVE, "ControlPersist=no"]
        words = [word for option in options for word in ("-o", option)]
        target = self._target(marked("exec cat >/dev/null", mark))
        command = [*self._ssh(), "-M", "-S", socket, *words, *target]
        log = self.scratch / f"job-ssh-{Path(socket).name}.log"
        with log.open("wb") as errors:
            process = self.connecting(command, errors)
        master = _Master(process, socket)
        try:
            # Twice: once for the network, once for the login.
            found = skip_to(process, mark, 2 * self.timeout_s)
        except BaseException:
            _end(master)
            raise
        if not found:
            _end(master)
            raise self.failure(log.read_text(errors="replace").strip() or "Connection timed out")
        return master

    def _end_masters(self) -> None:
        masters, self._masters = self._masters, []
        for one in masters:
            _end(one)

    def _ssh(self) -> list[str]:
        return [*program(), "-T", "-o", "BatchMode=yes", "-o", "RemoteCommand=none"]

    def _target(self, script: str) -> list[str]:
        port = ["-p", self.port] if self.port else []
        user = ["-l", self.user] if self.user else []
        return [*port, *user, "--", self.host, for_any_shell(script)]


def for_any_shell(script: str) -> str:
    """What makes a user's shell, be it fish or csh, run a script in ``sh``.

    All know single quotes, not all alike: in them, csh replaces ``!`` and takes no end of line, and fish reads two
    backslashes, or one before a quote, as one letter. A script with such letters goes as what ``printf %b`` reads.
    """
    if not _UNLIKE.search(script):
        return f"exec sh -c {shlex.quote(script)}"
    plain = re.sub(r"[\\'!\n]", lambda found: f"\\0{ord(found[0]):03o}", script)
    return f"""exec sh -c 'eval "$(printf %b "$1")"' sh '{plain}'"""


_UNLIKE = re.compile(r"[!\n]|\\(?=[\\']|\Z)")


def _end(master: _Master) -> None:
    """Let a master go; what shares its connection goes, too."""
    process = master.process
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def program() -> list[str]:
    """How ssh is called."""
    return shlex.split(os.environ.get(PROGRAM, "")) or ["ssh"]


def explain(address: str, user: str, host: str, port: str, stderr: str) -> DeviceError:
    """What went wrong, in words, and what to do.

    Args:
        address: Of the device.
        user: To log in as; empty where it was not typed.
        host: Its name.
        port: Its port; empty where it was not typed.
        stderr: What ssh said, banners and all.
    """
    who = f"{user}@{host}" if user else host
    at = f"-p {port} " if port else ""
    for words, message, hint in _KNOWN:
        if re.search(words, stderr):
            names = {
                "who": who,
                "at": at,
                "host": f"[{host}]:{port}" if port else host,
                "last": _ssh_line(stderr, words),
            }
            return DeviceError(f"{address}: {message.format(**names)}", hint=hint.format(**names))
    return DeviceError(
        f"{address}: ssh could not connect: {last_line(stderr)}", hint=f"Try it by hand: ssh {at}{who} true"
    )


_KNOWN = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the device's host key is not the one that is known. Either it was set up anew, or somebody else answers.",
        "If you know why it changed: ssh-keygen -R '{host}', then ssh {at}{who} once to accept the new key",
    ),
    (
        "Host key verification failed|No .* host key is known",
        "its host key is not known on this machine.",
        "Connect once by hand, compare the key, and accept it: ssh {at}{who}",
    ),
    (
        "Could not resolve hostname",
        "there is no machine of that name: {last}",
        "Check the name; a Raspberry Pi is often HOSTNAME.local, or use its IP address",
    ),
    (
        "Permission denied|Too many authentication failures|no such identity",
        "it does not let you in: {last}",
        "Put your key there (ssh-copy-id {at}{who}), or unlock it (ssh-add); it must work without a password: "
        "ssh -o BatchMode=yes {at}{who} true",
    ),
    (
        "Connection refused",
        "nothing answers there: {last}",
        "Is ssh switched on? On a Raspberry Pi: sudo raspi-config, Interface Options, SSH",
    ),
    (
        "timed out|No route to host|Network is unreachable|Host is down",
        "it cannot be reached: {last}",
        "Is it switched on, and on this network? ping the host",
    ),
    (
        "Bad configuration option|Bad owner or permissions|terminating, .* bad configuration",
        "ssh does not accept its settings: {last}",
        "Mend ~/.ssh/config",
    ),
    (
        "kex_exchange_identification|Connection closed|Connection reset|closed by remote host|Broken pipe",
        "it closed the connection: {last}",
        "Try it by hand: ssh -v {at}{who} true",
    ),
)
"""A sign in what ssh says, a message, and a hint; the first that fits."""


def _ssh_line(stderr: str, words: str) -> str:
    """The line that has the sign: what comes after it, or before, may be anybody's."""
    lines = [line for line in stderr.splitlines() if re.search(words, line)]
    return last_line(lines[-1]) if lines else last_line(stderr)


def _socket_folder(scratch: Path) -> Path:
    """A private folder whose name is short enough for a socket in it."""
    if len(os.fsencode(scratch)) <= _LONGEST_SOCKET - len("/ssh-12345678"):
        return Path(tempfile.mkdtemp(prefix="ssh-", dir=scratch))
    return Path(tempfile.mkdtemp(prefix="edgekit-ssh-", dir="/tmp"))


def _parse(typed: str) -> str | None:
    if not typed.lower().startswith(_SCHEME):
        return None
    rest = typed[len(_SCHEME) :]
    found = _ADDRESS.fullmatch(rest)
    if found is None or (found["port"] and not 0 < int(found["port"]) < 1 << 16):
        raise UsageError(
            f"--device {typed!r} is no ssh address.", hint=f"Such as ssh://pi@raspberrypi.local: {_PATTERN}"
        )
    return _SCHEME + rest.rstrip("/")


def _connect(address: str, options: ConnectOptions) -> Device:
    from profiles.devices._remote import RemoteDevice

    return RemoteDevice(SshTransport(address, options.timeout_s, options.scratch), options)


def _hosts(settings: Path, depth: int = 0) -> list[str]:
    """Names in a file of settings and in those that it includes; most users have none."""
    try:
        lines = settings.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        keyword, _, rest = re.sub(r"\s*=\s*|\s+", " ", line.partition("#")[0].strip(), count=1).partition(" ")
        words = rest.replace('"', " ").split()
        if keyword.lower() == "host":
            found += words
        elif keyword.lower() == "include" and depth < _DEEPEST_INCLUDE:
            for word in words:
                named = Path.home() / ".ssh" / Path(word).expanduser()
                paths = sorted(Path(named.anchor).glob(str(named.relative_to(named.anchor))))
                found += [name for path in paths for name in _hosts(path, depth + 1)]
    return found


def _discover() -> list[Discovered]:
    """Hosts with a name in the user's settings."""
    names = _hosts(Path.home() / ".ssh" / "config")
    return [
        Discovered(
            f"{_SCHEME}{name}", "configured", "in ~/.ssh/config; not tried", f"edgekit devices check {_SCHEME}{name}"
        )
        for name in dict.fromkeys(names)
        if _ADDRESS.fullmatch(name)
    ]


DEVICE = DeviceKind(name="ssh", title="over ssh", pattern=_PATTERN, parse=_parse, connect=_connect, discover=_discover)
