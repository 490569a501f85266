"""This machine."""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgekit import registry
from edgekit.plugins import Device
from edgekit.types import DeviceFacts
from profiles.devices import _agent_zip
from profiles.devices._session import AgentSession

_MODEL_KEYS = ("model name", "Model", "Hardware", "cpu model", "uarch", "cpu")
"""Lines of /proc/cpuinfo that name the processor, on the architectures that have one each."""

_EMULATED = ("ARMv8 Processor rev 0 (v8l)", "QEMU TCG", "QEMU Virtual CPU")

# The kernel ends an agent with the *thread* that started it: one that lives as long as this process does it.
_starter = ThreadPoolExecutor(1, thread_name_prefix="edgekit-agents")
_numbers = itertools.count(1)
_zip_lock = threading.Lock()


def facts() -> DeviceFacts:
    """The machine and how busy it is now."""
    cpu = _cpu()
    return DeviceFacts(
        name="host",
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        load_average=os.getloadavg()[0],
        emulated=any(name in cpu for name in _EMULATED),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []  # no Linux
    named: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        named.setdefault(key.strip(), value.strip())
    return next((named[key] for key in _MODEL_KEYS if named.get(key)), platform.processor() or platform.machine())


def open_session(
    path: Path, target: str, threads: int, feeds: Path | None, scratch: Path, timeout_s: float
) -> AgentSession:
    """Start the agent for a file; returns before it has imported its runtime.

    Args:
        path: The file.
        target: Name of its target.
        threads: That the runtime may use.
        feeds: Samples to time; may come later.
        scratch: An existing folder.
        timeout_s: Time limit of each request in seconds.

    Raises:
        MissingDependencyError: The runtime is not installed.
    """
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
            }
        )
    )
    process = _starter.submit(_start, [sys.executable, "-P", str(agent), str(job)], scratch, log).result()
    return AgentSession(process, path, runtime.TITLE, feeds, log, timeout_s)


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


DEVICE = Device(name="host", facts=facts, open_session=open_session)
