"""The state of a machine while figures are taken, as plain data (:func:`edgekit.types.to_json`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CpuPressure:
    """How much tasks waited for a CPU, from the kernel's pressure stall information.

    Attributes:
        average_10s_ratio: Share of the last ten seconds in which one or more waited, 0 to 1.
        total_us: Microseconds of it since the machine started.
    """

    average_10s_ratio: float
    total_us: int


@dataclass(frozen=True)
class CpuTicks:
    """Time of all CPUs since the machine started, in the kernel's ticks.

    Attributes:
        total: All of it.
        steal: What a hypervisor gave to other machines meanwhile.
    """

    total: int
    steal: int


@dataclass(frozen=True)
class Conditions:
    """The state of the machine at one moment; figures have one from before and one from after they were taken.

    Attributes:
        time_s: When, in seconds since 1970.
        emulated: Whether the processor is software, whose times mean nothing.
        load_average: Over one minute.
        cpu_pressure: See there.
        cpu_ticks: See there.
        governor: What steers the frequency, by CPU.
        frequency_khz: By CPU.
        temperature_celsius: By sensor.
        affinity: CPUs that the measured process may use.
        throttled: Of a Raspberry Pi, whether each of ``undervoltage``, ``frequency capped``, ``throttled`` and ``soft
            temperature limit`` holds now, or did ``since boot``, as a name ends then.
        thermal_status: Of Android, 0 (none) to 6 (shutdown).
        battery_ratio: Charge of a battery, 0 to 1.
        unavailable: Why, by name, for those of the above that are ``None``.
        versions: Of Python, of the runtime and of NumPy where it was measured.
        sha256: Of the model and of the inputs.
    """

    time_s: float
    emulated: bool = False
    load_average: float | None = None
    cpu_pressure: CpuPressure | None = None
    cpu_ticks: CpuTicks | None = None
    governor: Mapping[str, str] | None = None
    frequency_khz: Mapping[str, int] | None = None
    temperature_celsius: Mapping[str, float] | None = None
    affinity: tuple[int, ...] | None = None
    throttled: Mapping[str, bool] | None = None
    thermal_status: int | None = None
    battery_ratio: float | None = None
    unavailable: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
