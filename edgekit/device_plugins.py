"""What a device looks like to edgekit: a kind of them, one of them, and a file that runs on it.

Part of :mod:`edgekit.plugins`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from edgekit.device_types import DeviceCheck, DeviceFacts, DeviceSetup, Discovered
from edgekit.progress import Progress, Silent
from edgekit.types import FloatOperator, Signature


class Session(Protocol):
    """One file in its runtime, in a process of its own on some device. Use as a context manager.

    What the mappings hold is in :mod:`profiles.agent`. Every method raises
    :class:`edgekit.errors.MeasurementError` when the runtime fails, dies or runs past the time limit.
    """

    def ready(self) -> Mapping[str, Any]:
        """Wait until the process has imported the runtime; its versions and memory before the file."""

    def load(self) -> Mapping[str, Any]:
        """Load the file, once; its inputs, outputs and load time. The other methods do it where it was not done."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the loaded file has them."""

    def first(self, feeds: Path | None = None) -> Mapping[str, Any]:
        """Time the first run; its samples, or those given at the start, are the ones to time from now on."""

    def time(self, discard: int, count: int) -> Mapping[str, Any]:
        """Run ``discard + count`` times; raw samples of the last ``count`` in nanoseconds."""

    def sentinel(self) -> Mapping[str, Any]:
        """Time a fixed computation a few times, whatever the file: how fast the processor is now."""

    def peak(self, threads: int) -> Mapping[str, Any]:
        """Time matrix products on some threads, whatever the file: what the processor can do."""

    def idle(self, seconds: float, count: int) -> Mapping[str, Any]:
        """Time ``count`` runs in nanoseconds, each after ``seconds`` without one."""

    def conditions(self) -> Mapping[str, Any]:
        """The state of the machine: fields of :class:`edgekit.conditions.Conditions`."""

    def arena(self) -> Mapping[str, Any]:
        """What the runtime plans for activations; loads the file anew, so nothing else may follow."""

    def outputs(self, feeds: Path, into: Path, on_progress: Callable[[int], None] | None = None) -> Path:
        """Run every sample of a feeds folder; returns ``into``, the folder of outputs (:mod:`edgekit.feeds`).

        ``on_progress`` is told how many samples are done, a few times a second. The time limit is that of a silence.
        """

    @property
    def outputs_notes(self) -> Sequence[str]:
        """How the samples of the last :meth:`outputs` were run, where a reader should know it."""

    @property
    def link_notes(self) -> Sequence[str]:
        """What happened to the connection so far, where a reader should know it; empty on this machine."""

    def undelegated(self) -> tuple[FloatOperator, ...] | None:
        """Operators that the runtime's delegate did not take; ``None`` where the runtime does not say."""

    def coverage(self) -> Mapping[str, Any]:
        """Operators that the runtime's delegate did not take, and the number of all, as raw figures."""

    def operators(self, feeds: Path, runs: int) -> Mapping[str, Any]:
        """Time each operator in ``runs`` profiled runs; a session that did this has no latency worth reporting."""

    def close(self) -> None:
        """End the process; nothing of it is left afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Device(Protocol):
    """One place to measure, connected; a context manager.

    Every method raises :class:`edgekit.errors.DeviceError` when it cannot be reached or used.

    Attributes:
        name: As the user calls it.
        address: As :attr:`edgekit.device_types.DeviceFacts.address`.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def address(self) -> str:
        """See above."""

    def facts(self) -> DeviceFacts:
        """Read what the machine is, and how busy."""

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
        """Start what runs a file, and return before it is ready.

        Args:
            path: The file, on this machine.
            target: Name of its :class:`edgekit.plugins.Target`.
            threads: That the runtime may use.
            feeds: Samples to time; may come later.
            scratch: An existing folder on this machine.
            timeout_s: Time limit of each request in seconds.
            affinity: CPUs of the device that the runtime stays on; all where it is ``None``.

        Raises:
            UsageError: There is no such CPU.
            MissingDependencyError: The runtime is not installed on this machine.
            DeviceError: It is not there on the device.
        """

    def check(self) -> DeviceCheck:
        """Look at everything that measuring needs; what is in the way is a remark, no error."""

    def setup(self, options: SetupOptions) -> DeviceSetup:
        """Put the agent and runtimes on the device, which needs no internet for it.

        Raises:
            DeviceError: A wheel is missing, or the device refuses; the message names which and why.
        """

    def clean(self) -> str:
        """Remove everything of edgekit's from the device; the folder that was removed, or empty."""

    def close(self) -> None:
        """End everything on it that this process started, and remove its scratch folder."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class ConnectOptions:
    """How to reach a device.

    Attributes:
        name: As the user calls it; the address where it is empty.
        scratch: An existing folder on this machine, for sockets and logs.
        timeout_s: Time limit of connecting, in seconds.
        runners: Native programs to push where the device has no Python (``--runner``).
        progress: Told what takes long.
    """

    scratch: Path
    name: str = ""
    timeout_s: float = 20.0
    runners: tuple[Path, ...] = ()
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True)
class SetupOptions:
    """What to put on a device.

    Attributes:
        runtimes: Names (:attr:`edgekit.plugins.Runtime.NAME`); those that the device can have where it is empty.
        wheels: A folder with wheels for the device; they are downloaded on this machine where it is ``None``.
        pip: Further words for pip's download, as typed.
    """

    runtimes: tuple[str, ...] = ()
    wheels: Path | None = None
    pip: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceKind:
    """A way to reach places to measure: ``DEVICE`` in ``profiles/devices/<name>.py``.

    Attributes:
        name: ``host``, ``ssh``, ``adb``.
        title: What users call it.
        pattern: What its addresses look like, for messages: ``ssh://[USER@]HOST[:PORT]``.
        parse: The canonical address of what was typed after ``--device``; ``None`` when it is not of this kind.
            Raises :class:`edgekit.errors.UsageError` when it is, and is malformed.
        connect: Connects to an address that ``parse`` gave.
        discover: Devices of this kind that could be used, without connecting to any; the user's programs that are
            missing give none.
    """

    name: str
    title: str
    pattern: str
    parse: Callable[[str], str | None]
    connect: Callable[[str, ConnectOptions], Device]
    discover: Callable[[], Sequence[Discovered]]
