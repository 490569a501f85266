"""The other end of the agent's pipe, whatever device it runs on."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from edgekit._forkserver import kill_group
from edgekit.errors import EdgekitError, MeasurementError
from edgekit.jobs import describe_exit
from edgekit.scratch import keep_log
from edgekit.types import FloatOperator, Signature, TensorSpec

_DOING = {
    "start": "importing the runtime",
    "load": "loading the file",
    "first": "its first run",
    "time": "timed runs",
    "outputs": "running the samples",
    "undelegated": "listing its operators",
    "operators": "timing its operators",
    "idle": "timed runs after idle gaps",
    "sentinel": "the fixed computation",
    "peak": "measuring the peak of this CPU",
    "conditions": "reading the machine's state",
    "arena": "asking for its arena",
}


class AgentSession:
    """One agent (:class:`edgekit.plugins.Session`).

    Args:
        process: The agent, or what connects to it, in a process group of its own; its stdin and stdout are
            unbuffered pipes.
        path: The file, as the user named it.
        runtime: The runtime as users call it.
        feeds: Samples to time when :meth:`first` gets none.
        log: Where the agent's stderr goes.
        timeout_s: Time limit of each request in seconds.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        path: Path,
        runtime: str,
        feeds: Path | None,
        log: Path,
        timeout_s: float,
    ) -> None:
        self.process = process
        self.path = path
        self.runtime = runtime
        self.feeds = feeds
        self.log = log
        self.timeout_s = timeout_s
        self.outputs_notes: tuple[str, ...] = ()
        self.link_notes: tuple[str, ...] = ()
        self._stopped_in = ""
        self._writing = threading.Lock()
        self._buffer = b""
        self._started: Mapping[str, Any] | None = None
        self._loaded: Mapping[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> Mapping[str, Any]:
        """Wait for the runtime's import."""
        if self._started is None:
            self._started = self._answer("start")
        return self._started

    def load(self) -> Mapping[str, Any]:
        """Load the file, once."""
        self.ready()
        if self._loaded is None:
            self._loaded = self._request("load")
        return self._loaded

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the loaded file has them."""
        loaded = self.load()
        inputs, outputs = (
            tuple(
                TensorSpec(item["name"], tuple(item["shape"]), item["dtype"], item["scale"], item["zero_point"])
                for item in loaded[side]
            )
            for side in ("inputs", "outputs")
        )
        return Signature(inputs, outputs)

    def first(self, feeds: Path | None = None) -> Mapping[str, Any]:
        """Time the first run on the first sample."""
        folder = feeds or self.feeds
        if folder is None:
            raise ValueError("no feeds were given, neither here nor at the start")
        self.load()
        return self._request("first", feeds=self._sent(folder))

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        """Run ``discard + count`` times and time the last ``count``."""
        return self._request("time", discard=discard, count=count)

    def outputs(self, feeds: Path, into: Path, on_progress: Callable[[int], None] | None = None) -> Path:
        """Run every sample and write the outputs; the time limit begins anew with each report of progress."""
        self.load()
        answer = self._request("outputs", on_progress, feeds=self._sent(feeds), into=self._there(into))
        self.outputs_notes = tuple(answer["notes"])
        self._fetch(into)
        return into

    def undelegated(self) -> tuple[FloatOperator, ...] | None:
        """Operators that the runtime's delegate did not take."""
        self.load()
        found = self._request("undelegated")["undelegated"]
        return None if found is None else tuple(FloatOperator(item["operator"], item["name"]) for item in found)

    def idle(self, seconds: float, count: int) -> Mapping[str, Any]:
        """Time ``count`` runs, each after a sleep."""
        return self._request("idle", seconds=seconds, count=count)

    def sentinel(self) -> Mapping[str, Any]:
        """Time a fixed computation a few times, whatever the file."""
        self.ready()
        return self._request("sentinel")

    def peak(self, threads: int) -> Mapping[str, Any]:
        """Time NumPy's matrix product, whatever the file: ``raw["peak"]`` of :mod:`profiles.metrics.work`."""
        self.ready()
        return self._request("peak", threads=threads)

    def conditions(self) -> Mapping[str, Any]:
        """The state of the machine: fields of :class:`edgekit.conditions.Conditions`."""
        self.ready()
        return self._request("conditions")

    def arena(self) -> Mapping[str, Any]:
        """What the runtime plans for activations. The file is loaded anew for it, so nothing may follow."""
        self.load()
        return self._request("arena")

    def coverage(self) -> Mapping[str, Any]:
        """Operators that the delegate did not take, and how many there are, as the agent answers it."""
        self.load()
        return self._request("undelegated")

    def operators(self, feeds: Path, runs: int) -> Mapping[str, Any]:
        """Time each operator in profiled runs on some samples; not in a session whose latency is reported."""
        self.load()
        return self._request("operators", feeds=self._sent(feeds), runs=runs)

    def close(self) -> None:
        """Kill the agent: it holds nothing that would need saving."""
        if self.process.poll() is None:
            kill_group(self.process.pid)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _request(
        self, operation: str, on_progress: Callable[[int], None] | None = None, **arguments: Any
    ) -> Mapping[str, Any]:
        if self._stopped_in:
            raise MeasurementError(
                f"{self.path}: no {_DOING[operation]}: {self.runtime} was stopped before, after the time limit of "
                f"{self.timeout_s:g} s in {self._stopped_in}.",
                hint="Give it more with --timeout SECONDS.",
            )
        line = json.dumps({"op": operation, **arguments}).encode() + b"\n"
        try:
            self._write(line)
        except BrokenPipeError:
            raise self._death(operation) from None
        return self._answer(operation, on_progress)

    def _write(self, line: bytes) -> None:
        with self._writing:
            os.write(_descriptor(self.process.stdin), line)

    def _sent(self, folder: Path) -> str:
        """Where the agent finds a folder of samples."""
        return str(folder.absolute())

    def _there(self, folder: Path) -> str:
        """Where the agent writes a folder of outputs."""
        return str(folder.absolute())

    def _fetch(self, folder: Path) -> None:
        """Bring a folder of outputs to where it was asked for."""

    def _answer(self, operation: str, on_progress: Callable[[int], None] | None = None) -> Mapping[str, Any]:
        deadline = time.monotonic() + self.timeout_s
        line = self._line(operation, deadline)
        while operation == "start" and not line.startswith(b"{"):
            line = self._line(operation, deadline)  # that was Python's own start-up, talking
        answer: Mapping[str, Any] = json.loads(line)
        while "progress" in answer:
            if on_progress is not None:
                on_progress(answer["progress"])
            answer = json.loads(self._line(operation, time.monotonic() + self.timeout_s))
        if "error" in answer:
            raise MeasurementError(
                f"{self.path}: {self.runtime} failed in {_DOING[operation]}: "
                f"{answer['error']['type']}: {answer['error']['message']}",
                hint="The log has everything that the runtime said.",
                log=keep_log(self.log),
            )
        return answer

    def _line(self, operation: str, deadline: float) -> bytes:
        """The next line from the agent."""
        source = _descriptor(self.process.stdout)
        poll = select.poll()
        poll.register(source, select.POLLIN)
        while b"\n" not in self._buffer:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.close()
                self._stopped_in = _DOING[operation]
                raise MeasurementError(
                    f"{self.path}: {self.runtime} was stopped after the time limit of {self.timeout_s:g} s, "
                    f"in {_DOING[operation]}.",
                    hint="Give it more with --timeout SECONDS.",
                    log=keep_log(self.log),
                )
            received = os.read(source, 1 << 16)
            if not received:
                raise self._death(operation)
            self._buffer += received
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _death(self, operation: str) -> EdgekitError:
        """The error for an agent that closed its pipe: it is dead, or as good as."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.close()
            code = self.process.returncode
        return MeasurementError(
            f"{self.path}: the process that ran it in {self.runtime} {self._ended(code)}, in {_DOING[operation]}.",
            hint="The runtime crashed, or the machine ran out of memory; the log has its last words.",
            log=keep_log(self.log),
        )

    @staticmethod
    def _ended(code: int) -> str:
        """How the process ended, in words."""
        return describe_exit(code)


def _descriptor(pipe: Any) -> int:
    number: int = pipe.fileno()
    return number
