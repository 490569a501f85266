"""An agent on another machine, behind a connection that may go."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from edgekit.errors import EdgekitError, LinkLostError
from profiles.devices._session import AgentSession
from profiles.devices._silence import skip_to

if TYPE_CHECKING:
    from profiles.devices._remote import RemoteDevice

HEARTBEAT_S = 10.0
_MOST_LOSSES = 3
_WARM_RUNS = 20
_SHELL_SIGNAL = 128


class RemoteSession(AgentSession):
    """One agent on a device; see there for what it is given.

    Where the connection is lost, it is made again, a new agent is brought to where the old one was, and the request
    that failed is repeated: the rounds that are over are kept here, on this machine.

    Args:
        device: That it runs on.
        job: For the agent; paths in it are the device's.
        path: The file on this machine.
        runtime: As users call it.
        feeds: As in :class:`profiles.devices._session.AgentSession`.
        log: As there.
        timeout_s: As there.
    """

    def __init__(
        self,
        device: RemoteDevice,
        job: Mapping[str, Any],
        path: Path,
        runtime: str,
        feeds: Path | None,
        log: Path,
        timeout_s: float,
    ) -> None:
        process, self.folder, self._mark = device.start_agent(job, log)
        super().__init__(process, path, f"{runtime} on {device.name}", feeds, log, timeout_s)
        self.device, self.job = device, job
        self._first: Path | None = None
        self._losses = 0
        self._away_ns = 0
        self._closed = threading.Event()
        threading.Thread(target=self._beat, name="edgekit-heartbeat", daemon=True).start()

    def ready(self) -> Mapping[str, Any]:
        """Wait for the runtime's import."""
        while self._started is None:
            try:
                self._started = self._begun()
            except LinkLostError as error:
                self._come_back(error, "start")
        return self._started

    def first(self, feeds: Path | None = None) -> Mapping[str, Any]:
        """Time the first run on the first sample."""
        found = super().first(feeds)
        self._first = feeds or self.feeds
        return found

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        """As elsewhere; ``away_ns`` is what a lost connection cost meanwhile, where it did."""
        before = self._away_ns
        found = super().time(discard, count)
        return {**found, "away_ns": self._away_ns - before} if self._away_ns > before else found

    def outputs(self, feeds: Path, into: Path, on_progress: Callable[[int], None] | None = None) -> Path:
        """Run every sample there, and bring the outputs here."""
        while True:
            try:
                return super().outputs(feeds, into, on_progress)
            except LinkLostError as error:
                shutil.rmtree(into, ignore_errors=True)
                self._come_back(error, "outputs")

    def close(self) -> None:
        """End the agent by ending its keeper's input."""
        self._closed.set()
        stdin = self.process.stdin
        if stdin is not None and not stdin.closed:
            with self._writing:
                stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the keeper over there hears nothing any more, and ends
            self.process.wait(2)
        super().close()

    def _request(
        self, operation: str, on_progress: Callable[[int], None] | None = None, **arguments: Any
    ) -> Mapping[str, Any]:
        while True:
            began = perf_counter_ns()
            try:
                return super()._request(operation, on_progress, **arguments)
            except LinkLostError as error:
                if operation == "outputs":
                    raise  # they go into a folder that is gone, too
                self._come_back(error, operation)
                self._away_ns += perf_counter_ns() - began

    def _come_back(self, error: LinkLostError, operation: str) -> None:
        """Connect again and bring a new agent to where the old one was.

        Raises:
            LinkLostError: It was lost too often, or does not come back.
        """
        while True:
            self._losses += 1
            if self._losses > _MOST_LOSSES or self._closed.is_set():
                raise error
            self.device.come_back()
            try:
                self._restart(operation)
            except LinkLostError as again:
                error = again
                continue
            self.link_notes = (f"the connection was lost {_times(self._losses)}; the measurement went on after it.",)
            return

    def _restart(self, operation: str) -> None:
        super().close()
        self._buffer = b""
        self.process, self.folder, self._mark = self.device.start_agent(self.job, self.log)
        if operation == "start":
            return
        self._begun()
        if operation == "load" or self._loaded is None:
            return
        super()._request("load")
        if self._first is not None and operation != "first":
            super()._request("first", feeds=self._sent(self._first))
            super()._request("time", discard=_WARM_RUNS, count=1)

    def _begun(self) -> Mapping[str, Any]:
        """The agent's first answer, without what start-up files of the user's shell print before."""
        if not skip_to(self.process, self._mark, self.timeout_s):
            raise self._death("start")
        return self._answer("start")

    def _death(self, operation: str) -> EdgekitError:
        self._wait()
        if self.device.lost(self.process, self.folder):
            return LinkLostError(
                f"{self.path}: the connection to {self.device.name} was lost, and did not come back.",
                hint="Check its power and network, and type the same command again: what was sent is kept there.",
            )
        return super()._death(operation)

    def _wait(self) -> None:
        """Until the program that connects has ended, or is known to hang."""
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def _ended(code: int) -> str:
        number = code - _SHELL_SIGNAL
        if 0 < number < signal.NSIG:
            code = -number
        return AgentSession._ended(code)

    def _sent(self, folder: Path) -> str:
        while True:
            try:
                return self.device.store.samples(folder)
            except LinkLostError as error:
                self._come_back(error, "sending")

    def _there(self, folder: Path) -> str:
        return f"{self.folder}/outputs"

    def _fetch(self, folder: Path) -> None:
        label = f"fetch outputs of {self.path.name} from {self.device.name}"
        progress, transport, there = self.device.progress, self.device.transport, self._there(folder)
        progress.start(label)
        try:
            transport.pull(there, folder, lambda done, _: progress.advance(label, done, 0, "bytes"))
            transport.run(f"rm -rf {shlex.quote(there)}")
        finally:
            progress.end(label)

    def _beat(self) -> None:
        """Tell the keeper that somebody is there; what goes wrong with that, the next request meets, too."""
        while not self._closed.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError, ValueError):
                self._write(b"\n")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
