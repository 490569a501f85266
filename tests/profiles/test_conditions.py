from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import MODELS, OpenSession

from edgekit import feeds, registry
from edgekit.conditions import Conditions, CpuPressure, CpuTicks
from edgekit.errors import UsageError
from edgekit.feeds import Feeds
from edgekit.types import from_json, to_json
from profiles import conditions
from profiles.agent import conditions as reading
from profiles.agent import programs
from profiles.devices._session import AgentSession

OPTIONAL = (
    "load_average", "cpu_pressure", "cpu_ticks", "governor", "frequency_khz", "temperature_celsius", "affinity",
    "throttled", "thermal_status", "battery_ratio",
)  # fmt: skip


def test_a_session_gives_them(open_session: OpenSession) -> None:
    with open_session("tiny.onnx") as session:
        found = conditions.read(session, {"model": "12ab"})
    assert found.time_s > 1e9
    assert found.load_average is not None
    assert found.affinity == tuple(sorted(os.sched_getaffinity(0)))
    assert found.versions["numpy"] == np.__version__
    assert "onnxruntime" in found.versions
    assert found.sha256 == {"model": "12ab"}
    for name in OPTIONAL:
        assert (getattr(found, name) is None) == (name in found.unavailable), name
        assert found.unavailable.get(name) != ""
    assert from_json(Conditions, json.loads(json.dumps(to_json(found), allow_nan=False))) == found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders of a machine that has everything."""
    files = {
        "proc/pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 total=0\n",
        "proc/stat": "cpu  100 0 50 800 10 0 0 40 7 3\ncpu0 1 2 3\n",
        "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
        "cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
        "cpu/cpu10/cpufreq/scaling_governor": "performance\n",
        "cpu/cpu10/cpufreq/scaling_cur_freq": "1800000\n",
        "cpu/cpuidle/current_driver": "none\n",
        "thermal/thermal_zone0/type": "cpu-thermal\n",
        "thermal/thermal_zone0/temp": "48686\n",
        "hwmon/hwmon1/name": "coretemp\n",
        "hwmon/hwmon1/temp2_input": "51000\n",
        "supplies/hidpp_battery_0/type": "Battery\n",
        "supplies/hidpp_battery_0/scope": "Device\n",
        "supplies/hidpp_battery_0/capacity": "5\n",
        "supplies/BAT0/type": "Battery\n",
        "supplies/BAT0/capacity": "87\n",
        "supplies/AC/type": "Mains\n",
    }
    for name, text in files.items():
        place = tmp_path / "machine" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for name in ("proc", "cpu", "hwmon", "thermal", "supplies"):
        monkeypatch.setattr(reading, f"_{name.upper()}", tmp_path / "machine" / name)
    monkeypatch.setenv("PATH", str(tmp_path / "machine/bin"))
    monkeypatch.setattr(programs, "_hung", set())
    (tmp_path / "machine/bin").mkdir()
    program(tmp_path / "machine", "vcgencmd", *VCGENCMD)
    program(tmp_path / "machine", "dumpsys", 'echo "IsStatusOverride: false"', 'echo "Thermal Status: 2"')
    return tmp_path / "machine"


VCGENCMD = (
    'test "$1" = get_throttled && echo "throttled=0x50005"',
    """test "$1" = measure_temp && echo "temp=48.3'C\"""",
    "true",
)


def program(machine: Path, name: str, *lines: str) -> None:
    """One that is found on PATH, which holds nothing else."""
    place = machine / "bin" / name
    place.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    place.chmod(0o755)


def test_a_machine_that_has_everything(machine: Path) -> None:
    found = from_json(Conditions, reading.read())
    assert found.cpu_pressure == CpuPressure(0.125, 2_000_000)
    assert found.cpu_ticks == CpuTicks(1000, 40)  # guest time is in user time already
    assert found.governor == {"0": "ondemand", "10": "performance"}
    assert found.frequency_khz == {"0": 600_000, "10": 1_800_000}
    assert found.temperature_celsius == {"thermal_zone0 cpu-thermal": 48.686, "coretemp temp2": 51.0}
    assert found.throttled == {
        "undervoltage": True, "frequency capped": False, "throttled": True, "soft temperature limit": False,
        "undervoltage since boot": True, "frequency capped since boot": False,
        "throttled since boot": True, "soft temperature limit since boot": False,
    }  # fmt: skip
    assert found.thermal_status == 2
    assert found.battery_ratio == 0.87  # not the mouse's
    assert found.unavailable == {}
    assert reading.cpu() == "Raspberry Pi 4 Model B Rev 1.4"


