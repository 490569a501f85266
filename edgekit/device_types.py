"""What is said about devices; part of :mod:`edgekit.types`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.conditions import Conditions


@dataclass(frozen=True)
class Cluster:
    """CPUs of one kind.

    Attributes:
        cpus: Their numbers.
        part: Name of the core (``Cortex-A76``); empty where it is not known.
        max_khz: Highest frequency; ``None`` where the kernel does not say.
        capacity: As the kernel's scheduler has it, 1024 for the fastest; ``None`` where it does not say.
    """

    cpus: tuple[int, ...]
    part: str = ""
    max_khz: int | None = None
    capacity: int | None = None


@dataclass(frozen=True)
class DeviceFacts:
    """A machine that figures are taken on.

    Attributes:
        name: As the user calls it: ``host``, a name from ``edgekit devices``, or the address.
        system: Kernel and its release.
        machine: Architecture, such as ``x86_64`` or ``aarch64``.
        cpu: Name of the processor.
        cores: That may be used.
        memory_bytes: Of the machine.
        python: Version; empty where there is none.
        load_average: Over one minute.
        emulated: Whether the processor is software, whose times mean nothing.
        address: ``host``, ``ssh://…`` or ``adb:…``.
        board: Model of the board or phone.
        soc: Name of the chip.
        distribution: Name and version of the operating system.
        libc: ``glibc 2.36``, ``musl 1.2.4`` or ``bionic``.
        abi: Of Android (``arm64-v8a``).
        clusters: CPUs by kind, the fastest last; empty where they are all alike or it is not known.
        runtimes: Version by name of each runtime (:attr:`edgekit.plugins.Runtime.NAME`) that is there.
        unavailable: Why, by name, for those of the above that are empty.
    """

    name: str
    system: str
    machine: str
    cpu: str
    cores: int
    memory_bytes: int
    python: str
    load_average: float
    emulated: bool = False
    address: str = "host"
    board: str = ""
    soc: str = ""
    distribution: str = ""
    libc: str = ""
    abi: str = ""
    clusters: tuple[Cluster, ...] = ()
    runtimes: Mapping[str, str] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A device of a report, as it was while figures were taken.

    Attributes:
        name: As :attr:`DeviceFacts.name`; :attr:`edgekit.types.Profile.device` says it of each file.
        facts: The machine.
        fingerprint: What measured figures depend on beside the files: those of runs that differ in it are not compared.
        conditions: Before and after files were timed.
        notes: What a reader should know of it, a sentence each.
    """

    name: str
    facts: DeviceFacts
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Conditions, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remark:
    """One thing that ``edgekit devices check`` looked at.

    Attributes:
        what: ``reachable``, ``python``, ``numpy``, ``litert``, ``disk``, ``governor``…
        state: ``ok``, ``missing`` (measuring needs it), ``warning`` (figures suffer) or ``unknown``.
        words: A sentence.
        hint: What to type or change; empty where nothing is to be done.
    """

    what: str
    state: str
    words: str
    hint: str = ""


@dataclass(frozen=True)
class DeviceCheck:
    """What ``edgekit devices check`` found.

    Attributes:
        name, address: Of the device.
        facts: ``None`` where it cannot be reached.
        remarks: In the order that they were looked at.
    """

    name: str
    address: str
    facts: DeviceFacts | None
    remarks: tuple[Remark, ...]

    @property
    def usable(self) -> bool:
        """Whether at least one runtime can be used there, and nothing else is in the way."""
        return all(one.state != "missing" for one in self.remarks)


@dataclass(frozen=True)
class DeviceSetup:
    """What ``edgekit devices setup`` did.

    Attributes:
        name, address: Of the device.
        folder: On the device, where everything went.
        runtimes: Version by name of each runtime that works there now.
        wheels: File names of what was installed.
        sent_bytes: That went over the link.
        reused: Whether all of it had been there.
        notes: What a user should know.
    """

    name: str
    address: str
    folder: str
    runtimes: Mapping[str, str]
    wheels: tuple[str, ...] = ()
    sent_bytes: int = 0
    reused: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Discovered:
    """A device that could be used, as ``edgekit devices list`` shows it.

    Attributes:
        address: To give ``--device``.
        state: ``ready``, ``named``, ``unauthorized``, ``offline``, ``configured`` (in the user's ssh
            settings, not tried)…
        words: What that means, or what the device says it is.
        hint: The remedy; empty where none is needed.
        name: From ``edgekit devices add``; else empty.
    """

    address: str
    state: str
    words: str = ""
    hint: str = ""
    name: str = ""
