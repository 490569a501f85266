"""Reading what a user typed after ``--decode``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.errors import UsageError


def choice(settings: Mapping[str, str], key: str, values: Sequence[str]) -> str | None:
    """One of a few words; ``None`` where nothing was typed.

    Raises:
        UsageError: It is another word.
    """
    typed = settings.get(key)
    if typed is not None and typed not in values:
        raise UsageError(f"--decode {key}={typed}: not known.", hint=f"--decode {key}={'|'.join(values)}")
    return typed


def whole(settings: Mapping[str, str], key: str) -> int | None:
    """A whole number; ``None`` where nothing was typed.

    Raises:
        UsageError: It is none.
    """
    typed = settings.get(key)
    if typed is None:
        return None
    try:
        return int(typed)
    except ValueError:
        raise UsageError(f"--decode {key}={typed}: not a whole number.", hint=f"--decode {key}=0") from None


def share(settings: Mapping[str, str], key: str) -> float | None:
    """A number from 0 to 1; ``None`` where nothing was typed.

    Raises:
        UsageError: It is none.
    """
    value = _float(settings, key)
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"--decode {key}={settings[key]}: not a number from 0 to 1.", hint=f"--decode {key}=0.5")
    return value


def number(settings: Mapping[str, str], key: str) -> float | None:
    """A number; ``None`` where nothing was typed.

    Raises:
        UsageError: It is none.
    """
    value = _float(settings, key)
    if value is not None and not math.isfinite(value):
        raise UsageError(f"--decode {key}={settings[key]}: not a number.", hint=f"--decode {key}=0.5")
    return value


def _float(settings: Mapping[str, str], key: str) -> float | None:
    """What was typed, NaN where that is no number; ``None`` where nothing was."""
    typed = settings.get(key)
    if typed is None:
        return None
    try:
        return float(typed)
    except ValueError:
        return math.nan


def size(settings: Mapping[str, str], key: str) -> tuple[float, float] | None:
    """``WIDTHxHEIGHT``; ``None`` where nothing was typed.

    Raises:
        UsageError: It is not of that form.
    """
    typed = settings.get(key)
    if typed is None:
        return None
    width, _, height = typed.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UsageError(f"--decode {key}={typed}: not a width and a height.", hint=f"--decode {key}=640x480")
    return float(width), float(height)
