from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from edgekit.conditions import Conditions
from edgekit.cooldown import Cooldown, parse, wait
from edgekit.errors import MeasurementError, UsageError
from edgekit.progress import Silent


class Recorder(Silent):
    """Remembers the rows of a display."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.seen: list[tuple[str, int, int]] = []

    def start(self, label: str) -> None:
        self.open.add(label)

    def advance(self, label: str, done: int, total: int, unit: str = "") -> None:
        assert label in self.open
        self.seen.append((label, done, total))

    def end(self, label: str) -> None:
        self.open.remove(label)


class Clock:
    """Time that passes in sleeps alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.sleeps = 1000.0, 0
        monkeypatch.setattr("edgekit.cooldown.time.monotonic", lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def progress() -> Iterator[Recorder]:
    """One whose rows must all be closed at the end."""
    found = Recorder()
    yield found
    assert not found.open


def degrees(*values: float) -> Callable[[], Conditions]:
    """A device with a cool sensor and one that gives these values, the last one for ever."""
    given = itertools.chain(values, itertools.repeat(values[-1]))
    return lambda: Conditions(time_s=0.0, temperature_celsius={"board": 30.0, "cpu-thermal": next(given)})


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("60s", Cooldown(60)),
        ("2m", Cooldown(120)),
        ("55C", Cooldown(600, 55)),
        ("55.5 °C", Cooldown(600, 55.5)),
        ("48c", Cooldown(600, 48)),
    ],
)
def test_what_can_be_typed(typed: str, expected: Cooldown) -> None:
    assert parse(typed) == expected


@pytest.mark.parametrize("typed", ["55", "55F", "cool", "0s", "-5C", "C", "60s;ls"])
def test_what_cannot(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(typed)
    assert f"--cooldown {typed!r}" in caught.value.message
    assert "60s" in caught.value.hint and "55C" in caught.value.hint


def test_waiting_for_a_time(clock: Clock, progress: Recorder) -> None:
    def ask() -> Conditions:
        raise AssertionError("a time needs no sensor")

    assert wait("5s", ask, progress, clock.sleep) == ["Timing began after waiting 5 s."]
    assert clock.now == 1005.0
    assert progress.seen == [("cool down for 5 s", done, 50) for done in (0, 20, 40)]


def test_waiting_for_a_temperature(clock: Clock, progress: Recorder) -> None:
    notes = wait("55C", degrees(70, 60, 54.6), progress, clock.sleep)
    assert notes == ["Timing began after waiting 4 s, with cpu-thermal at 55 degrees Celsius."]
    assert progress.seen[-1] == ("cool down to 55 °C", 40, 6000)


def test_a_device_that_is_cool_already(clock: Clock, progress: Recorder) -> None:
    assert wait("55C", degrees(40), progress, clock.sleep) == [
        "Timing began after waiting 0 s, with cpu-thermal at 40 degrees Celsius."
    ]
    assert clock.sleeps == 0


def test_a_device_that_stays_hot(clock: Clock, progress: Recorder) -> None:
    (note,) = wait("55C", degrees(70, 61), progress, clock.sleep)
    assert note == (
        "It had not cooled down to 55 degrees Celsius after 600 s; timing began all the same, "
        "with cpu-thermal at 61 degrees Celsius."
    )
    assert clock.now == 1600.0


@pytest.mark.parametrize("found", [None, {}])
def test_a_device_without_a_sensor(clock: Clock, progress: Recorder, found: dict[str, float] | None) -> None:
    (note,) = wait("55C", lambda: Conditions(time_s=0.0, temperature_celsius=found), progress, clock.sleep)
    assert note == "--cooldown 55C: no temperature can be read, so nothing was waited for."
    assert clock.sleeps == 0


def test_nothing_is_left_to_ask(clock: Clock, progress: Recorder) -> None:
    assert wait("55C", lambda: None, progress, clock.sleep) == []
    assert clock.sleeps == 0


def test_the_row_goes_when_the_device_does(clock: Clock, progress: Recorder) -> None:
    def ask() -> Conditions:
        raise MeasurementError("gone")

    with pytest.raises(MeasurementError):
        wait("55C", ask, progress, clock.sleep)
