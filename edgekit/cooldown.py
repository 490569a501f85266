"""Waiting before files are timed: for a time, or until a device is cool enough."""

from __future__ import annotations

import math
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
    until = f"to {wanted.celsius:g} °C" if wanted.celsius is not None else f"for {wanted.seconds:g} s"
    label = f"cool down {until}"
    begun, hottest = time.monotonic(), ""
    progress.start(label)
    try:
        while (waited := time.monotonic() - begun) < wanted.seconds:
            progress.advance(label, round(waited * 10), math.ceil(wanted.seconds * 10))
            if wanted.celsius is not None:
                found = conditions()
                if found is None:
                    return []
                if not found.temperature_celsius:
                    return [f"--cooldown {wanted.celsius:g}C: no temperature can be read, so nothing was waited for."]
                sensor, degrees = max(found.temperature_celsius.items(), key=lambda item: item[1])
                hottest = f"{sensor} at {degrees:.0f} degrees Celsius"
                if degrees <= wanted.celsius:
                    return [f"Timing began after waiting {waited:.0f} s, with {hottest}."]
            sleep(min(_ASK_EVERY_S, wanted.seconds - waited))
    finally:
        progress.end(label)
    if wanted.celsius is None:
        return [f"Timing began after waiting {wanted.seconds:g} s."]
    return [
        f"It had not cooled down to {wanted.celsius:g} degrees Celsius after {MOST_S:.0f} s; timing began all the "
        f"same, with {hottest}."
    ]
