"""Data inside the page: packed, and written so that nothing in it can end or start an element."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgekit.harmless import harmless
from edgekit.types import Profile, Report, to_json

_DIGITS = 3


def packed(text: str) -> str:
    """Gzip in base64; the same text gives the same."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def cleaned(value: Any) -> Any:
    """Plain data with nothing in its texts that turns the direction of writing or is not seen."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, Mapping):
        return {key: cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return value


def raw_data(report: Report, room: int) -> tuple[str, str]:
    """The report as its ``--json`` output, packed, and what was done to it to fit, in words; empty where nothing was.

    Pictures of samples are left out: the page shows them. Where the rest is too much, the time of each single run is
    rounded to three digits; and where that is not enough, those times are left out.

    Args:
        report: Of the page.
        room: Bytes that it may take.
    """
    report = replace(report, thumbnails=())
    found = packed(_text(report))
    if len(found) <= room:
        return found, ""
    found = packed(_text(replace(report, profiles=tuple(map(_rounded, report.profiles)))))
    if len(found) <= room:
        return found, f"To keep the page small, the time of each single run is rounded to {_DIGITS} digits in it."
    bare = tuple(replace(one, turns=()) for one in report.profiles)
    words = "To keep the page small, the times of single runs are not in it; the --json output of the command has them."
    return packed(_text(replace(report, profiles=bare))), words


def _text(report: Report) -> str:
    return json.dumps(to_json(report), separators=(",", ":"))


def _rounded(profile: Profile) -> Profile:
    turns = tuple(replace(turn, ns=tuple(int(float(f"{ns:.{_DIGITS}g}")) for ns in turn.ns)) for turn in profile.turns)
    return replace(profile, turns=turns)
