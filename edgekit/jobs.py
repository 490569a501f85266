"""Jobs: everything heavy runs in a child process that can die without taking the command along.

A job names a function as ``package.module:function``; its arguments and its value are JSON. Children are forked
from a server that has imported the frameworks already (:mod:`edgekit._forkserver`), so one command pays each
import once. Output of a child goes to a log, which is kept when the job fails.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgekit import reporting
from edgekit._forkserver import DISK_FULL, kill_group
from edgekit.errors import ChildError, ConversionError, EdgekitError
from edgekit.progress import Progress, Silent
from edgekit.scratch import disk_full, is_full, keep_log

DEFAULT_TIMEOUT_S = 1800.0
_END_TIMEOUT_S = 10.0
_SIGNAL_CHECK_S = 0.2
_PROGRESS_CHECK_S = 0.2
_IMPORT_TIMEOUT_S = 120.0

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One call in a child process.

    Attributes:
        label: What a user sees while it runs: ``model.pt: export``.
        entry: ``package.module:function``.
        arguments: Keyword arguments, plain JSON.
        preload: Modules that the server imports before it forks, outermost first.
        timeout_s: Time limit in seconds of the job, from its start. The imports before it have as much for themselves,
            two minutes at least.
    """

    label: str
    entry: str
    arguments: dict[str, Any] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S


class _Server:
    """This side of one fork server.

    Args:
        channel: The socket it listens on.
        log: Where its own output goes.
        running: Process numbers of all that runs, jobs and servers; kept up to date from here.
    """

    def __init__(self, channel: socket.socket, log: Path, running: set[int]) -> None:
        self.channel = channel
        self.log = log
        self.running = running
        self.answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self.pids: dict[int, int] = {}
        self.lock = threading.Lock()
        self.next_id = 0
        self.dead = False
        threading.Thread(target=self._read, daemon=True).start()

    def request(self, message: dict[str, Any], fds: Sequence[int] = ()) -> queue.SimpleQueue[dict[str, Any]]:
        with self.lock:
            self.next_id += 1
            answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
            self.answers[self.next_id] = answers
            line = json.dumps({**message, "id": self.next_id}).encode() + b"\n"
            if self.dead:
                answers.put({"gone": True})
                return answers
            try:
                socket.send_fds(self.channel, [line], list(fds)) if fds else self.channel.sendall(line)
            except OSError:
                answers.put({"gone": True})
        return answers

    def _read(self) -> None:
        with self.channel.makefile("rb") as lines:
            try:
                for line in lines:
                    answer = json.loads(line)
                    with self.lock:
                        self._note(answer)
                        self.answers[answer["id"]].put(answer)
            except OSError:
                pass  # closed by close(): the same end as a server that went away
        with self.lock:
            self.dead = True
            for answers in self.answers.values():
                answers.put({"gone": True})

    def _note(self, answer: dict[str, Any]) -> None:
        """Keep account of what runs."""
        if "pid" in answer:
            self.pids[answer["id"]] = answer["pid"]
            self.running.add(answer["pid"])
        else:
            self.running.discard(self.pids.pop(answer["id"]))

    def close(self) -> None:
        try:
            self.channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the server is gone already
        finally:
            self.channel.close()


