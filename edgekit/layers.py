"""Where drift begins: the tensors inside a file against those of its float counterpart, on a few samples.

A job writes a copy of each file in which inner tensors are outputs (:class:`edgekit.plugins.Tap`); the ordinary agent
runs both copies and the file itself. Inner tensors are large, so the samples go through in groups, and what a group
left is deleted before the next one runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import feeds, registry
from edgekit.device_plugins import Session
from edgekit.drift_types import LayersResult
from edgekit.errors import MeasurementError, UnsupportedError
from edgekit.feeds import Feeds
from edgekit.jobs import DEFAULT_TIMEOUT_S, Job, Workers
from edgekit.plugins import Tap, Target

MOST_SAMPLES = 16
"""Samples that layers are compared on."""

_GROUP_BYTES = 64_000_000
_FLOAT_BYTES = 4
_HALF_BITS = 16


def layers(
    file: Path,
    float_file: Path,
    target: Target,
    samples: Feeds,
    *,
    workers: Workers,
    scratch: Path,
    reference: str = "",
    scheme: str = "",
    most_samples: int = MOST_SAMPLES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> LayersResult:
    """Compare a file with its float counterpart layer by layer.

    Args:
        file: To look into; quantized or not.
        float_file: Of the same format, made from the same source.
        target: The format of both.
        samples: To run on; evenly spread ones are taken where there are more than ``most_samples``.
        workers: Runs the jobs, and ends the agents when they are closed.
        scratch: An existing folder; nothing is left in it.
        reference: What ``float_file`` is, in words; its name when empty.
        scheme: Of ``file``; where it is not known, the file counts as quantized when its tensors have scales.
        most_samples: How many samples at most.
        timeout_s: Time limit of each job and request.

    Raises:
        UnsupportedError: Files of this format cannot be looked into.
        MissingDependencyError: What that needs is not installed.
        MeasurementError: A tapped file does not run, or the two have nothing in common.
        EdgekitError: Whatever the jobs raised.
    """
    tap = registry.taps().get(target.form)
    if tap is None:
        raise UnsupportedError(
            f"{file}: edgekit cannot look into {target.title} files.", hint="Leave --layers out for this file."
        )
    registry.require(tap.packages, tap.extra, f"Looking into {file.name}")
    folder = scratch / f"layers-{file.name}"
    folder.mkdir()
    try:
        tapped = _Tapped.made(file, tap, folder / f"file{target.suffix}", True, workers, timeout_s)
        other = _Tapped.made(float_file, tap, folder / f"float{target.suffix}", False, workers, timeout_s)
        walk = _Walk(file, tapped, other, target, folder, timeout_s)
        chosen = _some(samples, most_samples)
        walk.run(chosen, workers)
        found = walk.result(reference or float_file.name, _is_coarse(scheme))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.count == samples.count:
        return found
    words = f"Layers: compared on {chosen.count} of the {samples.count} samples, evenly spread."
    return replace(found, notes=(words, *found.notes))


@dataclass(frozen=True)
class _Tapped:
    """A copy of a file that shows its inner tensors."""

    path: Path
    rows: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...]

    @classmethod
    def made(cls, file: Path, tap: Tap, into: Path, exact: bool, workers: Workers, timeout_s: float) -> _Tapped:
        """Write it, in a job."""
        arguments = {"path": str(file.absolute()), "into": str(into), "exact": exact}
        job = Job(f"{file.name}: show its inner tensors", tap.entry, arguments, tap.preload, timeout_s)
        found = workers.call(job)
        return cls(into, found["taps"], tuple(found["notes"]))

    @property
    def sample_bytes(self) -> int:
        """What its tensors take on disk for one sample, as floats."""
        total = 0
        for row in self.rows:
            elements = 1
            for size in row["shape"]:
                elements *= size or 1
            total += elements * _FLOAT_BYTES
        return total


class _Walk:
    """Runs the three files side by side."""

    def __init__(
        self, file: Path, tapped: _Tapped, other: _Tapped, target: Target, folder: Path, timeout_s: float
    ) -> None:
        self.file = file
        self.tapped = tapped
        self.other = other
        self.target = target
        self.folder = folder
        self.timeout_s = timeout_s
        self.comparison = registry.function("profiles.layers.comparing:Comparison")(tapped.rows, other.rows)
        self.final = registry.function("profiles.layers.figures:Running")()

    def run(self, samples: Feeds, workers: Workers) -> None:
        """Run all samples."""
        device = registry.host()
        paths = (self.tapped.path, self.other.path, self.file)
        agents = self.folder / "agents"
        agents.mkdir()

        def open_one(path: Path) -> Session:
            return device.open_session(path, self.target.name, 1, None, agents, self.timeout_s)

        with ExitStack() as stack:
            sessions = [stack.enter_context(open_one(path)) for path in paths]
            for session in sessions:
                stack.enter_context(workers.ended_by_close(session.close))
            for group in self._groups(samples):
                self._add(group, sessions)

    def _groups(self, samples: Feeds) -> Iterator[Feeds]:
        import numpy as np

        size = max(1, _GROUP_BYTES // max(1, self.tapped.sample_bytes + self.other.sample_bytes))
        places = np.arange(samples.count)
        for start in range(0, samples.count, size):
            yield samples.take(places[start : start + size])

    def _add(self, group: Feeds, sessions: Sequence[Session]) -> None:
        """Run one group, take its outputs in, and delete them."""
        folder = self.folder / "group"
        given = feeds.write(folder / "feeds", group)
        names = ("tapped", "float", "plain")
        tapped, other, plain = (
            feeds.read(session.outputs(given, folder / name)) for session, name in zip(sessions, names, strict=True)
        )
        self.comparison.add(tapped, other)
        for name, array in plain.arrays.items():
            for index in range(plain.count):
                self.final.add(array[index].astype("float64"), tapped.arrays[name][index].astype("float64"))
        del tapped, other, plain
        shutil.rmtree(folder)

    def result(self, reference: str, quantized: bool | None) -> LayersResult:
        """What was found.

        Raises:
            MeasurementError: The two files have nothing in common.
        """
        found, first = self.comparison.result(quantized)
        if not found:
            raise MeasurementError(
                f"{self.file}: none of its {len(self.tapped.rows)} inner tensors has a counterpart in {reference}.",
                hint="Give the float file that it was made from; it must be of the same format.",
            )
        worst = registry.function("profiles.layers.finding:worst")(found)
        debug_db = self.final.sqnr_db
        notes = list(dict.fromkeys(self.tapped.notes))
        if debug_db is not None:
            notes.append(
                "With its inner tensors as outputs the file computes something else than without: "
                f"the final outputs differ by {debug_db:.1f} dB SQNR."
            )
        return LayersResult(
            reference=reference,
            samples=self.comparison.samples,
            layers=tuple(found),
            first=first,
            worst=worst,
            debug_db=debug_db,
            words=registry.function("profiles.layers.words:said")(found, first),
            unmatched=self.comparison.unmatched(),
            notes=tuple(notes),
        )


def _is_coarse(scheme: str) -> bool | None:
    """Whether a scheme stores weights or activations in few bits; ``None`` for one that is not known."""
    known = registry.schemes().get(scheme)
    return None if known is None else min(known.weight_bits, known.activation_bits) < _HALF_BITS


def _some(samples: Feeds, most: int) -> Feeds:
    """Evenly spread samples, or all where there are no more."""
    import numpy as np

    if samples.count <= most:
        return samples
    return samples.take(np.unique(np.linspace(0, samples.count - 1, most).astype(np.intp)))
