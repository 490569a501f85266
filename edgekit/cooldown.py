"""Waiting before files are timed: for a time, or until a device is cool enough."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.conditions import Conditions
from edgekit.durations import seconds
from edgekit.errors import UsageError
from edgekit.progress import Progress

MOST_S = 600.0
"""A device that has not cooled down by then will not."""

_LABEL = "cool down"
_ASK_EVERY_S = 2.0
_TEMPERATURE = re.compile(r"(\d+(?:\.\d+)?) ?°?C", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Cooldown:
    """What to wait for.

    Attributes:
        seconds: How long, where that was typed.
        celsius: Until the hottest sensor is no hotter; ``None`` where a time was typed.
    """

    seconds: float
    celsius: float | None = None


def parse(typed: str) -> Cooldown:
    """``60s``, ``2m`` or ``55C``.

    Raises:
        UsageError: It is none of these.
    """
    found = _TEMPERATURE.fullmatch(typed.strip())
    if found:
        return Cooldown(MOST_S, float(found[1]))
    try:
        return Cooldown(seconds(typed))
    except UsageError:
        raise UsageError(
            f"--cooldown {typed!r} is no duration and no temperature.", hint="Such as --cooldown 60s or --cooldown 55C"
        ) from None


def wait(
    typed: str,
    conditions: Callable[[], Conditions | None],
    progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Wait.

    Args:
        typed: As for :func:`parse`.
        conditions: Reads the state of the device; ``None`` where nothing is left to ask.
        progress: Told how long it takes.
        sleep: Waits for seconds.

    Returns:
        What a reader should know, a sentence each.
    """
    wanted = parse(typed)
    begun = time.monotonic()
    progress.start(_LABEL)
    try:
        while (waited := time.monotonic() - begun) < wanted.seconds:
            progress.advance(_LABEL, round(waited), round(wanted.seconds))
            if wanted.celsius is not None:
                hottest = _hottest(conditions())
                if hottest is None:
                    return [f"--cooldown {typed}: there is no temperature sensor, so nothing was waited for."]
                if hottest <= wanted.celsius:
                    return [f"Timing began at {hottest:.0f} degrees Celsius, after waiting {waited:.0f} s."]
            sleep(min(_ASK_EVERY_S, wanted.seconds - waited))
    finally:
        progress.end(_LABEL)
    if wanted.celsius is None:
        return [f"Timing began after waiting {wanted.seconds:.0f} s."]
    return [
        f"It was still hotter than {wanted.celsius:g} degrees Celsius after {MOST_S:.0f} s; timing began all the same."
    ]


def _hottest(found: Conditions | None) -> float | None:
    return max(found.temperature_celsius.values()) if found is not None and found.temperature_celsius else None
