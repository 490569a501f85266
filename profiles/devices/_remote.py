"""A device behind a connection: files are kept there by content, the agent runs there, outputs come back."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from edgekit import registry
from edgekit.device_plugins import ConnectOptions, Session, SetupOptions
from edgekit.device_types import DeviceCheck, DeviceFacts, DeviceSetup
from edgekit.errors import DeviceError, LinkLostError
from profiles.devices import _agent_zip, _check, _facts, _native, _setup
from profiles.devices._remote_session import RemoteSession
from profiles.devices._silence import marked, new_mark, skip_to
from profiles.devices._store import Store
from profiles.devices._transport import Transport

SILENCE_S = 60.0
"""An agent that hears nothing for so long, not even a sign of life, is ended by its keeper."""

_WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0)
_FIRST_S = 60.0
_numbers = itertools.count(1)


class RemoteDevice:
    """One device (:class:`edgekit.device_plugins.Device`).

    Args:
        transport: To it, connected; it is closed with this.
        options: How it was reached.

    Attributes:
        folder: Of this command's own on the device. It goes when this process does, however that ends.
    """

    def __init__(self, transport: Transport, options: ConnectOptions) -> None:
        self.transport, self.options, self.progress = transport, options, options.progress
        self.address = transport.address
        self.name = options.name or transport.address
        self.store = Store(transport, self.name, options.progress)
        self.folder = ""
        self._facts: DeviceFacts | None = None
        self._pythons: list[_setup.Python] | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._gone: LinkLostError | None = None
        self._lock = threading.RLock()

    def facts(self) -> DeviceFacts:
        """What the machine is."""
        with self._lock:
            if self._facts is None:
                self._facts = _facts.facts(self.transport, self.name)
            return self._facts

    def open_session(
        self,
        path: Path,
        target: str,
        threads: int,
        feeds: Path | None,
        scratch: Path,
        timeout_s: float,
        affinity: Sequence[int] | None = None,
    ) -> Session:
        """Send the file if it is not there, and start the agent; see :class:`edgekit.device_plugins.Device`."""
        if affinity is not None:
            _native.check_affinity(affinity, self.facts())
        runtime = registry.runtimes()[registry.targets()[target].runtime]
        python = self._python_for(runtime.NAME)
        if python is None:
            runner = _native.find_runner(self.options.runners, target, self.facts())
            if runner is None:
                raise self._no_runtime(runtime.NAME, runtime.TITLE, target)
            return _native.open_native(self, runner, path, target, threads, feeds, timeout_s, affinity)
        job = {
            "model": self.store.file(path),
            "runtime": runtime.NAME,
            "threads": threads,
            "parent": None,
            "affinity": None if affinity is None else sorted(affinity),
            "python": python,
            "agent": self.store.file(self._agent(scratch)),
        }
        log = scratch / f"job-agent-{next(_numbers)}.log"
        return RemoteSession(self, job, path, runtime.TITLE, feeds, log, timeout_s)

    def start_agent(self, job: Mapping[str, Any], log: Path) -> tuple[subprocess.Popen[bytes], str, bytes]:
        """Start an agent and its keeper.

        Args:
            job: Of the agent, with ``python`` and ``agent``: the programs to start it with.
            log: On this machine, for what the agent says.

        Returns:
            What connects to it, the folder of its own on the device, and the mark that comes before its answers.
        """
        folder = f"{self.hold()}/{secrets.token_hex(4)}"
        command = " ".join(shlex.quote(word) for word in (job["python"], job["agent"], "--keep", "job.json"))
        place = shlex.quote(folder)
        mark = new_mark()
        script = (
            f"mkdir -p {place} && cd {place} && printf %s {shlex.quote(json.dumps(job))} > job.json && "
            f"{marked(f'exec {command} {SILENCE_S:g}', mark)}"
        )
        return self.transport.start(script, log), folder, mark

    def lost(self, process: subprocess.Popen[bytes], folder: str) -> bool:
        """Whether an agent's program that has ended did so because the connection was gone.

        Args:
            process: As :meth:`start_agent` gave it.
            folder: As well. Another session may have connected again meanwhile, and this device another folder then.
        """
        if self.transport.lost(process):
            return True
        with self._lock:
            held = self._holder is not None and self._holder.poll() is None
            return not held or not folder.startswith(f"{self.folder}/")

    def hold(self) -> str:
        """The folder of this command's own; made when it is first asked for, by a program that waits to remove it."""
        with self._lock:
            if self._holder is None or self._holder.poll() is not None:
                self._hold()
            return self.folder

    def come_back(self) -> None:
        """Connect again after the connection was lost, for all sessions together.

        Raises:
            LinkLostError: It does not come back, or did not when that was tried for another session.
        """
        with self._lock:
            if self._gone is not None:
                raise self._gone
            if self.transport.alive() and self._holder is not None and self._holder.poll() is None:
                return  # another session has done it
            self.progress.say(f"{self.name}: the connection was lost; trying to get it back.")
            said = ""
            for wait_s in _WAITS_S:
                time.sleep(wait_s)
                try:
                    self.transport.reconnect()
                    self._hold(self.folder)
                except DeviceError as error:
                    said = error.message
                    continue
                self.store.forget()
                self.progress.say(f"{self.name}: connected again.")
                return
            self._gone = LinkLostError(
                f"{self.name}: the connection was lost, and did not come back within {sum(_WAITS_S):.0f} s: {said}",
                hint="Check its power and network, and type the same command again: what was sent is kept there.",
            )
            raise self._gone

    def check(self) -> DeviceCheck:
        """What measuring needs."""
        return _check.check(self.transport, self.name, self.facts())

    def setup(self, options: SetupOptions) -> DeviceSetup:
        """Put runtimes there."""
        with self._lock:
            scratch = self.options.scratch
            agent = self.store.file(self._agent(scratch))
            found = _setup.setup(self.transport, self.name, self.facts(), options, self.progress, scratch, agent)
            self._facts = self._pythons = None
        return found

    def clean(self) -> str:
        """Remove everything of edgekit's."""
        self._let_go()
        return _setup.clean(self.transport)

    def close(self) -> None:
        """Remove the folder of this command's own, and end the connection."""
        with self._lock:
            try:
                self._let_go()
            finally:
                self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold(self, lost: str = "") -> None:
        """Make the folder of this command's own, and remove the one that it had before the connection was lost.

        A server that has not heard that the connection is gone keeps the holder of that one for hours.
        """
        runs = f"{self.transport.home}/run"
        folder = f"{runs}/{secrets.token_hex(8)}"
        # What commands have left whose device was switched off under them: their holders are no more.
        sweep = (
            f'for old in {shlex.quote(runs)}/*; do [ -s "$old/pid" ] || continue; '
            'kill -0 "$(cat "$old/pid")" 2>/dev/null || rm -rf "$old"; done'
        )
        quoted, mark = shlex.quote(folder), new_mark()
        if lost:
            sweep += f"; rm -rf {shlex.quote(lost)}"
        script = (
            f"{sweep}; mkdir -p {quoted} && echo $$ > {quoted}/pid && {marked('cat >/dev/null', mark)}; rm -rf {quoted}"
        )
        log = self.options.scratch / f"job-holder-{next(_numbers)}.log"
        holder = self.transport.start(script, log)
        if not skip_to(holder, mark, _FIRST_S):
            said = log.read_text(errors="replace").strip().splitlines()
            raise DeviceError(f"{self.name}: no folder can be made there: {said[-1] if said else 'it did not say why'}")
        self._holder, self.folder = holder, folder

    def _let_go(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None and holder.stdin is not None:
            holder.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # then the connection is gone, and with it the folder
                holder.wait(5)
            if holder.stdout is not None:
                holder.stdout.close()

    def _python_for(self, runtime: str) -> str | None:
        """The Python there that has a runtime; ``None`` where none has."""
        with self._lock:
            if self._pythons is None:
                self._pythons = _setup.pythons(self.transport)
            return next((one.path for one in self._pythons if runtime in one.runtimes), None)

    def _no_runtime(self, name: str, title: str, target: str) -> DeviceError:
        if not self.facts().python:
            return _native.no_python(self.name, target)
        return DeviceError(
            f"{self.name}: {title} is not installed there.",
            hint=f"edgekit devices setup {self.name} --runtime {name}   (edgekit devices check {self.name} shows more)",
        )

    @staticmethod
    def _agent(scratch: Path) -> Path:
        agent = scratch / "agent.pyz"
        return agent if agent.exists() else _agent_zip.write(agent)
