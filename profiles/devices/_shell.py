"""What ssh and adb have in common: a program that runs a script on a device, with pipes to its stdin and stdout.

Files travel as tar archives through those pipes: one round trip each, and nothing but ``sh`` and ``tar`` is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import subprocess
import tarfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from edgekit._forkserver import kill_group
from edgekit.errors import DeviceError, LinkLostError
from edgekit.harmless import harmless
from profiles.devices._silence import marked, new_mark, skip_to
from profiles.devices._transport import Advance, Completed

BLOCK_BYTES = 1 << 20
_NO_SPACE = ("No space left on device", "Disk quota exceeded", "not enough space", "write error", "Wrote only")
_CONTENT = "content"
_END = "end"
"""The last member: an archive that is cut between two members is a whole one to ``tar``."""
_FIRST_S = 60.0
"""Time limit of a device's first word."""
_NO_CODE = 255
"""What ssh and adb end with when they got no exit code from the device."""
_LAST_S = 1.0
"""By how much such a program may end before the connection that it used."""


class ShellTransport(ABC):
    """A connection through a program (:class:`profiles.devices._transport.Transport`).

    Args:
        address: Of the device.
        program: How the program is called, in words for users.
    """

    def __init__(self, address: str, program: str) -> None:
        self.address = address
        self.program = program
        self._home = ""
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def command(self, script: str, *, lasting: bool) -> list[str]:
        """What to run on this machine so that ``sh`` runs a script on the device.

        Args:
            script: To run.
            lasting: Whether it goes on while others run.
        """

    @abstractmethod
    def alive(self) -> bool:
        """Whether the connection is there."""

    @abstractmethod
    def failure(self, stderr: str) -> DeviceError:
        """The error for a program that could not reach the device, from what it said."""

    @abstractmethod
    def home_script(self) -> str:
        """Prints the folder of edgekit's on the device."""

    @abstractmethod
    def reconnect(self) -> None:
        """Connect once more, after the connection was lost."""

    @property
    def home(self) -> str:
        """The folder of edgekit's on the device."""
        with self._lock:
            if not self._home:
                script = f'd="$({self.home_script()})" && mkdir -p "$d" && chmod 700 "$d" && printf %s "$d"'
                found = self.run(script)
                if found.code or not found.text.startswith("/"):
                    raise DeviceError(
                        f"{self.address}: no folder can be made there: {last_line(found.stderr)}",
                        hint="edgekit needs a home folder that can be written.",
                    )
                self._home = found.text
        return self._home

    def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Run a script to its end."""
        mark = new_mark()
        process = self._popen(marked(script, mark), subprocess.PIPE)
        try:
            stdout, errors = process.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            process.communicate()
            raise DeviceError(
                f"{self.address}: no answer within {timeout_s:g} s.", hint="Is the device busy, or the link slow?"
            ) from None
        except BaseException:
            kill_group(process.pid)
            raise
        _, found, output = stdout.partition(mark)
        stderr = errors.decode(errors="replace")
        self._check(process, bool(found), stderr)
        return Completed(process.returncode, output, stderr)

    def start(self, script: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a script with pipes to its stdin and stdout."""
        with log.open("ab") as errors:
            process = self._popen(script, errors, lasting=True)
        with self._lock:
            self._started = [one for one in self._started if one.poll() is None]
            self._started.append(process)
        return process

    def push(self, local: Path, remote: str, advance: Advance | None = None) -> None:
        """Copy a file or a folder to the device."""
        place, partial = shlex.quote(remote), shlex.quote(f"{remote}.{secrets.token_hex(4)}.partial")
        script = (
            f"export LC_ALL=C; rm -rf {partial}; mkdir -p {partial} && (cd {partial} && tar -xf - && rm {_END}) && "
            f"rm -rf {place} && mv {partial}/{_CONTENT} {place} && rmdir {partial}; "
            f"c=$?; [ $c = 0 ] || rm -rf {partial}; exit $c"
        )
        mark = new_mark()
        process = self._popen(marked(script, mark), subprocess.PIPE)
        try:
            assert process.stdin is not None  # noqa: S101 - asked for
            _lengthen(process.stdin)
            with contextlib.suppress(BrokenPipeError):  # the other end has given up: it says why below
                _send(local, process.stdin, advance)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdin = None  # else communicate flushes it
            stdout, errors = process.communicate()
        except BaseException:
            kill_group(process.pid)
            process.wait()
            raise
        stderr = errors.decode(errors="replace")
        self._check(process, mark in stdout, stderr)
        if process.returncode:
            raise self._not_sent(local, remote, stderr)

    def pull(self, remote: str, local: Path, advance: Advance | None = None) -> None:
        """Copy a folder from the device."""
        mark = new_mark()
        script = f"cd {shlex.quote(remote)} && exec tar -cf - ."
        process = self._popen(marked(script, mark), subprocess.PIPE)
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101 - asked for
            process.stdin.close()
            _lengthen(process.stdout)
            found = skip_to(process, mark, _FIRST_S)
            error = _receive(process.stdout, local, advance) if found else None
            process.stdout.read()
            stderr = process.stderr.read().decode(errors="replace") if process.stderr else ""
            process.wait()
        except BaseException:
            kill_group(process.pid)
            process.wait()
            raise
        finally:
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._check(process, found, stderr)
        if process.returncode or error:
            raise DeviceError(f"{self.address}: {remote} was not received: {error or last_line(stderr)}")

    def lost(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a program that has ended did so because the connection was gone."""
        code = process.poll()
        if code is None:
            return False
        deadline = time.monotonic() + _LAST_S
        while self.alive():
            if code != _NO_CODE or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def close(self) -> None:
        """End every program that was started."""
        with self._lock:
            started, self._started = self._started, []
        for process in started:
            if process.poll() is None:
                kill_group(process.pid)
            process.wait()

    def _popen(self, script: str, errors: int | IO[bytes], *, lasting: bool = False) -> subprocess.Popen[bytes]:
        return self.connecting(self.command(script, lasting=lasting), errors)

    def connecting(self, command: list[str], errors: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the program that connects, in a process group of its own.

        Args:
            command: The program and its words.
            errors: Where its stderr goes.

        Raises:
            DeviceError: It is not on this machine.
        """
        try:
            return subprocess.Popen(  # noqa: S603 - the user's own ssh or adb
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise DeviceError(f"There is no program {command[0]} on this machine.", hint=self.program) from None

    def _check(self, process: subprocess.Popen[bytes], began: bool, stderr: str) -> None:
        """Tell a script that fails from a device that was not reached.

        Raises:
            DeviceError: The script never began.
            LinkLostError: The connection went away meanwhile.
        """
        if process.returncode and self.lost(process):
            raise LinkLostError(
                f"{self.address}: the connection was lost{_because(stderr)}.",
                hint="Check the device's power and network, and type the same command again.",
            )
        if not began:
            raise self.failure(stderr)

    def _not_sent(self, local: Path, remote: str, stderr: str) -> DeviceError:
        if any(words in stderr for words in _NO_SPACE):
            needed = sum(path.stat().st_size for path in _files(local))
            free = self.free_bytes(remote)
            known = "" if free is None else f", {free / 1e6:.0f} MB are free"
            return DeviceError(
                f"{self.address}: its disk is full: {local.name} needs {needed / 1e6:.0f} MB{known} in {self.home}.",
                hint=f"Make room there, or remove what edgekit keeps: edgekit devices setup {self.address} --clean",
            )
        return DeviceError(f"{self.address}: {local.name} was not received: {last_line(stderr)}")

    def free_bytes(self, place: str) -> int | None:
        """Room on the disk of a folder there; ``None`` where ``df`` does not say."""
        found = self.run(f"df -Pk {shlex.quote(place.rpartition('/')[0] or '/')} | tail -n 1")
        words = found.text.split()
        return int(words[3]) * 1024 if len(words) > 3 and words[3].isdigit() else None


def last_line(stderr: str) -> str:
    """What a program said last, as plain text of one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return printable(lines[-1]) if lines else "it did not say why"


def printable(text: str) -> str:
    """Text of a device without what a terminal would obey, 300 characters at most."""
    return harmless(text)[:300]


def _because(stderr: str) -> str:
    return f": {last_line(stderr)}" if stderr.strip() else ""


def _files(local: Path) -> list[Path]:
    return [local] if local.is_file() else [path for path in sorted(local.rglob("*")) if path.is_file()]


def _lengthen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, on systems that can: its two ends wait for each other less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # over the user's limit: it works as it is, only slower
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)


class _Counting:
    """A stream that says how many bytes went through it."""

    def __init__(self, stream: IO[bytes], total: int, advance: Advance | None) -> None:
        self.stream, self.total, self.advance, self.done = stream, total, advance, 0

    def write(self, data: bytes) -> int:
        """All of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.stream.write(rest) :]
        self._count(len(data))
        return len(data)

    def tell(self) -> int:
        """How much went through."""
        return self.done

    def seek(self, place: int) -> int:
        """Forward only, by reading what lies between."""
        if place < self.done:
            raise tarfile.StreamError("a stream has no way back")
        while self.done < place and self.read(min(place - self.done, BLOCK_BYTES)):
            pass
        return self.done

    def read(self, size: int) -> bytes:
        """As the stream gives it, up to ``size`` bytes."""
        found, missing = [], size
        while missing and (more := self.stream.read(missing)):
            found.append(more)
            missing -= len(more)
        self._count(size - missing)
        return b"".join(found)

    def _count(self, size: int) -> None:
        self.done += size
        if self.advance is not None:
            self.advance(min(self.done, self.total or self.done), self.total)


def _send(local: Path, stream: IO[bytes], advance: Advance | None) -> None:
    """Write a file or a folder as an archive with one top member, and one that says that it is whole."""
    files = _files(local)
    counting: Any = _Counting(stream, sum(path.stat().st_size for path in files), advance)
    # "w" writes what it is given as it comes; "w|" would gather and copy it, which costs as much as the encryption.
    with tarfile.TarFile(fileobj=counting, mode="w", copybufsize=BLOCK_BYTES, format=tarfile.GNU_FORMAT) as archive:
        if not local.is_file():
            archive.addfile(_member(_CONTENT, folder=True))
            for path in sorted(local.rglob("*")):
                if path.is_dir():
                    name = f"{_CONTENT}/{path.relative_to(local).as_posix()}"
                    archive.addfile(_member(name, folder=True))
        for path in files:
            name = _CONTENT if path == local else f"{_CONTENT}/{path.relative_to(local).as_posix()}"
            with path.open("rb") as content:
                archive.addfile(_member(name, os.fstat(content.fileno())), content)
        archive.addfile(_member(_END))


def _member(name: str, status: os.stat_result | None = None, *, folder: bool = False) -> tarfile.TarInfo:
    """Nobody's file, of no date: clocks may differ by years."""
    member = tarfile.TarInfo(name)
    member.mode = 0o700 if folder or (status is not None and status.st_mode & 0o100) else 0o600
    if folder:
        member.type = tarfile.DIRTYPE
    if status is not None:
        member.size = status.st_size
    return member


def _receive(stream: IO[bytes], local: Path, advance: Advance | None) -> str:
    """Unpack an archive of plain files and folders into ``local``; what is wrong with it, or empty."""
    counting: Any = _Counting(stream, 0, advance)
    try:
        with tarfile.TarFile(fileobj=counting) as archive:  # "r|" copies more, as "w|" does
            for member in archive:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if member.name.startswith("/") or ".." in parts or not (member.isreg() or member.isdir()):
                    return f"its archive holds something else: {printable(member.name)}"
                place = local.joinpath(*parts)
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                content = archive.extractfile(member)
                assert content is not None  # noqa: S101 - a regular file
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as written:
                    _copy(content.read, written.write)
    except tarfile.TarError as error:
        return f"its archive is not whole: {error}"
    return ""


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], Any]) -> None:
    while block := read(BLOCK_BYTES):
        write(block)
