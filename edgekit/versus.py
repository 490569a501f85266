"""What ``edgekit compare`` compares with, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import MeasurementError
from edgekit.subjects import Subject
from edgekit.types import Comparison

_FLOAT = "float32"
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

    def comparisons(self, subjects: Sequence[Subject]) -> list[Comparison]:
        """Every file that was measured, beside the baseline."""
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
            path, threads = str(baseline.file.path), baseline.threads
            found.append(judged(str(one.file.path), one.threads, path, threads, timed, floor))
        return found


def judged(
    path: str, threads: int, baseline: str, baseline_threads: int, ratio: Any, floor: float | None
) -> Comparison:
    """What a ratio shows of a file.

    Args:
        path: Of the file.
        threads: Of the file.
        baseline: Path of the baseline.
        baseline_threads: Of the baseline.
        ratio: A :class:`profiles.pairs.Ratio`, or ``None`` where there is none.
        floor: Differences up to this share are none; ``None`` where that is not known.
    """
    verdict, reason = registry.function("profiles.pairs:verdict")(ratio, floor)
    measured = {} if ratio is None else {name: getattr(ratio, "value" if name == "ratio" else name) for name in _FIELDS}
    return Comparison(path, threads, baseline, baseline_threads, verdict, **measured, floor_ratio=floor, reason=reason)
