"""What ``edgekit compare`` compares with, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import MeasurementError
from edgekit.subjects import Subject
from edgekit.types import Comparison, DeviceFacts, Measurement, Place, Profile

_FLOAT = "float32"
_INCONCLUSIVE = "inconclusive"

SEQUENTIAL_FLOOR = 0.12
"""Differences up to this share, between files that did not take turns, are the machine's: two copies of one model,
timed one after the other on a busy machine, came out up to 12 % apart in nine of ten trials."""

_FIELDS = ("ratio", "low", "high", "rounds")


@dataclass
class Versus:
    """The baseline, and its copy.

    Attributes:
        wanted: The baseline that the user asked for.
        baseline: It, once it is known.
        twin: The same file in one more process. What the two differ by is noise.
    """

    wanted: Path | None
    baseline: Subject | None = None
    twin: Subject | None = None

    def choose(self, subjects: Sequence[Subject]) -> Subject:
        """Find the baseline among the subjects, from what was read about their files.

        Returns:
            The copy of it to be measured too.

        Raises:
            MeasurementError: There is none that can be measured.
        """
        if self.wanted is not None:
            found = [one for one in subjects if one.file.path.absolute() == self.wanted.absolute()]
        else:
            well = [one for one in subjects if one.error is None]
            found = [one for one in well if one.file.facts.get("quantization") == _FLOAT] or well
        if not found or found[0].error is not None:
            error = found[0].error if found else None
            reason = "None of the files can be measured." if error is None else error.message
            raise MeasurementError(
                f"There is no baseline to compare with. {reason}",
                hint="Name one that runs with --baseline FILE.",
            )
        self.baseline = found[0]
        self.twin = Subject(found[0].file, found[0].threads, len(subjects))
        return self.twin

    def enough(self, subjects: Sequence[Subject], turns: Sequence[Sequence[Any]]) -> bool:
        """Whether every ratio is known well enough.

        Args:
            subjects: Those that are timed.
            turns: Of each, so far.
        """
        if self.baseline not in subjects or self.twin not in subjects:
            return False  # nothing will be known: the time given decides
        known = registry.function("profiles.pairs:precise")
        places = [subjects.index(one) for one in (self.baseline, self.twin)]
        return bool(known(turns, *places))

    def comparisons(self, subjects: Sequence[Subject], facts: DeviceFacts) -> list[Comparison]:
        """Every file that was measured, beside the baseline.

        Args:
            subjects: All files.
            facts: Of the device that they ran on.
        """
        ratio, floor_of = (registry.function(f"profiles.pairs:{name}") for name in ("ratio", "floor_of"))
        baseline, twin = self.baseline, self.twin
        assert baseline is not None and twin is not None  # noqa: S101 - chosen before anything was timed
        base = [] if baseline.error else baseline.raw["turns"]
        floor = None if twin.error else floor_of(ratio(twin.raw["turns"], base))
        found = []
        for one in subjects:
            if one is baseline or one.error is not None:
                continue
            timed = ratio(one.raw["turns"], base)
            mine = Side(str(one.file.path), one.threads, facts.name, facts.emulated)
            base_side = Side(str(baseline.file.path), baseline.threads, facts.name, facts.emulated)
            found.append(judged(mine, base_side, timed, floor))
        return found


@dataclass(frozen=True)
class Side:
    """One of two files that are compared.

    Attributes:
        path, threads: Of the file.
        device: That it ran on.
        emulated: Whether that is software.
    """

    path: str
    threads: int
    device: str = "host"
    emulated: bool = False


def judged(one: Side, baseline: Side, ratio: Any, floor: float | None, *, same_rounds: bool = True) -> Comparison:
    """What a ratio shows of a file.

    Args:
        one: The file.
        baseline: What it is compared with.
        ratio: A :class:`profiles.pairs.Ratio`, or ``None`` where there is none.
        floor: Differences up to this share are none; ``None`` where that is not known.
        same_rounds: Whether the two took turns.
    """
    verdict, reason = registry.function("profiles.pairs:verdict")(ratio, floor)
    if one.emulated or baseline.emulated:
        verdict, reason = _INCONCLUSIVE, "an emulated CPU, whose times mean nothing"
    measured = {} if ratio is None else {name: getattr(ratio, "value" if name == "ratio" else name) for name in _FIELDS}
    return Comparison(
        one.path,
        one.threads,
        baseline.path,
        baseline.threads,
        verdict,
        **measured,
        floor_ratio=floor,
        reason=reason,
        device=one.device,
        baseline_device=baseline.device,
        same_rounds=same_rounds,
    )


def across(profiles: Sequence[Profile], places: Sequence[Place]) -> list[Comparison]:
    """Files beside themselves on the first device.

    Two devices share no rounds, so these are ratios of medians, with the widest interval that theirs allow.

    Args:
        profiles: Of all devices.
        places: The devices.
    """
    emulated = {place.name: place.facts.emulated for place in places}
    first = places[0].name if places else ""
    base = {(item.path, item.threads): item for item in profiles if item.device == first}
    found = []
    for item in profiles:
        other = base.get((item.path, item.threads))
        if item.device != first and other is not None:
            mine, base_side = (Side(one.path, one.threads, one.device, emulated[one.device]) for one in (item, other))
            found.append(judged(mine, base_side, of_medians(item, other), SEQUENTIAL_FLOOR, same_rounds=False))
    return found


def of_medians(item: Profile, base: Profile) -> Any:
    """The ratio of two medians that were not taken in the same rounds (:class:`profiles.pairs.Ratio`).

    Args:
        item: A file.
        base: What it is compared with.
    """
    figures = ((_median(one), len(one.turns)) for one in (item, base))
    pairs = ((figure.value, figure.low, figure.high, rounds) for figure, rounds in figures)
    return registry.function("profiles.pairs:of_intervals")(*pairs)


def _median(item: Profile) -> Measurement:
    return next(one for one in item.measurements if one.metric == "latency_p50_ns")
