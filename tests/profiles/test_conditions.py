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

OPTIONAL = ("load_average", "cpu_pressure", "cpu_ticks", "governor", "frequency_khz", "temperature_celsius", "affinity")


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
    }
    for name, text in files.items():
        place = tmp_path / "machine" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for name, folder in (("_PROC", "proc"), ("_CPU", "cpu"), ("_HWMON", "hwmon"), ("_THERMAL", "thermal")):
        monkeypatch.setattr(reading, name, tmp_path / "machine" / folder)
    return tmp_path / "machine"


def test_a_machine_that_has_everything(machine: Path) -> None:
    found = from_json(Conditions, reading.read())
    assert found.cpu_pressure == CpuPressure(0.125, 2_000_000)
    assert found.cpu_ticks == CpuTicks(1000, 40)  # guest time is in user time already
    assert found.governor == {"0": "ondemand", "10": "performance"}
    assert found.frequency_khz == {"0": 600_000, "10": 1_800_000}
    assert found.temperature_celsius == {"thermal_zone0 cpu-thermal": 48.686, "coretemp temp2": 51.0}
    assert found.unavailable == {}
    assert reading.cpu() == "Raspberry Pi 4 Model B Rev 1.4"


def test_what_a_machine_does_not_have_is_named(machine: Path) -> None:
    for name in ("proc/pressure/cpu", "cpu/cpu0/cpufreq/scaling_cur_freq", "cpu/cpu10/cpufreq/scaling_cur_freq"):
        (machine / name).unlink()
    (machine / "thermal/thermal_zone0/temp").unlink()
    (machine / "hwmon/hwmon1/temp2_input").unlink()
    found = from_json(Conditions, reading.read())
    assert (found.cpu_pressure, found.frequency_khz, found.temperature_celsius) == (None, None, None)
    assert set(found.unavailable) == {"cpu_pressure", "frequency_khz", "temperature_celsius"}
    assert "No such file" in found.unavailable["cpu_pressure"]
    assert found.governor is not None


def test_emulated_processors_are_known(machine: Path) -> None:
    assert not reading.read()["emulated"]
    (machine / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: ARMv8 Processor rev 0 (v8l)\n")
    assert reading.read()["emulated"]


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
