"""A report and its summary, joined file by file: what all parts of the page look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.drift_types import FileDrift
from edgekit.summary_types import Summary, Variant
from edgekit.types import Measurement, Profile, Report


@dataclass(frozen=True)
class Entry:
    """One variant with all that is known of it.

    Attributes:
        place: In the summary, from 0.
        profile: ``None`` where nothing was measured.
        drift: ``None`` where nothing was compared with a reference.
    """

    place: int
    variant: Variant
    profile: Profile | None
    drift: FileDrift | None

    def figure(self, metric: str) -> Measurement | None:
        """A figure that could be taken."""
        taken = self.profile.measurements if self.profile is not None else ()
        return next((one for one in taken if one.metric == metric and one.value is not None), None)


@dataclass(frozen=True)
class View:
    """What the page shows."""

    report: Report
    summary: Summary
    entries: tuple[Entry, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names, in the order of the variants."""
        return tuple(dict.fromkeys(one.variant.device for one in self.entries))

    def by_device(self) -> Iterator[tuple[str, list[Entry]]]:
        """Entries of each device whose times mean something, with words to put behind a title."""
        for name in self.devices:
            found = [one for one in self.entries if one.variant.device == name and not one.variant.emulated]
            if found:
                yield (f" on {name}" if len(self.devices) > 1 else ""), found


def view_of(report: Report, summary: Summary) -> View:
    """Join the two."""
    profiles = {(one.path, one.device, one.threads): one for one in report.profiles}
    drifts = {(one.path, one.device): one for one in report.drifts}
    entries = tuple(
        Entry(
            place,
            one,
            profiles.get((one.path, one.device, one.threads)),
            drifts.get((one.path, one.device)) or _elsewhere(report, one),
        )
        for place, one in enumerate(summary.variants)
    )
    return View(report, summary, entries)


def _elsewhere(report: Report, variant: Variant) -> FileDrift | None:
    """Drift of a file that was judged on one device only, and not of its outputs on this one."""
    return next((one for one in report.drifts if one.path == variant.path), None) if len(report.devices) < 2 else None
