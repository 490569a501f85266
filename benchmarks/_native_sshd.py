"""An sshd of this machine's own architecture, on loopback, with keys that are made for it: a device without emulation.

It takes one key and no password, and goes with the program that started it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("openssh-server", "libwrap0")
PROGRAM = "EDGEKIT_SSHD"
"""Environment variable with an sshd that is not installed: one of a package that was unpacked anywhere will do."""

HOST = "native"
"""What :attr:`Server.config` calls it."""

_SECONDS = 20.0
_SETTINGS = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
_CONFIG = """
Host {host}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/client
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""
_AS_ROOT = """
# Privilege separation wants a user and a folder; only this process and its children see them.
mount -t tmpfs -o mode=755 none /run
mkdir -m 755 /run/sshd
mount --bind "$1" /etc/passwd
shift
exec "$@"
"""


class NoSshdError(Exception):
    """Why there is none."""


@dataclass(frozen=True)
class Server:
    """A server that is up.

    Attributes:
        config: Settings of ssh, for its ``-F``; :data:`HOST` in them leads there.
        folder: An empty folder there, that is also one here.
    """

    config: Path
    folder: Path


def find(given: Path | None = None) -> Path:
    """The program.

    Raises:
        NoSshdError: There is none.
    """
    found = (
        given
        or os.environ.get(PROGRAM)
        or shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    )
    if found is None or not Path(found).is_file():
        raise NoSshdError("no sshd on this machine (Debian: apt install openssh-server)")
    return Path(found).absolute()


def download(into: Path) -> Path:
    """Fetch Debian's package and unpack it, without installing it.

    Raises:
        NoSshdError: This is no Debian, or it cannot be had.
    """
    try:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=into, capture_output=True, text=True, check=True)
        for package in into.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, into], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise NoSshdError(f"no program {error.filename} to fetch an sshd with") from None
    except subprocess.CalledProcessError as error:
        raise NoSshdError(f"no sshd could be fetched: {error.stderr.strip()[-300:]}") from None
    return find(into / "usr" / "sbin" / "sshd")


@contextlib.contextmanager
def serve(program: Path, folder: Path) -> Iterator[Server]:
    """Start it.

    Args:
        program: As :func:`find` or :func:`download` gave it.
        folder: An existing, empty one for its keys and settings.

    Raises:
        NoSshdError: It does not come up.
    """
    port = _free_port()
    user = getpass.getuser()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    kind, key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "sshd_config").write_text(_SETTINGS.format(port=port, folder=folder))
    (folder / "config").write_text(_CONFIG.format(host=HOST, port=port, user=user, folder=folder))
    (folder / "files").mkdir()
    log = folder / "sshd.log"
    command = [str(program), "-D", "-e", "-f", str(folder / "sshd_config")]
    unpacked = program.parents[2]
    libraries = ":".join(str(path) for path in unpacked.glob("**/lib/*-linux-gnu*")) if unpacked != Path("/") else ""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            _with_user(command, folder),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **({"LD_LIBRARY_PATH": libraries} if libraries else {})},
        )
    try:
        _wait(process, port, log)
        yield Server(folder / "config", folder / "files")
    finally:
        process.kill()
        process.wait()


def _with_user(command: list[str], folder: Path) -> list[str]:
    """The command where sshd finds what it insists on as root; it ends when this process does, however that ends."""
    together = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() != 0:
        return [*together, *command]
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(("root:", "sshd:"))]
    users = ["root:*:0:0:root:/root:/bin/sh", "sshd:*:64999:65534::/run/sshd:/usr/sbin/nologin", *lines]
    passwd = folder / "passwd"
    passwd.write_text("\n".join(users) + "\n")
    private = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*together, *private, "sh", "-ec", _AS_ROOT, "sh", str(passwd), *command]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    words = shlex.join(map(str, process.args)) if isinstance(process.args, list) else ""
    raise NoSshdError(f"sshd did not come up: {log.read_text(errors='replace').strip()[-300:] or words}")