def test_what_a_machine_does_not_have_is_named(machine: Path) -> None:
    for name in ("proc/pressure/cpu", "cpu/cpu0/cpufreq/scaling_cur_freq", "cpu/cpu10/cpufreq/scaling_cur_freq"):
        (machine / name).unlink()
    (machine / "thermal/thermal_zone0/temp").unlink()
    (machine / "hwmon/hwmon1/temp2_input").unlink()
    (machine / "supplies/BAT0/capacity").unlink()
    (machine / "bin/vcgencmd").unlink()
    (machine / "bin/dumpsys").unlink()
    found = from_json(Conditions, reading.read())
    assert (found.cpu_pressure, found.frequency_khz, found.temperature_celsius) == (None, None, None)
    assert (found.throttled, found.thermal_status, found.battery_ratio) == (None, None, None)
    assert set(found.unavailable) == {
        "cpu_pressure", "frequency_khz", "temperature_celsius", "throttled", "thermal_status", "battery_ratio"
    }  # fmt: skip
    assert "No such file" in found.unavailable["cpu_pressure"]
    assert "there is no vcgencmd" in found.unavailable["throttled"]
    assert "there is no dumpsys" in found.unavailable["thermal_status"]
    assert found.governor is not None


def test_a_temperature_that_the_firmware_alone_knows(machine: Path) -> None:
    (machine / "thermal/thermal_zone0/temp").unlink()
    (machine / "hwmon/hwmon1/temp2_input").unlink()
    assert reading.read()["temperature_celsius"] == {"vcgencmd": 48.3}


@pytest.mark.parametrize(("alarm", "expected"), [("1", True), ("0", False)])
def test_undervoltage_that_the_kernel_knows(machine: Path, alarm: str, expected: bool) -> None:
    program(machine, "vcgencmd", 'echo "Can\'t open device file: /dev/vcio" >&2', "exit 255")
    assert "vcgencmd failed: Can't open device file: /dev/vcio" in reading.read()["unavailable"]["throttled"]
    (machine / "hwmon/hwmon1/in0_lcrit_alarm").write_text("1\n")
    assert reading.read()["throttled"] is None  # another chip's
    (machine / "hwmon/hwmon1/name").write_text("rpi_volt\n")
    (machine / "hwmon/hwmon1/in0_lcrit_alarm").write_text(f"{alarm}\n")
    assert reading.read()["throttled"] == {"undervoltage": expected}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["printf 'no\\033[31mway' >&2", "exit 3"], "vcgencmd failed: no[31mway"),
        (["exit 3"], "vcgencmd failed"),
        (["echo throttled=what"], "vcgencmd printed something else"),
        (["echo throttled=-0x1"], "vcgencmd printed something else"),
        (["printf '\\377\\376'"], "vcgencmd printed something else"),
        ([], "vcgencmd printed something else"),
    ],
)
def test_a_program_that_does_not_say(machine: Path, lines: list[str], reason: str) -> None:
    program(machine, "vcgencmd", *lines)
    found = reading.read()
    assert found["throttled"] is None
    assert found["unavailable"]["throttled"] == f"only the firmware of a Raspberry Pi says that ({reason})"


def test_a_program_that_cannot_be_started(machine: Path) -> None:
    (machine / "bin/vcgencmd").write_text("#!/no/such/shell\n")
    assert "vcgencmd does not start (No such file" in reading.read()["unavailable"]["throttled"]


def test_a_program_that_hangs_is_asked_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LIMIT_S", 0.2)
    program(machine, "dumpsys", f"echo asked >> '{machine}/asked'", "while true; do :; done")
    for _ in range(2):
        assert "dumpsys did not answer within 0.2 s" in reading.read()["unavailable"]["thermal_status"]
    assert (machine / "asked").read_text() == "asked\n"


