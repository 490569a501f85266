"""The process that imports frameworks once and forks a child for every job.

Started as ``python -P -m edgekit._forkserver FD`` by :mod:`edgekit.jobs`, which holds the other end of the
socket. One JSON object a line, both ways:

    {"op": "run", "id": 1, "log": path, "job": path, "result": path}     -> {"id": 1, "pid": 7}, {"id": 1, "exit": 0}
    {"op": "grow", "id": 2, "modules": ["executorch.exir"], "log": path} + one socket -> {"id": 2, "pid": 8}

``grow`` forks a server that imports further modules and listens on the socket that came along, so two
converters that both need torch pay for it once. A server runs no job itself: what a job does to its process
is gone with the process. The first server is the subreaper of them all: whatever a job leaves behind, however
deep, becomes its child in the end, and is killed with it.

Our own, rather than multiprocessing's forkserver, because that one re-imports the caller's main script in each child,
and because a child must not see the user's folder on ``sys.path``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DISK_FULL = 74  # exit code of a child that could not write, EX_IOERR of sysexits.h


class ForkServer:
    """Serves one socket until the other end is closed, then kills what it started and ends."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.running: dict[int, int] = {}  # pid -> job id
        self.buffer = b""
        self.sockets: list[int] = []

    def serve(self) -> None:
        """Handle requests and deaths of children, one at a time."""
        try:
            self._serve()
        finally:
            end_children(self.running)

    def _serve(self) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write)
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ, "request")
            selector.register(wake_read, selectors.EVENT_READ, "death")
            while True:
                for key, _ in selector.select():
                    if key.data == "death":
                        os.read(wake_read, 4096)
                        self._reap()
                    elif not self._receive():
                        return

    def _receive(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self.channel, 1 << 16, 4)
        except ConnectionResetError:  # the other end was killed with an answer of ours unread
            return False
        if not data:
            return False
        self.sockets += fds
        self.buffer += data
        while b"\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\n", 1)
            self._handle(json.loads(line))
        return True

    def _handle(self, request: dict[str, Any]) -> None:
        grow = request["op"] == "grow"
        inherited = self.sockets.pop(0) if grow else -1
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            # A failure past this point must never return into the server's loop.
            try:
                self._become_child(request, inherited, server)
            except BaseException:
                print_traceback()
            finally:
                os._exit(70)
        if grow:
            os.close(inherited)
        self.running[pid] = request["id"]
        self._send({"id": request["id"], "pid": pid})

    def _become_child(self, request: dict[str, Any], inherited: int, server: int) -> None:
        self.channel.close()
        for descriptor in self.sockets:  # of servers to come: open in here they would outlive them
            os.close(descriptor)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # its own group, so that it can be killed with all it started
        die_with_parent(server)
        redirect_output(request["log"])
        if request["op"] == "grow":
            serve_after_import(request["modules"], socket.socket(fileno=inherited))
            sys.stderr.flush()
            os._exit(0)
        code = run_job(Path(request["job"]), Path(request["result"]))
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: atexit handlers and threads of the frameworks belong to the server that imported them.
        os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                # Looked at, not collected yet, so that the number of the group still belongs to the child.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            kill_group(found.si_pid)  # processes that a job has started and forgotten
            pid, status = os.waitpid(found.si_pid, 0)
            job = self.running.pop(pid, None)  # None for what a dead server has left to this one
            if job is not None:
                self._send({"id": job, "exit": os.waitstatus_to_exitcode(status)})

    def _send(self, message: dict[str, Any]) -> None:
        # Where the other end is gone, reading says so next.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.sendall(json.dumps(message).encode() + b"\n")


def kill_group(pid: int) -> None:
    """Kill a child and everything in its process group."""
    for kill in (os.killpg, os.kill):  # the group does not exist before the child's setsid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def end_children(known: Iterable[int]) -> None:
    """Kill all children of this process, and what they leave to it, and wait until none is left.

    Args:
        known: Children to kill where the kernel does not list them.
    """
    remaining = set(known)
    while True:
        for pid in _children(remaining):
            kill_group(pid)
        try:
            remaining.discard(os.waitpid(-1, 0)[0])
        except ChildProcessError:
            return


def _children(known: Iterable[int]) -> list[int]:
    """Numbers of this process's children."""
    threads = list(Path("/proc/self/task").glob("*/children"))
    if not threads:  # no Linux, or a kernel without CONFIG_PROC_CHILDREN
        return list(known)
    found: list[int] = []
    for listed in threads:
        with contextlib.suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def adopt_orphans() -> None:
    """Have the kernel give this process the children of children that end (Linux; see prctl(2))."""
    if sys.platform == "linux":
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the server that forked it ends (Linux; see prctl(2))."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(70)


def redirect_output(log: str) -> None:
    """Send this process's stdout and stderr, C level included, to a file."""
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    faulthandler.enable(file=2)


def run_job(job_file: Path, result_file: Path) -> int:
    """Call the job's function; write its value, or its error, as JSON.

    Returns:
        The exit code: 0 when a result was written, whether a value or an error.
    """
    from edgekit import reporting
    from edgekit.errors import EdgekitError

    reporting.report_to(job_file.with_suffix(reporting.SUFFIX))
    job = json.loads(job_file.read_text())
    try:
        os.chdir(job["cwd"])
        module, _, function = job["entry"].partition(":")
        value = getattr(importlib.import_module(module), function)(**job["arguments"])
        content = json.dumps({"value": value})
    except BaseException as error:
        print_traceback()
        if is_disk_full(error):
            return DISK_FULL
        if isinstance(error, EdgekitError):
            content = json.dumps({"error": error.to_json()})
        else:
            content = json.dumps({"crash": f"{type(error).__name__}: {error}"})
    partial = result_file.with_suffix(".partial")
    try:
        partial.write_text(content)
        partial.replace(result_file)
    except OSError as error:
        if not is_disk_full(error):
            raise
        return DISK_FULL
    return 0


def print_traceback() -> None:
    """To the log, where there is room for it."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that no space is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def serve_after_import(modules: list[str], channel: socket.socket) -> None:
    """Import, then serve. What cannot be imported is left to the job that needs it, whose error is read."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            print_traceback()
    ForkServer(channel).serve()


def main() -> None:
    """Entry of the first server; its modules come as arguments after the descriptor and the log."""
    descriptor, log, *modules = sys.argv[1:]
    redirect_output(log)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and closes the socket
    adopt_orphans()
    serve_after_import(modules, socket.socket(fileno=int(descriptor)))


if __name__ == "__main__":
    main()
