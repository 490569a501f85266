"""``edgekit convert``: one export, many files, each proven before it gets its name."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit import data as data_files
from edgekit import registry
from edgekit.errors import DriftError, EdgekitError, MeasurementError, UnsupportedError, UsageError
from edgekit.jobs import Job, Workers, wait_for_any
from edgekit.paths import existing_file
from edgekit.plugins import Edge, Node, Source, Target
from edgekit.progress import Progress, Silent
from edgekit.publish import Destination, destinations, publish, sha256
from edgekit.scratch import scratch_folder
from edgekit.source import OpenedSource, SourceOptions, identify_source, open_source
from edgekit.types import Artifact, Failure, FloatOperator, Report, Scheme, Verification, to_json
from edgekit.verify import verify

VERIFY_SAMPLES = 128
RANDOM_CALIBRATION_SAMPLES = 64


@dataclass(frozen=True)
class ConvertOptions:
    """What to do with the source.

    Attributes:
        quant: Names of schemes.
        data: ``--data``, as typed; ``random`` for random calibration.
        output: A folder, or a file name for one artifact.
        force: Replace existing files.
        check: Run and compare every file.
        min_sqnr_db: In place of each scheme's own limit.
        source: How to read the source.
    """

    quant: tuple[str, ...] = ("float32",)
    data: str | None = None
    output: Path | None = None
    force: bool = False
    check: bool = True
    min_sqnr_db: float | None = None
    source: SourceOptions = field(default_factory=SourceOptions)


@dataclass
class _Wanted:
    """One artifact on its way."""

    target: Target
    scheme: Scheme
    edges: list[Edge]
    destination: Destination | None = None


def convert(
    model: Path | str,
    to: Sequence[str],
    options: ConvertOptions | None = None,
    progress: Progress | None = None,
) -> Report:
    """Convert a model to every target in every scheme asked for.

    Args:
        model: The source file.
        to: Names of targets.
        options: Schemes, data, output and the rest.
        progress: Told what goes on.

    Returns:
        Artifacts that were made and proven, and failures; one does not stop the others.

    Raises:
        EdgekitError: Nothing could be started: the source or the request is at fault.
    """
    options, progress = options or ConvertOptions(), progress or Silent()
    registry.check_no_shadow()
    path = existing_file(model)
    plugin, _ = identify_source(path)
    wanted, failures = _plan(plugin, to, _schemes(options, progress), progress)
    targets = [(item.target.name, item.scheme.name, item.target.suffix) for item in wanted]
    keep = [path, *([Path(options.data)] if options.data else [])]
    places = destinations(path, targets, options.output, options.force, keep)
    for item, place in zip(wanted, places, strict=True):
        item.destination = place
    with scratch_folder() as scratch, Workers(scratch, progress=progress) as workers:
        opened = _open(path, workers, options, wanted)
        run = _Run(opened, wanted, options, workers, progress)
        run.finish_all()
    return Report(
        command="convert",
        source=str(model),
        artifacts=tuple(artifact for artifact in run.artifacts if artifact is not None),
        failures=(*failures, *run.failures),
        notes=opened.notes,
    )


def _schemes(options: ConvertOptions, progress: Progress) -> list[Scheme]:
    """The schemes asked for; int8 without data becomes int8-dynamic, and that is said."""
    known = registry.schemes()
    chosen: list[Scheme] = []
    for name in options.quant or ("float32",):
        if name not in known:
            raise UsageError(f"--quant {name}: no such scheme.", hint=f"There are {', '.join(known)}.")
        scheme = known[name]
        if scheme.needs_calibration and options.data is None:
            progress.say(
                f"--{name} without --data makes int8-dynamic: 8-bit weights, activations quantized at run time. "
                "For static int8 add --data FILE with 100 or more real, preprocessed samples."
            )
            scheme = known["int8-dynamic"]
        if scheme not in chosen:
            chosen.append(scheme)
    if options.data == data_files.RANDOM and any(scheme.needs_calibration for scheme in chosen):
        progress.say(
            "WARNING: --data random. The int8 ranges will come from random numbers, not from your data. "
            "Such a file is for size and speed alone; its accuracy means nothing."
        )
    return chosen


def _plan(
    source: Source, to: Sequence[str], schemes: list[Scheme], progress: Progress
) -> tuple[list[_Wanted], list[Failure]]:
    """A way for each artifact; what has none, or lacks a package, is a failure.

    Raises:
        EdgekitError: The first failure, when nothing is left to do.
    """
    plan = registry.function("converters.graph:plan")
    wanted: list[_Wanted] = []
    failures: list[Failure] = []
    first: EdgekitError | None = None
    for name in dict.fromkeys(to):
        target = registry.targets()[name]
        for scheme in schemes:
            try:
                edges = plan(Node(source.form), Node(target.form, scheme.name), registry.steps())
                if edges is None:
                    raise _impossible(source, target, scheme)
                for edge in edges:
                    registry.require(edge.step.packages, edge.step.extra, f"Converting to {target.title}")
                runtime = registry.runtimes()[target.runtime]
                registry.require(runtime.PACKAGES, runtime.EXTRA, f"Checking {target.title} files")
                wanted.append(_Wanted(target, scheme, edges))
            except EdgekitError as error:
                first = first or error
                failures.append(_failure(f"{name} {scheme.name}", error))
    if not wanted and first is not None:
        raise first
    return wanted, failures


def _impossible(source: Source, target: Target, scheme: Scheme) -> UnsupportedError:
    """Names the nearest schemes that this target can do."""
    plan = registry.function("converters.graph:plan")
    possible = [
        other
        for other in registry.schemes().values()
        if plan(Node(source.form), Node(target.form, other.name), registry.steps()) is not None
    ]
    nearest = sorted(possible, key=lambda other: abs(other.weight_bits - scheme.weight_bits))
    if not nearest:
        return UnsupportedError(f"There is no way from {source.title} to {target.title}.", hint="edgekit list")
    names = ", ".join(other.name for other in nearest)
    return UnsupportedError(
        f"{scheme.name} is not possible on {target.title}.",
        hint=f"Nearest first: --quant {names}   (edgekit list)",
    )


def _open(path: Path, workers: Workers, options: ConvertOptions, wanted: list[_Wanted]) -> OpenedSource:
    """Read the source while the frameworks of the steps are imported beside it."""
    random = options.data == data_files.RANDOM
    dataset = None
    if options.data is not None and not random:
        dataset = data_files.load(options.data, workers.scratch, workers)
    for preload in {edge.step.preload for item in wanted for edge in item.edges}:
        workers.warm_up(preload)
    return open_source(
        path,
        workers,
        options=options.source,
        data=dataset,
        random_calibration=RANDOM_CALIBRATION_SAMPLES if random else 0,
        samples=VERIFY_SAMPLES,
    )


class _Run:
    """Walks the plans of all artifacts; a form that several need is made once."""

    def __init__(
        self,
        opened: OpenedSource,
        wanted: list[_Wanted],
        options: ConvertOptions,
        workers: Workers,
        progress: Progress,
    ) -> None:
        self.opened = opened
        self.wanted = wanted
        self.options = options
        self.workers = workers
        self.progress = progress
        self.results: dict[Node, dict[str, Any]] = {}  # of the steps that made them
        self.planned: dict[Node, Path] = {}
        self.files: dict[Node, Path] = {}  # those of planned that are made
        self.broken: dict[Node, EdgekitError] = {}
        self.artifacts: list[Artifact | None] = [None] * len(wanted)
        self.failures: list[Failure] = []

    def finish_all(self) -> None:
        """Run steps as their inputs are there; check and publish each artifact as it is made."""
        running: dict[Future[Any], Edge] = {}
        checking: dict[Future[Any], int] = {}
        todo = {edge.target: edge for item in self.wanted for edge in item.edges}
        unchecked = set(range(len(self.wanted)))
        while True:
            for node, edge in list(todo.items()):
                if edge.source in self.broken:
                    self.broken[node] = self.broken[edge.source]
                    del todo[node]
                elif edge.source.form == self.opened.form or edge.source in self.files:
                    running[self._start(edge)] = edge
                    del todo[node]
            for index in sorted(unchecked):
                last = self.wanted[index].edges[-1].target
                if last in self.files:
                    checking[self.workers.background(self._check_and_publish, index)] = index
                elif last in self.broken:
                    self._fail(index, self.broken[last])
                else:
                    continue
                unchecked.discard(index)
            if not running and not checking:
                return
            for future in wait_for_any([*running, *checking]):
                if future in running:
                    self._step_done(running.pop(future), future)
                else:
                    self._check_done(checking.pop(future), future)

    def _start(self, edge: Edge) -> Future[Any]:
        suffix = next(target.suffix for target in registry.targets().values() if target.form == edge.target.form)
        folder = self.workers.scratch / f"made-{edge.target.scheme}{suffix}"
        folder.mkdir()
        made = self.planned[edge.target] = folder / f"{self.opened.path.stem}.{edge.target.scheme}{suffix}"
        source = self.files.get(edge.source, self.opened.program)
        calibrated = registry.schemes()[edge.target.scheme].needs_calibration and self.opened.calibration
        arguments = {
            "source": str(source),
            "output": str(made),
            "scheme": edge.target.scheme,
            "signature": to_json(self.opened.signature),
            "calibration": str(self.opened.calibration) if calibrated else None,
        }
        job = Job(
            f"{made.name}: {edge.step.name}",
            edge.step.entry,
            arguments,
            edge.step.preload,
            self.options.source.timeout_s,
        )
        return self.workers.submit(job)

    def _step_done(self, edge: Edge, future: Future[Any]) -> None:
        try:
            self.results[edge.target] = future.result()
        except EdgekitError as error:
            self.broken[edge.target] = error
            return
        self.files[edge.target] = self.planned[edge.target]

    def _check_and_publish(self, index: int) -> Artifact:
        """Verify one made file and move it to its final name; runs beside other steps."""
        item = self.wanted[index]
        made = self.files[item.edges[-1].target]
        assert item.destination is not None  # noqa: S101 - set before the run
        limit = item.scheme.min_sqnr_db if self.options.min_sqnr_db is None else self.options.min_sqnr_db
        results = [self.results[edge.target] for edge in item.edges]
        undelegated = tuple(FloatOperator(**found) for found in results[-1]["undelegated"])
        signature = self.opened.signature
        if self.options.check:
            label = f"{made.name}: verify"
            scratch = made.parent / "check"
            scratch.mkdir()
            self.progress.start(label)
            try:
                verdict, signature, left = verify(
                    made, item.target, self.opened, limit, scratch, self.options.source.timeout_s, self.workers
                )
            except MeasurementError as error:
                # The scratch folder is gone when a user reads this.
                error.message = error.message.replace(f"{made.parent}/", "")
                raise
            finally:
                self.progress.end(label)
            undelegated = undelegated or left
            if verdict.status == "failed":
                raise _drifted(made.name, verdict, self.opened)
        else:
            verdict = Verification("skipped", "--no-verify", limit)
        artifact = Artifact(
            path=str(item.destination.path),
            target=item.target.name,
            scheme=item.scheme.name,
            size_bytes=made.stat().st_size,
            sha256=sha256(made),
            signature=signature,
            verification=verdict,
            stayed_float=tuple(FloatOperator(**found) for found in results[-1]["stayed_float"]),
            undelegated=undelegated,
            notes=(*self.opened.notes, *(note for result in results for note in result["notes"])),
            tools=_versions(name for result in results for name in result["packages"]),
            steps=tuple(edge.step.name for edge in item.edges),
            command=_command(item, self.opened, self.options),
        )
        source = {"path": str(self.opened.path), "kind": self.opened.kind, "sha256": sha256(self.opened.path)}
        publish(made, item.destination, artifact, source)
        return artifact

    def _check_done(self, index: int, future: Future[Any]) -> None:
        try:
            self.artifacts[index] = future.result()
        except EdgekitError as error:
            self._fail(index, error)

    def _fail(self, index: int, error: EdgekitError) -> None:
        item = self.wanted[index]
        self.failures.append(_failure(f"{item.target.name} {item.scheme.name}", error))


def _drifted(name: str, verdict: Verification, opened: OpenedSource) -> DriftError:
    found = "; ".join(f"output {drift.output!r}: {drift.finding}" for drift in verdict.outputs if drift.finding)
    hint = "--min-sqnr DB sets another limit, --no-verify hands the file over unchecked."
    if "nothing can be proven" in found:
        hint = "Give real samples with --data FILE, or --no-verify to take the file unchecked."
    elif opened.random_inputs:
        hint = "It was checked on random inputs; real ones (--data FILE) are the better judge. " + hint
    return DriftError(f"{name} was not handed over: {found}. Inputs: {verdict.inputs}.", hint=hint)


def _failure(what: str, error: EdgekitError) -> Failure:
    return Failure(what, type(error).__name__, error.exit_code, error.message, error.hint, error.log)


def _versions(packages: Any) -> dict[str, str]:
    found = {name: version(name) for name in sorted(set(packages))}
    return {"edgekit": version("edgekit"), "python": platform.python_version(), **found}


def _command(item: _Wanted, opened: OpenedSource, options: ConvertOptions) -> str:
    """The command that makes this artifact alone, again."""
    words = ["edgekit", "convert", str(opened.path), "--to", item.target.name, "--quant", item.scheme.name]
    source = options.source
    pairs: list[tuple[str, str | None]] = [("--data", options.data), ("--model", source.model_code)]
    pairs += [("--input", value) for value in source.inputs]
    if options.min_sqnr_db is not None:
        pairs.append(("--min-sqnr", f"{options.min_sqnr_db:g}"))
    for option, value in pairs:
        words += [option, value] if value is not None else []
    words += ["--trust"] * source.trust + ["--no-verify"] * (not options.check)
    return shlex.join([*words, "--output", str(item.destination.path if item.destination else "."), "--force"])