def test_an_android_that_does_not_say_its_thermal_status(machine: Path) -> None:
    program(machine, "dumpsys", 'echo "Can\'t find service: thermalservice"')
    found = reading.read()
    assert found["thermal_status"] is None
    assert "dumpsys does not say it" in found["unavailable"]["thermal_status"]
    program(machine, "dumpsys", 'echo "Thermal Status: 0"')
    found = reading.read()
    assert found["thermal_status"] == 0
    assert "thermal_status" not in found["unavailable"]


def test_files_that_hold_something_else(machine: Path) -> None:
    for name in ("supplies/BAT0/capacity", "thermal/thermal_zone0/temp", "cpu/cpu0/cpufreq/scaling_cur_freq"):
        (machine / name).write_text("soon\n")
    found = reading.read()
    for name in ("battery_ratio", "temperature_celsius", "frequency_khz"):
        assert found[name] is None
        assert "soon" in found["unavailable"][name]


@pytest.mark.parametrize("place", range(4))
def test_each_bit_of_the_firmware(place: int) -> None:
    names = list(reading.throttle_bits("throttled=0x0") or ())
    for shift in (0, 16):
        found = reading.throttle_bits(f"throttled={1 << place + shift:#x}\n")
        assert found is not None
        assert [name for name in names if found[name]] == [names[place + shift // 4]]


@pytest.mark.parametrize("text", ["", "0x5", "throttled=", "throttled=yes", "error=2 error_msg='x'"])
def test_what_is_no_word_of_the_firmware(text: str) -> None:
    assert reading.throttle_bits(text) is None


ARM_CORE = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n"


@pytest.mark.parametrize(
    ("cpuinfo", "emulated"),
    [
        ("processor\t: 0\nmodel name\t: ARMv8 Processor rev 0 (v8l)\n", True),
        ("processor\t: 0\nmodel name\t: ARMv8 Processor rev 0 (v8l)\nCPU implementer\t: 0x00\n", True),
        ("processor\t: 0\nBogoMIPS\t: 125.00\nCPU implementer\t: 0x00\nCPU part\t: 0x051\n", True),
        ("processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\n", True),
        ("processor\t: 0\nhart\t: 0\nuarch\t: qemu\n", True),
        ("processor\t: 0\nvendor_id\t: VirtualApple\nmodel name\t: VirtualApple @ 2.50GHz\n", True),
        (ARM_CORE, False),
        (ARM_CORE + "model name\t: ARMv8 Processor rev 0 (v8l)\n", False),  # of a real board, to a 32-bit program
        ("processor\t: 0\nCPU implementer\t: ?\nModel\t: a board\n", False),
        ("processor\t: 0\nmodel name\t: Common KVM processor\n", False),
        ("", False),
    ],
)
def test_emulated_processors_are_known(machine: Path, cpuinfo: str, emulated: bool) -> None:
    (machine / "proc/cpuinfo").write_text(cpuinfo)
    assert reading.read()["emulated"] == emulated


def test_a_core_is_called_by_its_number() -> None:
    lines = (ARM_CORE + "model name\t: ARMv8 Processor rev 0 (v8l)\n").splitlines()
    assert reading.named(lines) == "Cortex-A55"
    assert reading.named([*lines, "Model\t: ROCK 5B"]) == "ROCK 5B"
    assert reading.named(["model name\t: ARMv7 Processor rev 3 (v7l)"]) == "ARMv7 Processor rev 3 (v7l)"


def test_what_changed_meanwhile() -> None:
    before = Conditions(
        time_s=100.0,
        cpu_pressure=CpuPressure(0.9, 0),
        cpu_ticks=CpuTicks(1000, 0),
        governor={"0": "ondemand"},
        frequency_khz={"0": 1_800_000, "1": 1_800_000},
        temperature_celsius={"cpu": 48.0},
    )
    assert conditions.changes(before, replace(before, time_s=110.0)) == []
    after = replace(
        before,
        time_s=110.0,
        cpu_pressure=CpuPressure(0.0, 4_000_000),
        cpu_ticks=CpuTicks(2000, 50),
        frequency_khz={"0": 600_000, "1": 1_790_000},
        temperature_celsius={"cpu": 81.0},
    )
    assert conditions.changes(before, after) == [
        "tasks waited for a CPU in 40% of the time",
        "other virtual machines took 5% of the CPU time",
        "the frequency fell on 1 of 2 CPUs, on CPU 0 from 1800 to 600 MHz",
        "cpu went from 48 to 81 degrees Celsius",
    ]
    assert conditions.changes(Conditions(time_s=1.0), Conditions(time_s=2.0)) == []


QUIET = dict.fromkeys(("undervoltage", "throttled", "undervoltage since boot", "throttled since boot"), False)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({"throttled": True, "throttled since boot": True}, {}, ["its firmware said throttled in the beginning"]),
        ({"undervoltage since boot": True}, {"undervoltage since boot": True}, []),
        ({}, {"throttled": True, "throttled since boot": True}, ["its firmware said throttled"]),
        (
            {"undervoltage": True},
            {"undervoltage": True, "throttled": True},
            ["its firmware said undervoltage from the start", "its firmware said throttled"],
        ),
        ({}, {"undervoltage since boot": True}, ["its firmware said undervoltage for a while"]),
    ],
)
def test_what_the_firmware_said_meanwhile(before: dict[str, bool], after: dict[str, bool], expected: list[str]) -> None:
    first, last = (Conditions(time_s=time, throttled=QUIET | bits) for time, bits in ((1.0, before), (2.0, after)))
    assert conditions.changes(first, last) == expected


