"""Times as users type them."""

from __future__ import annotations

import re

from edgekit.errors import UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smh])", re.ASCII)


def seconds(typed: str) -> float:
    """``90s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        UsageError: It is none of these, or no time at all.
    """
    found = _DURATION.fullmatch(typed.strip())
    value = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not value:
        raise UsageError(f"{typed!r} is no duration.", hint="Type it as 90s, 10m or 1h.")
    return value
