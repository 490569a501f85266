"""Runs that were saved with ``--json``, compared with one another.

Files of two runs did not take turns, so what is left between them is what the machine did meanwhile. Two copies of one
model, timed one after the other on a busy machine, came out up to 12 % apart in nine of ten trials. So a difference
counts from there on alone, and only where the runs were made under the same conditions.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.paths import existing_file
from edgekit.types import SCHEMA_VERSION, Comparison, Measurement, Profile, Report, from_json
from edgekit.versus import judged

SEQUENTIAL_FLOOR = 0.12
"""As a share; see above."""

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
    """Compare the files of saved runs with those of the first run.

    Files belong together that have one name, target and number of threads.

    Args:
        paths: Two or more.

    Raises:
        UsageError: One is no saved run, or has another fingerprint than the first; what differs is named.
    """
    if len(paths) < 2:
        raise UsageError("One saved run alone cannot be compared.", hint="edgekit compare before.json after.json")
    runs = [load(path) for path in paths]
    for path, run in zip(paths[1:], runs[1:], strict=True):
        _refuse_others(runs[0], paths[0], run, path)
    comparisons, unpaired = [], []
    for path, run in zip(paths[1:], runs[1:], strict=True):
        for item in run.profiles:
            base = next((one for one in runs[0].profiles if _key(one) == _key(item)), None)
            if base is None:
                unpaired.append(f"{path.name}: {Path(item.path).name} is not in {paths[0].name}.")
            else:
                comparisons.append(_compared(_named(base, paths[0]), _named(item, path)))
    if not comparisons:
        raise UsageError(
            f"{paths[0]} has none of the files of the others.",
            hint="Files are compared that have the same name, format and number of threads.",
        )
    notes = (
        f"Runs made at different times: differences up to {SEQUENTIAL_FLOOR:.0%} are the machine's. "
        "edgekit compare FILE... on the files themselves shows smaller ones.",
        *unpaired,
    )
    profiles = tuple(_named(item, path) for path, run in zip(paths, runs, strict=True) for item in run.profiles)
    return Report(
        command="edgekit compare",
        profiles=profiles,
        comparisons=tuple(comparisons),
        notes=notes,
        devices=runs[0].devices,
    )


def _key(item: Profile) -> tuple[str, str, int]:
    return Path(item.path).name, item.target, item.threads


def _named(item: Profile, path: Path) -> Profile:
    """The profile under a name that says the run."""
    return replace(item, path=str(Path(path.stem) / Path(item.path).name))


def _refuse_others(first: Report, first_path: Path, other: Report, path: Path) -> None:
    mine, theirs = (dict(run.devices[0].fingerprint) if run.devices else {} for run in (first, other))
    pairs = [(name, mine.get(name, "-"), theirs.get(name, "-")) for name in {**mine, **theirs}]
    for item in other.profiles:
        for base in (one for one in first.profiles if _key(one) == _key(item)):
            name = Path(item.path).name
            pairs.append((f"runtime of {name}", base.runtime, item.runtime))
            pairs.append((f"inputs of {name}", base.inputs_sha256[:12], item.inputs_sha256[:12]))
    differing = [f"{name}: {one} and {another}" for name, one, another in pairs if one != another]
    if differing:
        raise UsageError(
            f"{first_path} and {path} were not made under the same conditions. {'; '.join(differing)}.",
            hint="Measure the files again in one command: edgekit compare FILE...",
        )


def _compared(base: Profile, item: Profile) -> Comparison:
    """A ratio of medians, with the widest interval that their intervals allow."""
    from_intervals = registry.function("profiles.pairs:of_intervals")
    ratio = from_intervals(
        *((figure.value, figure.low, figure.high, len(one.turns)) for one in (item, base) for figure in [_median(one)])
    )
    floor = max(SEQUENTIAL_FLOOR, _speed_change(base, item))
    return judged(item.path, item.threads, base.path, base.threads, ratio, floor)


def _median(item: Profile) -> Measurement:
    return next(one for one in item.measurements if one.metric == "latency_p50_ns")


def _speed_change(base: Profile, item: Profile) -> float:
    """By what share the processor itself was faster or slower, as the fixed computation says."""
    speeds = [[turn.sentinel_ns for turn in one.turns if turn.sentinel_ns] for one in (base, item)]
    if not all(speeds):
        return 0.0
    first, second = (statistics.median(one) for one in speeds)
    return max(first, second) / min(first, second) - 1