def test_firmware_that_was_asked_once_alone() -> None:
    said = Conditions(time_s=1.0, throttled=QUIET | {"undervoltage since boot": True})
    assert conditions.changes(Conditions(time_s=0.0), said) == []
    assert conditions.changes(said, Conditions(time_s=2.0)) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, []),
        (0, 0, []),
        (2, 0, ["its thermal status was 2 (moderate) from the start"]),
        (0, 3, ["its thermal status rose from 0 (none) to 3 (severe)"]),
        (1, 1, ["its thermal status was 1 (light) from the start"]),
        (None, 99, ["its thermal status rose from 0 (none) to 99"]),
    ],
)
def test_thermal_status(before: int | None, after: int | None, expected: list[str]) -> None:
    first, last = Conditions(time_s=1.0, thermal_status=before), Conditions(time_s=2.0, thermal_status=after)
    assert conditions.changes(first, last) == expected


def test_inputs_are_known_by_their_values(tmp_path: Path) -> None:
    def hashed(name: str, values: object, dtype: str = "float32", labels: object = None) -> str:
        given = Feeds({"x": np.asarray(values, dtype)}, None if labels is None else np.asarray(labels))
        return conditions.hash_of(feeds.write(tmp_path / name, given))

    first = hashed("a", [[1, 2], [3, 4]])
    assert hashed("b", [[1, 2], [3, 4]], labels=[[0], [1]]) == first
    assert hashed("c", [[1, 2], [3, 5]]) != first
    assert hashed("d", [[1, 2], [3, 4]], "int32") != first
    assert hashed("e", [[[1], [2]], [[3], [4]]]) != first


def test_the_sentinel_starts_no_thread(open_session: OpenSession, images: Path) -> None:
    with open_session("tiny.tflite") as session:
        session.first(images)
        found = session.sentinel()["sentinel_ns"]
        threads = list(Path(f"/proc/{session.process.pid}/task").iterdir())
    assert len(found) == reading.SENTINEL_REPEATS
    assert all(value > 0 for value in found)
    assert len(threads) == 1


def test_an_agent_stays_on_its_cpus(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    open_session = registry.host().open_session
    with open_session(MODELS / "tiny.onnx", "onnx", 2, None, tmp_path, 60.0, affinity=[cpu]) as session:
        assert isinstance(session, AgentSession)
        session.load()
        assert session.conditions()["affinity"] == [cpu]
        threads = [int(task.name) for task in Path(f"/proc/{session.process.pid}/task").iterdir()]
        assert len(threads) > 1  # ONNX Runtime's second
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({cpu})}
    assert len(os.sched_getaffinity(0)) == len(os.sched_getaffinity(os.getpid()))


@pytest.mark.parametrize("cpus", [[0, 4096], []])
def test_cpus_that_are_not_there(cpus: list[int], tmp_path: Path) -> None:
    usable = sorted(os.sched_getaffinity(0))
    with pytest.raises(UsageError) as caught:
        registry.host().open_session(MODELS / "tiny.onnx", "onnx", 1, None, tmp_path, 60.0, affinity=cpus)
    assert f"{','.join(map(str, usable))} can." in caught.value.message
    assert ("4096" in caught.value.message) == bool(cpus)
    assert caught.value.hint
