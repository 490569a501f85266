from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import OpenSession

from edgekit import affinity, cooldown
from edgekit.conditions import Conditions
from edgekit.device_types import Cluster
from edgekit.durations import seconds
from edgekit.errors import UsageError
from edgekit.plugins import MetricInput
from edgekit.progress import Silent
from edgekit.types import DeviceFacts
from profiles import sustained
from profiles.agent import conditions
from profiles.conditions import changes
from profiles.metrics import sustained as metric

FACTS = DeviceFacts("pi", "Linux", "aarch64", "x", 6, 1, "3.11", 0.0)


def test_a_file_runs_on_without_pause(open_session: OpenSession, images: Path) -> None:
    session = open_session("tiny.tflite")
    session.first(images)
    told: list[float] = []
    raw = sustained.run(session, 2.0, told.append)
    assert told[-1] == 2.0
    found = {one.metric: one for one in metric.measure(MetricInput(images, {}, {"sustained": raw}))}
    assert found["sustained_ratio"].value == pytest.approx(
        found["sustained_last_p50_ns"].value / found["sustained_first_p50_ns"].value  # type: ignore[operator]
    )
    record = metric.record(raw)
    assert record is not None
    assert record.window_s == 0.5
    assert len(record.moments) == len(raw["turns"]) > 2
    assert sum(one.runs for one in record.moments) > 100


def test_what_becomes_slow_is_seen() -> None:
    turns = [
        {
            "time_s": float(second),
            "ns": [1000 + 10 * second] * 20,
            "runs": 20,
            "temperature_celsius": None,
            "frequency_khz": None,
        }
        for second in range(120)
    ]
    raw = {"duration_s": 120.0, "window_s": 30.0, "turns": turns}
    found = {one.metric: one for one in metric.measure(MetricInput(Path(), {}, {"sustained": raw}))}
    assert found["sustained_first_p50_ns"].value == 1150
    assert found["sustained_last_p50_ns"].value == 2045
    low, high = found["sustained_ratio"].low, found["sustained_ratio"].high
    assert low is not None
    assert high is not None
    assert low < 2045 / 1150 < high


def test_a_run_that_failed_has_a_reason() -> None:
    found = metric.measure(MetricInput(Path(), {}, {"sustained": {"unavailable": "it died"}}))
    assert {one.unavailable for one in found} == {"it died"}
    assert metric.record({"unavailable": "it died"}) is None


@pytest.mark.parametrize(("typed", "value"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m", 120)])
def test_durations(typed: str, value: float) -> None:
    assert seconds(typed) == value


@pytest.mark.parametrize("typed", ["", "10", "0s", "-1s", "1d", "m", "1e9s", "ten"])
def test_no_durations(typed: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        seconds(typed)


def test_cpus_by_kind() -> None:
    facts = DeviceFacts(**{**FACTS.__dict__, "clusters": (Cluster((0, 1, 2, 3)), Cluster((4, 5)))})
    assert affinity.resolve("big", facts) == (4, 5)
    assert affinity.resolve("little", facts) == (0, 1, 2, 3)
    assert affinity.resolve("3, 1", facts) == (1, 3)
    assert affinity.resolve("all", facts) == affinity.resolve("", facts) == ()
    with pytest.raises(UsageError, match="all of one kind"):
        affinity.resolve("big", FACTS)
    with pytest.raises(UsageError, match="names no CPUs"):
        affinity.resolve("fast", FACTS)


def test_cooling_down_waits_for_a_temperature() -> None:
    readings = iter([70.0, 60.0, 54.0])
    waited: list[float] = []
    notes = cooldown.wait(
        "55C", lambda: Conditions(0.0, temperature_celsius={"cpu": next(readings)}), Silent(), waited.append
    )
    assert "54 degrees" in notes[0]
    assert len(waited) == 2


def test_cooling_down_without_a_sensor_is_said() -> None:
    assert "no temperature sensor" in cooldown.wait("55C", lambda: Conditions(0.0), Silent(), lambda _: None)[0]


def test_cooling_down_by_time() -> None:
    assert cooldown.parse("2m").seconds == 120
    assert cooldown.wait("0.01s", lambda: None, Silent())[0].startswith("Timing began after waiting")
    with pytest.raises(UsageError, match="no duration and no temperature"):
        cooldown.parse("cold")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("throttled=0x0", []),
        ("throttled=0x50005", ["undervoltage", "throttled", "undervoltage since boot", "throttled since boot"]),
        ("throttled=0x80008", ["soft temperature limit", "soft temperature limit since boot"]),
    ],
)
def test_throttle_bits_of_a_raspberry_pi(text: str, names: list[str]) -> None:
    found = conditions.throttle_bits(text)
    assert found is not None
    assert [name for name, holds in found.items() if holds] == names


def test_other_text_has_no_throttle_bits() -> None:
    assert conditions.throttle_bits("VCHI initialization failed") is None


def test_programs_of_the_system_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("vcgencmd", "throttled=0x4"), ("dumpsys", "IsStatusOverride: false\nThermal Status: 3\n")):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<END\n{text}\nEND\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = conditions.read()
    assert found["throttled"]["throttled"]
    assert found["thermal_status"] == 3


def test_what_began_meanwhile_is_said() -> None:
    before = Conditions(0.0, throttled={"throttled": False}, thermal_status=0)
    after = Conditions(1.0, throttled={"throttled": True}, thermal_status=2)
    assert changes(before, after) == ["its firmware began to say: throttled", "its thermal status rose from 0 to 2"]
