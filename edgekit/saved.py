"""Runs that were saved with ``--json``, compared with one another.

Files of two runs did not take turns, so what is left between them is what the machine did meanwhile. Two copies of one
model, timed one after the other on a busy machine, came out up to 12 % apart in nine of ten trials. So a difference
counts from there on alone, and only where the runs were made under the same conditions.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.paths import existing_file
from edgekit.types import SCHEMA_VERSION, Comparison, Place, Profile, Report, from_json
from edgekit.versus import SEQUENTIAL_FLOOR, Side, judged, of_medians

_SUFFIX = ".json"


def is_saved(path: Path) -> bool:
    """Whether a file given to ``edgekit compare`` is a saved run."""
    return path.suffix == _SUFFIX


def load(path: Path) -> Report:
    """Read a saved run.

    Raises:
        UsageError: It is none, or of another version of edgekit.
    """
    hint = "Save one with: edgekit profile FILE... --json > run.json"
    try:
        content = json.loads(existing_file(path).read_text())
        found = content["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is no saved run.", hint=hint) from None
    if found != SCHEMA_VERSION:
        raise UsageError(f"{path} has schema version {found}, not {SCHEMA_VERSION}.", hint=hint)
    import cattrs

    try:
        report = from_json(Report, content)
    except cattrs.BaseValidationError:
        raise UsageError(f"{path} is no saved run of this version of edgekit.", hint=hint) from None
    if not report.profiles:
        raise UsageError(f"{path} holds no measured file.", hint=hint)
    return report


def compare_saved(paths: Sequence[Path]) -> Report:
    """Compare the files of saved runs with those of the first run; see :func:`compare_runs`.

    Args:
        paths: Two or more.

    Raises:
        UsageError: One is no saved run; else as there.
    """
    if len(paths) < 2:
        raise UsageError("One saved run alone cannot be compared.", hint="edgekit compare before.json after.json")
    return compare_runs([(path.stem, load(path)) for path in paths])


def compare_runs(runs: Sequence[tuple[str, Report]]) -> Report:
    """Compare the files of runs with those of the first run.

    Files belong together that have one name, target and number of threads: on the same device, or else on another one.

    Args:
        runs: Each with a name.

    Raises:
        UsageError: One was made under other conditions than the first, on a device of the same name; what differs is
            named. Or it has none of its files.
    """
    (first_name, first), *others = runs
    places = {place.name: place for _, run in runs for place in run.devices}
    comparisons, notes = [], []
    for name, run in others:
        pairs = [(_partner(item, first), item) for item in run.profiles]
        _refuse_others((first_name, first), (name, run), pairs)
        for base, item in pairs:
            if base is None:
                notes.append(f"{name}: {Path(item.path).name} is not in {first_name}.")
                continue
            comparisons.append(_compared(_named(base, first_name), _named(item, name), places))
            if base.device != item.device and base.runtime != item.runtime:
                both = f"{base.runtime} on {base.device}, {item.runtime} on {item.device}"
                notes.append(f"{Path(item.path).name}: {both}.")
    if not comparisons:
        raise UsageError(
            f"{first_name} has none of the files of the others.",
            hint="Files are compared that have the same name, format and number of threads.",
        )
    return Report(
        command="edgekit compare",
        profiles=tuple(_named(item, name) for name, run in runs for item in run.profiles),
        comparisons=tuple(comparisons),
        drifts=tuple(replace(one, path=_under(name, one.path)) for name, run in runs for one in run.drifts),
        notes=(
            f"Runs made at different times: differences up to {SEQUENTIAL_FLOOR:.0%} are the machine's. "
            "edgekit compare FILE... on the files themselves shows smaller ones.",
            *dict.fromkeys(notes),
        ),
        devices=tuple(places.values()),
    )


def _partner(item: Profile, first: Report) -> Profile | None:
    """What a file is compared with."""
    same = [one for one in first.profiles if _key(one) == _key(item)]
    return next((one for one in same if one.device == item.device), same[0] if same else None)


def _key(item: Profile) -> tuple[str, str, int]:
    return Path(item.path).name, item.target, item.threads


def _named(item: Profile, name: str) -> Profile:
    """The profile under a name that says the run."""
    return replace(item, path=_under(name, item.path))


def _under(name: str, path: str) -> str:
    return str(Path(name) / Path(path).name)


def _refuse_others(
    first: tuple[str, Report], other: tuple[str, Report], pairs: Sequence[tuple[Profile | None, Profile]]
) -> None:
    """Figures of one device that were taken under two conditions say nothing about its files."""
    both = [
        {
            place.name: place.fingerprint
            for place in run.devices
            if any(one.device == place.name for one in run.profiles)
        }
        for _, run in (first, other)
    ]
    found: list[tuple[str, str, str]] = []
    for device in both[0].keys() & both[1].keys():
        mine, theirs = both[0][device], both[1][device]
        found += [(name, mine.get(name, "-"), theirs.get(name, "-")) for name in {**mine, **theirs}]
    for base, item in pairs:
        if base is not None and base.device == item.device:
            name = Path(item.path).name
            found.append((f"runtime of {name}", base.runtime, item.runtime))
            found.append((f"inputs of {name}", base.inputs_sha256[:12], item.inputs_sha256[:12]))
    differing = [f"{name}: {one} and {another}" for name, one, another in found if one != another]
    if differing:
        raise UsageError(
            f"{first[0]} and {other[0]} were not made under the same conditions. {'; '.join(differing)}.",
            hint="Measure the files again in one command: edgekit compare FILE...",
        )


def _compared(base: Profile, item: Profile, places: Mapping[str, Place]) -> Comparison:
    """A ratio of medians, with the widest interval that their intervals allow."""
    floor = max(SEQUENTIAL_FLOOR, _speed_change(base, item)) if base.device == item.device else SEQUENTIAL_FLOOR
    mine, theirs = (Side(one.path, one.threads, one.device, _emulated(places, one.device)) for one in (item, base))
    return judged(mine, theirs, of_medians(item, base), floor, same_rounds=False)


def _emulated(places: Mapping[str, Place], name: str) -> bool:
    return name in places and places[name].facts.emulated


def _speed_change(base: Profile, item: Profile) -> float:
    """By what share the processor itself was faster or slower, as the fixed computation says."""
    speeds = [[turn.sentinel_ns for turn in one.turns if turn.sentinel_ns] for one in (base, item)]
    if not all(speeds):
        return 0.0
    first, second = (statistics.median(one) for one in speeds)
    return max(first, second) / min(first, second) - 1
