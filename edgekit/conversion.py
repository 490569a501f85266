"""The walk itself: steps as their inputs are there, calibration before the steps that need it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import calibration, registry
from edgekit.bridging import step_job
from edgekit.data_options import DataOptions
from edgekit.errors import DriftError, EdgekitError
from edgekit.jobs import Job, Workers, wait_for_any
from edgekit.options import SourceOptions
from edgekit.planning import Wanted, failure
from edgekit.plugins import Edge, Node
from edgekit.progress import Progress
from edgekit.proving import Made, Proof
from edgekit.source import OpenedSource
from edgekit.types import Artifact, CalibrationFacts, Failure, OptimizeStep, Quantization, to_json


@dataclass(frozen=True)
class ConversionOptions:
    """What holds for all files of a command; see :class:`edgekit.convert.ConvertOptions`."""

    data: str | None
    data_options: DataOptions
    calibration_samples: int
    check: bool
    min_sqnr_db: float | None
    source: SourceOptions
    allow_select_ops: bool = False
    keep_rounding: bool = False


@dataclass(frozen=True)
class _Ranged:
    """A form whose tensors need ranges, with the percentile that goes into them."""

    node: Node
    percentile: float


class Conversion:
    """Walks the plans of all artifacts of one program; a form that several need is made once.

    Args:
        opened: The source.
        wanted: What to make of it.
        options: Of the command.
        workers: Run the jobs.
        progress: Told what goes on.
        optimized: What was tried on the program before.

    Attributes:
        artifacts: Final path to what was made and proven.
        failures: What was not.
    """

    def __init__(
        self,
        opened: OpenedSource,
        wanted: Sequence[Wanted],
        options: ConversionOptions,
        workers: Workers,
        progress: Progress,
        optimized: tuple[OptimizeStep, ...] = (),
    ) -> None:
        self.opened = opened
        self.wanted = wanted
        self.options = options
        self.workers = workers
        self.proof = Proof(opened, options, workers, progress)
        self.optimized = optimized
        self.results: dict[Node, dict[str, Any]] = {}  # of the steps that made them
        self.planned: dict[Node, Path] = {}
        self.files: dict[Node, Path] = {}  # those of planned that are made
        self.broken: dict[Node, EdgekitError] = {}
        self.places: dict[_Ranged, calibration.RangesPlace] = {}
        self.ranges: dict[_Ranged, Path] = {}  # those of places that are there
        # All layers of a float file are float already, so rules are not about it.
        self.settings = {item.last: item.recipe.quantization for item in wanted if item.quantized}
        self.artifacts: dict[Path, Artifact] = {}
        self.failures: list[Failure] = []
        suspicion = self._suspicion()
        if suspicion is not None:
            self.broken = {item.last: suspicion for item in wanted if item.calibrated}

    def finish_all(self) -> None:
        """Run steps as their inputs are there; check and publish each artifact as it is made."""
        stepping: dict[Future[Any], Edge] = {}
        calibrating: dict[Future[Any], tuple[_Ranged, Path]] = {}
        checking: dict[Future[Any], int] = {}
        todo = {edge.target: edge for item in self.wanted for edge in item.edges if item.last not in self.broken}
        unchecked = set(range(len(self.wanted)))
        while True:
            for ranged in {self._ranged(edge) for edge in todo.values() if self._has(edge.source)}:
                if ranged is not None and ranged not in self.places:
                    calibrating |= self._calibrate(ranged)
            for node, edge in list(todo.items()):
                if edge.source in self.broken:
                    self.broken[node] = self.broken[edge.source]
                if node not in self.broken:
                    if not self._ready(edge):
                        continue
                    stepping[self._start(edge)] = edge
                del todo[node]
            for index in sorted(unchecked):
                last = self.wanted[index].last
                if last in self.files:
                    checking[self.workers.background(self.proof.check_and_publish, self._made(index))] = index
                elif last in self.broken:
                    self._fail(index, self.broken[last])
                else:
                    continue
                unchecked.discard(index)
            if not stepping and not checking and not calibrating:
                return
            for future in wait_for_any([*stepping, *checking, *calibrating]):
                if future in stepping:
                    self._step_done(stepping.pop(future), future)
                elif future in calibrating:
                    self._calibrated(*calibrating.pop(future), future, todo)
                else:
                    self._check_done(checking.pop(future), future)

    def _has(self, node: Node) -> bool:
        return node == self.opened.node or node in self.files

    def _ready(self, edge: Edge) -> bool:
        ranged = self._ranged(edge)
        return self._has(edge.source) and (ranged is None or ranged in self.ranges)

    def _ranged(self, edge: Edge) -> _Ranged | None:
        """What has to be calibrated before a step; ``None`` for steps that need no ranges."""
        schemes = registry.schemes()
        before, after = schemes[edge.source.scheme], schemes[edge.target.scheme]
        if not after.needs_calibration or before.needs_calibration:
            return None
        parse = registry.function("converters.calibration.methods:parse")
        return _Ranged(edge.source, parse(self._settings(edge).method)[1])

    def _settings(self, edge: Edge) -> Quantization:
        return self.settings.get(edge.target, Quantization())

    def _suspicion(self) -> DriftError | None:
        """The error for calibration data that the model was not made for."""
        if not self.opened.suspicion or not self.options.check:
            return None
        return DriftError(
            f"Calibrating on {self.options.data} would make a file that is wrong on real data: {self.opened.suspicion}",
            hint="Preprocess the samples as in training. --no-verify takes them as they are.",
        )

    def _calibrate(self, ranged: _Ranged) -> dict[Future[Any], tuple[_Ranged, Path]]:
        """Start to take the ranges of a form; nothing where they are known from an earlier command."""
        form = ranged.node.form
        plugin = registry.calibrations()[form]
        registry.require(plugin.packages, plugin.extra, f"Calibrating {form}")
        place = calibration.place(self.opened, plugin, ranged.percentile)
        self.places[ranged] = place
        if place.reused:
            self.ranges[ranged] = place.path
            return {}
        made = self._folder("ranges") / place.path.name
        arguments = {
            "source": str(self.files.get(ranged.node, self.opened.program)),
            "output": str(made),
            "feeds": str(self.opened.calibration),
            "percentile": ranged.percentile,
        }
        label = f"{self.opened.path.stem}: calibrate {form}"
        job = Job(label, plugin.entry, arguments, plugin.preload, self.options.source.timeout_s)
        return {self.workers.submit(job): (ranged, made)}

    def _calibrated(self, ranged: _Ranged, made: Path, future: Future[Any], todo: dict[Node, Edge]) -> None:
        try:
            future.result()
        except EdgekitError as error:
            self.broken |= {target: error for target, edge in todo.items() if self._ranged(edge) == ranged}
            return
        self.ranges[ranged] = self.places[ranged].keep(made)

    def _folder(self, what: str) -> Path:
        """A new one in the scratch folder; two programs of one command may make files of the same name."""
        number = sum(1 for _ in self.workers.scratch.glob("made-*"))
        folder = self.workers.scratch / f"made-{number}-{what}"
        folder.mkdir()
        return folder

    def _start(self, edge: Edge) -> Future[Any]:
        suffixes = {target.form: target.suffix for target in registry.targets().values()}
        suffix = suffixes.get(edge.target.form, f".{edge.target.form}")
        name = f"{self.opened.path.stem}.{edge.target.scheme}{suffix}"
        made = self.planned[edge.target] = self._folder(edge.target.scheme + suffix) / name
        ranged = self._ranged(edge)
        files = {
            "source": str(self.files.get(edge.source, self.opened.program)),
            "output": str(made),
            "signature": to_json(self.opened.signature),
        }
        job = step_job(
            name,
            edge,
            files,
            vars(self.options),
            self.options.source.timeout_s,
            ranges=None if ranged is None else str(self.ranges[ranged]),
            settings=self._settings(edge),
        )
        return self.workers.submit(job)

    def _step_done(self, edge: Edge, future: Future[Any]) -> None:
        try:
            self.results[edge.target] = future.result()
        except EdgekitError as error:
            self.broken[edge.target] = error
            return
        self.files[edge.target] = self.planned[edge.target]

    def _made(self, index: int) -> Made:
        item = self.wanted[index]
        return Made(
            wanted=item,
            file=self.files[item.last],
            results=tuple(self.results[edge.target] for edge in item.edges),
            calibration=self._calibration_facts(item),
            optimized=self.optimized,
        )

    def _calibration_facts(self, item: Wanted) -> CalibrationFacts | None:
        for edge in item.edges:
            ranged = self._ranged(edge)
            if ranged is not None:
                return self.places[ranged].facts(self.ranges[ranged], self._settings(edge).method)
        return None

    def _check_done(self, index: int, future: Future[Artifact]) -> None:
        try:
            artifact = future.result()
        except EdgekitError as error:
            self._fail(index, error)
            return
        self.artifacts[Path(artifact.path)] = artifact

    def _fail(self, index: int, error: EdgekitError) -> None:
        item = self.wanted[index]
        self.failures.append(failure(f"{item.target.name} {item.scheme.name}", error))
