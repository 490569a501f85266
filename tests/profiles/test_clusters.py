from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.affinity import resolve
from edgekit.device_types import Cluster
from profiles.agent import clusters
from profiles.devices import host


def cpuinfo(*cores: tuple[str, str]) -> str:
    """As arm64 Linux writes it."""
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 48.00\nCPU implementer\t: {implementer}\nCPU architecture: 8\n"
        f"CPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
        for number, (implementer, part) in enumerate(cores)
    )


A53, A55, A72, A73, A76 = (("0x41", part) for part in ("0xd03", "0xd05", "0xd08", "0xd09", "0xd0b"))


def kinds(found: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(one["part"], one["cpus"]) for one in found]


def test_a_phone_with_three_kinds() -> None:
    text = cpuinfo(A55, A55, A55, A55, A76, A76, A76, A76)
    capacities = dict.fromkeys(range(4), 160) | dict.fromkeys(range(4, 7), 871) | {7: 1024}
    khz = dict.fromkeys(range(4), 1_800_000) | dict.fromkeys(range(4, 7), 2_400_000) | {7: 2_800_000}
    assert clusters.of(text, capacities, khz) == [
        {"cpus": [0, 1, 2, 3], "part": "Cortex-A55", "max_khz": 1_800_000, "capacity": 160},
        {"cpus": [4, 5, 6], "part": "Cortex-A76", "max_khz": 2_400_000, "capacity": 871},
        {"cpus": [7], "part": "Cortex-A76", "max_khz": 2_800_000, "capacity": 1024},
    ]


def test_fast_cpus_that_come_first() -> None:
    """The order is that of speed, not of numbers."""
    text = cpuinfo(A73, A73, A53, A53)
    assert kinds(clusters.of(text, {0: 1024, 1: 1024, 2: 462, 3: 462}, {})) == [
        ("Cortex-A53", [2, 3]),
        ("Cortex-A73", [0, 1]),
    ]


def test_frequency_tells_where_there_is_no_capacity() -> None:
    text = cpuinfo(A72, A72, A53, A53)
    khz = {0: 1_800_000, 1: 1_800_000, 2: 1_416_000, 3: 1_416_000}
    assert kinds(clusters.of(text, {}, khz)) == [("Cortex-A53", [2, 3]), ("Cortex-A72", [0, 1])]


def test_cpus_that_are_alike() -> None:
    found = clusters.of(cpuinfo(A72, A72, A72, A72), dict.fromkeys(range(4), 1024), dict.fromkeys(range(4), 1_500_000))
    assert kinds(found) == [("Cortex-A72", [0, 1, 2, 3])]


def test_a_cpu_that_is_off_line_makes_no_kind() -> None:
    """The kernel keeps a capacity for it, and no frequency and no part."""
    text = "\n\n".join(block for block in cpuinfo(A72, A72, A72).split("\n\n") if "processor\t: 1" not in block)
    assert kinds(clusters.of(text, {0: 1024, 1: 1024, 2: 1024}, {0: 1_500_000, 2: 1_500_000})) == [
        ("Cortex-A72", [0, 2])
    ]


@pytest.mark.parametrize(
    ("core", "name"),
    [
        (("0x41", "0xd03"), "Cortex-A53"),
        (("0x41", "0xd41"), "Cortex-A78"),
        (("0x41", "0xD44"), "Cortex-X1"),
        (("0x51", "0x804"), "Kryo 4xx Gold"),
        (("0x41", "0xfff"), "0x41:0xfff"),
        (("0x61", "0x022"), "0x61:0x022"),
        (("0x41", "what"), "0x41:what"),
    ],
)
def test_names(core: tuple[str, str], name: str) -> None:
    assert clusters.parts(cpuinfo(core)) == {0: name}


def test_x86_where_each_cpu_may_be_clocked_differently() -> None:
    text = "".join(f"processor\t: {number}\nvendor_id\t: AuthenticAMD\nmodel name\t: Ryzen\n\n" for number in range(2))
    assert clusters.of(text, {0: 1024, 1: 1000}, {0: 5_500_000, 1: 5_350_000}) == []


@pytest.mark.parametrize("text", ["", "processor", "CPU part\t: 0xd03\n", "processor\t: x\nCPU part: 0xd03"])
def test_text_that_says_nothing(text: str) -> None:
    assert clusters.of(text, {}, {}) == []


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /proc/cpuinfo and /sys."""
    monkeypatch.setattr(clusters, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(clusters, "_DEVICES", tmp_path / "devices")
    monkeypatch.setattr(clusters, "_CPU", tmp_path / "devices/system/cpu")
    (tmp_path / "cpuinfo").write_text("")
    return tmp_path


def write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text + "\n")


def test_this_machine_is_a_board(tree: Path) -> None:
    write(tree / "cpuinfo", cpuinfo(A55, A76))
    for cpu, capacity, khz in ((0, 414, 1_800_000), (1, 1024, 2_304_000)):
        write(tree / f"devices/system/cpu/cpu{cpu}/cpu_capacity", str(capacity))
        write(tree / f"devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", str(khz))
    write(tree / "devices/system/cpu/cpufreq/policy0/x", "")
    facts = host.facts()
    assert facts.clusters == (
        Cluster((0,), "Cortex-A55", 1_800_000, 414),
        Cluster((1,), "Cortex-A76", 2_304_000, 1024),
    )
    assert resolve("big", facts) == (1,)


def test_this_machine_is_a_hybrid_of_intel(tree: Path) -> None:
    write(tree / "cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: 13th Gen Intel(R) Core(TM)\n")
    write(tree / "devices/cpu_core/cpus", "0-3")
    assert clusters.read() == []  # one kind alone
    write(tree / "devices/cpu_atom/cpus", "4-6,8")
    for cpu in range(4):
        write(tree / f"devices/system/cpu/cpu{cpu}/cpu_capacity", "1024" if cpu < 2 else "1000")
        write(tree / f"devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", "5200000" if cpu < 2 else "5000000")
    assert clusters.read() == [
        {"cpus": [4, 5, 6, 8], "part": "Atom cores", "max_khz": None, "capacity": None},
        {"cpus": [0, 1, 2, 3], "part": "Core cores", "max_khz": 5_200_000, "capacity": None},
    ]


def test_this_machine_says_nothing(tree: Path) -> None:
    assert clusters.read() == []
    (tree / "cpuinfo").unlink()
    assert clusters.read() == []
    assert host.facts().clusters == ()