class Workers:
    """Runs jobs, at most ``parallel`` at a time. Use as a context manager: leaving it kills what still runs.

    Args:
        scratch: An existing folder for job files, results and logs.
        parallel: Jobs at a time; the number of usable cores, four at most, when ``None``.
        progress: Told about starts and ends.
    """

    def __init__(self, scratch: Path, *, parallel: int | None = None, progress: Progress | None = None) -> None:
        self.scratch = scratch
        self.progress = progress or Silent()
        cores = len(os.sched_getaffinity(0))
        self._parallel = parallel or min(4, cores)
        self._pool = ThreadPoolExecutor(self._parallel)
        self._threads = max(1, cores // self._parallel)
        self._servers: dict[tuple[str, ...], _Server] = {}
        self._server_lock = threading.Lock()
        self._grown_count = 0
        self._roots: list[subprocess.Popen[bytes]] = []
        self._running: set[int] = set()
        self._ends: list[Callable[[], None]] = []
        self._count = 0
        self._closed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job) -> Future[Any]:
        """Queue a job. The future raises :class:`EdgekitError` when it fails."""
        return self._pool.submit(self._run, job)

    def call(self, job: Job) -> Any:
        """Run a job and wait for its value."""
        future = self.submit(job)
        wait_for_any([future])
        return future.result()

    def call_here(self, job: Job) -> Any:
        """Run a job from within background work and wait for its value: it takes no further place beside that."""
        return self._run(job)

    def background(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Queue a call of this process, next to the jobs: for waiting on other programs, such as agents."""
        return self._pool.submit(function, *arguments)

    @contextmanager
    def ended_by_close(self, end: Callable[[], None]) -> Iterator[None]:
        """Have :meth:`close` call ``end`` while the body runs: it stops a program that a background call waits for."""
        with self._server_lock:
            self._refuse_when_closed("background work")
            self._ends.append(end)
        try:
            yield
        finally:
            with self._server_lock:
                self._ends.remove(end)

    def warm_up(self, preload: tuple[str, ...]) -> None:
        """Start the imports of a later job now, in the background."""
        self._server(preload)

    def close(self) -> None:
        """Kill all children and servers. No process of this object is left when it returns."""
        with _no_interrupt():
            with self._server_lock:
                self._closed = True
                servers = list(self._servers.values())
                ends = list(self._ends)
            self._pool.shutdown(wait=False, cancel_futures=True)
            for end in ends:
                end()
            for pid in list(self._running):
                kill_group(pid)
            for server in servers:
                server.close()
            for root in self._roots:
                try:
                    root.wait(_END_TIMEOUT_S)  # it ends once all that descends from it has ended
                except subprocess.TimeoutExpired:
                    root.kill()
                    root.wait()
            self._pool.shutdown(wait=True)

    def _refuse_when_closed(self, what: str) -> None:
        if self._closed:
            raise ChildError(f"{what}: cancelled.")

    def _server(self, preload: tuple[str, ...]) -> _Server:
        """The server that has imported ``preload``, grown from the one with its longest prefix."""
        with self._server_lock:
            self._refuse_when_closed("starting a child")
            return self._grown(preload)

    def _grown(self, preload: tuple[str, ...]) -> _Server:
        known = self._servers.get(preload)
        if known is not None and not known.dead:
            return known
        ours, theirs = socket.socketpair()
        self._grown_count += 1
        log = self.scratch / f"job-server-{self._grown_count}.log"
        with theirs:
            if not preload:
                command = [sys.executable, "-P", "-m", "edgekit._forkserver", str(theirs.fileno()), str(log)]
                root = subprocess.Popen(  # noqa: S603 - our own module
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**_child_settings(self._threads), **os.environ},
                )
                self._roots.append(root)
            else:
                request = {"op": "grow", "modules": [preload[-1]], "log": str(log)}
                self._grown(preload[:-1]).request(request, [theirs.fileno()])
        server = _Server(ours, log, self._running)
        self._servers[preload] = server
        return server

    def _run(self, job: Job) -> Any:
        with self._server_lock:
            self._refuse_when_closed(job.label)
            self._count += 1
            stem = self.scratch / f"job-{self._count}"
        self.progress.start(job.label)
        try:
            return self._run_in_child(job, stem)
        except ConversionError as error:
            # The child's own words for a full disk are many: a bus error, an exception of C++, half a file.
            if is_full(self.scratch):
                raise disk_full(self.scratch.parent) from error
            raise
        finally:
            self.progress.end(job.label)

    def _run_in_child(self, job: Job, stem: Path) -> Any:
        job_file, result, log = (stem.with_suffix(suffix) for suffix in (".json", ".result", ".log"))
        job_file.write_text(json.dumps({"entry": job.entry, "arguments": job.arguments, "cwd": str(Path.cwd())}))
        request = {"op": "run", "job": str(job_file), "result": str(result), "log": str(log)}
        server = self._server(job.preload)
        answers = server.request(request)
        pid, code, deadline = 0, None, time.monotonic() + max(job.timeout_s, _IMPORT_TIMEOUT_S)
        while code is None:
            try:
                answer = answers.get(timeout=min(_PROGRESS_CHECK_S, max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise self._out_of_time(job, server, pid, log) from None
                reported = reporting.read(job_file.with_suffix(reporting.SUFFIX))
                if reported is not None:
                    self.progress.advance(job.label, *reported)
                continue
            if "gone" in answer:
                raise self._server_gone(job, server, pid, log)
            if "pid" in answer:
                pid, deadline = answer["pid"], time.monotonic() + job.timeout_s
            code = answer.get("exit")
        if result.exists():
            return _value(json.loads(result.read_text()), job, log)
        if code == DISK_FULL:
            raise disk_full(self.scratch.parent)
        self._refuse_when_closed(job.label)  # else close() has killed it
        raise ChildError(
            f"{job.label}: the child process {describe_exit(code)}.",
            hint="A native library crashed or the machine ran out of memory; the log has the last thing it said.",
            log=keep_log(log),
        )

    def _out_of_time(self, job: Job, server: _Server, pid: int, log: Path) -> ChildError:
        """Kill a job past its time limit, or the server that did not even come to start it."""
        if pid:
            kill_group(pid)
            what = f"stopped after its time limit of {job.timeout_s:g} s"
        else:
            server.close()
            log = server.log
            limit = max(job.timeout_s, _IMPORT_TIMEOUT_S)
            what = f"importing {', '.join(job.preload)} for it took longer than {limit:g} s"
        return ChildError(
            f"{job.label}: {what}.",
            hint="Give it more with --timeout SECONDS.",
            log=keep_log(log),
        )

    def _server_gone(self, job: Job, server: _Server, pid: int, log: Path) -> ChildError:
        """The error for a job whose server died under it."""
        self._refuse_when_closed(job.label)
        if pid:
            kill_group(pid)
        return ChildError(
            f"{job.label}: the process that had imported {', '.join(job.preload) or 'Python'} for it crashed or was "
            "killed.",
            hint="A native library crashed or the machine ran out of memory; the log has the last thing it said.",
            log=keep_log(log if log.exists() else server.log),
        )


def wait_for_any(futures: Collection[Future[Any]]) -> set[Future[Any]]:
    """Wait until at least one is done, open to Ctrl-C.

    A signal that comes just before Python's main thread goes to sleep on a lock would be seen only when the lock is
    free, minutes later; so it never sleeps long.
    """
    while True:
        done, _ = wait(futures, timeout=_SIGNAL_CHECK_S, return_when=FIRST_COMPLETED)
        if done:
            return done


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep a second Ctrl-C from breaking off what the first one began."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _child_settings(threads: int) -> dict[str, str]:
    """Environment of all children, where the user has set nothing else."""
    return {
        # Jobs run side by side: were each to use all cores, their threads would spin on one another (six times
        # slower, measured on a ResNet-56 and two cores).
        "OMP_NUM_THREADS": str(threads),
        # ONNX Runtime's wheels report to their maker from 1.29 on, unless told not to before the import.
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _value(result: dict[str, Any], job: Job, log: Path) -> Any:
    if "value" in result:
        return result["value"]
    if "error" in result:
        error = EdgekitError.from_json(result["error"])
        if isinstance(error, ConversionError) and not error.log:
            error.log = keep_log(log)
        raise error
    raise ConversionError(f"{job.label}: {result['crash']}", log=keep_log(log))


def describe_exit(code: int) -> str:
    """An exit code or negative signal number, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and no result"
