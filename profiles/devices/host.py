"""This machine."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from edgekit import registry
from edgekit.device_plugins import ConnectOptions, DeviceKind, SetupOptions
from edgekit.device_types import Cluster, DeviceCheck, DeviceFacts, DeviceSetup, Discovered, Remark
from edgekit.errors import DeviceError, UsageError
from profiles.agent import clusters, conditions
from profiles.devices import _agent_zip
from profiles.devices._session import AgentSession

# The kernel ends an agent with the *thread* that started it: one that lives as long as this process does it.
_starter = ThreadPoolExecutor(1, thread_name_prefix="edgekit-agents")
_numbers = itertools.count(1)
_zip_lock = threading.Lock()


def facts() -> DeviceFacts:
    """The machine and how busy it is now."""
    cpu = conditions.cpu()
    return DeviceFacts(
        name="host",
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        load_average=os.getloadavg()[0],
        emulated=conditions.is_emulated(cpu),
        clusters=tuple(Cluster(tuple(one.pop("cpus")), **one) for one in clusters.read()),
        runtimes={name: version for name in registry.runtimes() if (version := _version(name))},
    )


def _version(name: str) -> str:
    """Of an installed runtime; empty where it is not."""
    runtime = registry.runtimes()[name]
    try:
        return importlib.metadata.version(runtime.DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def open_session(
    path: Path,
    target: str,
    threads: int,
    feeds: Path | None,
    scratch: Path,
    timeout_s: float,
    affinity: Sequence[int] | None = None,
) -> AgentSession:
    """Start the agent for a file; returns before it has imported its runtime.

    Args:
        path: The file.
        target: Name of its target.
        threads: That the runtime may use.
        feeds: Samples to time; may come later.
        scratch: An existing folder.
        timeout_s: Time limit of each request in seconds.
        affinity: CPUs that the agent and all its threads stay on; all that this process may use when not given.

    Raises:
        MissingDependencyError: The runtime is not installed.
        UsageError: A CPU does not exist, or this process may not use it.
    """
    if affinity is not None:
        check_affinity(affinity)
    runtime = registry.runtimes()[registry.targets()[target].runtime]
    registry.require(runtime.PACKAGES, runtime.EXTRA, f"Running {path.name} in {runtime.TITLE}")
    number = next(_numbers)
    agent, job = scratch / "agent.pyz", scratch / f"agent-{number}.json"
    log = scratch / f"job-agent-{number}.log"
    with _zip_lock:
        if not agent.exists():
            _agent_zip.write(agent)
    job.write_text(
        json.dumps(
            {
                "model": str(path.absolute()),
                "runtime": runtime.NAME,
                "threads": threads,
                "parent": os.getpid(),
                "affinity": None if affinity is None else sorted(affinity),
            }
        )
    )
    process = _starter.submit(_start, [sys.executable, "-P", str(agent), str(job)], scratch, log).result()
    return AgentSession(process, path, runtime.TITLE, feeds, log, timeout_s)


def check_affinity(cpus: Sequence[int]) -> None:
    """Check that all of these CPUs can be used.

    Raises:
        UsageError: Names those that can.
    """
    usable = sorted(os.sched_getaffinity(0))
    wrong = sorted(set(cpus) - set(usable))
    shown = ",".join(map(str, usable))
    if wrong or not cpus:
        said = f"CPU {', '.join(map(str, wrong))} cannot be used here" if wrong else "no CPU was named"
        raise UsageError(f"--affinity: {said}; {shown} can.", hint=f"Such as --affinity {usable[0]}")


def _start(command: list[str], cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as errors:
        return subprocess.Popen(  # noqa: S603 - our own program
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
        )


class Host:
    """This machine (:class:`edgekit.device_plugins.Device`)."""

    name = address = "host"
    open_session = staticmethod(open_session)
    facts = staticmethod(facts)

    def check(self) -> DeviceCheck:
        """Which runtimes are installed; for all else there is ``edgekit doctor``."""
        found = facts()
        remarks = [
            Remark(name, "ok", f"{runtime.TITLE} {found.runtimes[name]}")
            if name in found.runtimes
            else Remark(
                name, "warning", f"{runtime.TITLE} is not installed.", f"pip install 'edgekit[{runtime.EXTRA}]'"
            )
            for name, runtime in registry.runtimes().items()
        ]
        return DeviceCheck(self.name, self.address, found, tuple(remarks))

    def setup(self, options: SetupOptions) -> DeviceSetup:
        """Refused: this is pip's.

        Raises:
            DeviceError: Always.
        """
        raise DeviceError(
            "This machine needs no setup.", hint="pip install 'edgekit[all]'   (edgekit doctor shows more)"
        )

    def clean(self) -> str:
        """Nothing of edgekit's lies about here."""
        return ""

    def close(self) -> None:
        """Nothing is left open: sessions end on their own."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(address: str, options: ConnectOptions) -> Host:
    return Host()


def _parse(typed: str) -> str | None:
    return "host" if typed == "host" else None


def _discover() -> list[Discovered]:
    return [Discovered("host", "ready", f"this machine, {conditions.cpu()}")]


DEVICE = DeviceKind(
    name="host", title="this machine", pattern="host", parse=_parse, connect=_connect, discover=_discover
)
