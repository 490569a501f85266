"""From a made file to an artifact: run against the source, explained where it fails, and only then published."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import bridging, causes, registry
from edgekit.errors import DriftError, EdgekitError, MeasurementError
from edgekit.jobs import Job
from edgekit.planning import OPTIMIZED_FORM, Wanted
from edgekit.publish import publish, sha256
from edgekit.types import Artifact, CalibrationFacts, FloatOperator, OptimizeStep, Signature, Verification, to_json
from edgekit.verify import verify

if TYPE_CHECKING:
    from edgekit.conversion import ConversionOptions
    from edgekit.jobs import Workers
    from edgekit.progress import Progress
    from edgekit.source import OpenedSource


@dataclass(frozen=True)
class Made:
    """A file that the steps have made.

    Attributes:
        wanted: What it is.
        file: In the scratch folder.
        results: Of its steps (:class:`converters.graph.StepResult`).
        calibration: Where its ranges came from.
        optimized: What was tried on its program before.
    """

    wanted: Wanted
    file: Path
    results: tuple[dict[str, Any], ...]
    calibration: CalibrationFacts | None
    optimized: tuple[OptimizeStep, ...]


class Proof:
    """Checks and publishes the files of one program.

    Args:
        opened: The source.
        options: Of the command.
        workers: Run what needs a framework.
        progress: Told what goes on.
    """

    def __init__(self, opened: OpenedSource, options: ConversionOptions, workers: Workers, progress: Progress) -> None:
        self.opened = opened
        self.options = options
        self.workers = workers
        self.progress = progress

    def check_and_publish(self, made: Made) -> Artifact:
        """Verify one made file and move it to its final name; runs beside other steps.

        Raises:
            DriftError: It computes something else than its source.
            MeasurementError: Its runtime cannot run it.
            UsageError: It cannot be written.
        """
        wanted, last = made.wanted, made.results[-1]
        assert wanted.destination is not None  # noqa: S101 - set before the run
        own = wanted.scheme.min_sqnr_db
        if self.opened.quantized:
            # Its own outputs are rounded to 8 bits; what computes more exactly cannot be closer to them than that.
            own = min(own, registry.schemes()["int8"].min_sqnr_db)
        limit = own if self.options.min_sqnr_db is None else self.options.min_sqnr_db
        undelegated = tuple(FloatOperator(**found) for found in last["undelegated"])
        signature = self.opened.signature
        if self.options.check:
            verdict, signature, left = self._verify(made, limit)
            undelegated = undelegated or left
            if verdict.status == "failed":
                raise self._drifted(made, verdict)
        else:
            verdict = Verification("skipped", "--no-verify", limit)
        artifact = Artifact(
            path=str(wanted.destination.path),
            target=wanted.target.name,
            scheme=wanted.scheme.name,
            size_bytes=made.file.stat().st_size,
            sha256=sha256(made.file),
            signature=signature,
            verification=verdict,
            stayed_float=tuple(FloatOperator(**found) for found in last["stayed_float"]),
            undelegated=undelegated,
            # A file that was made all the same (--no-verify, or no calibration) says what was found about the data.
            notes=(
                *self.opened.notes,
                *filter(None, [self.opened.suspicion]),
                *(note for result in made.results for note in result["notes"]),
            ),
            tools=_versions(name for result in made.results for name in result["packages"]),
            steps=tuple(edge.step.name for edge in wanted.edges),
            command=self._command(wanted),
            calibration=made.calibration,
            optimized=made.optimized,
            recipe=wanted.destination.recipe.name if wanted.quantized else "",
        )
        source = {"path": str(self.opened.path), "kind": self.opened.kind, "sha256": sha256(self.opened.path)}
        publish(made.file, wanted.destination, artifact, source, wanted.recipe if wanted.quantized else None)
        return artifact

    def _verify(self, made: Made, limit: float) -> tuple[Verification, Signature, tuple[FloatOperator, ...]]:
        label = f"{made.file.name}: verify"
        scratch = made.file.parent / "check"
        scratch.mkdir()
        self.progress.start(label)
        try:
            return verify(
                made.file,
                made.wanted.target,
                self.opened,
                limit,
                scratch,
                self.options.source.timeout_s,
                self.workers,
                made.wanted.quantized,
            )
        except MeasurementError as error:
            # The scratch folder is gone when a user reads this.
            error.message = error.message.replace(f"{made.file.parent}/", "")
            error.hint = f"--no-verify hands the file over unchecked. {error.hint}".rstrip()
            raise
        finally:
            self.progress.end(label)

    def _drifted(self, made: Made, verdict: Verification) -> DriftError:
        found = "; ".join(f"output {drift.output!r}: {drift.finding}" for drift in verdict.outputs if drift.finding)
        said = f"{made.file.name} was not handed over: {found}. Inputs: {verdict.inputs}."
        hint = "--min-sqnr DB sets another limit, --no-verify hands the file over unchecked."
        if "nothing can be proven" in found:
            return DriftError(
                said, hint="Give real samples with --data FILE, or --no-verify to take the file unchecked."
            )
        if self.opened.random_inputs:
            hint = "It was checked on random inputs; real ones (--data FILE) are the better judge. " + hint
        cause, cure = self._cause(made, found) if made.wanted.quantized else ("", "")
        return DriftError(f"{said} {cause}".rstrip(), hint=f"{cure}\n{hint}" if cure else hint)

    def _cause(self, made: Made, found: str) -> tuple[str, str]:
        """Why it drifted, from evidence on the program it was made from, and what to try."""
        if bridging.way(self.opened.node, OPTIMIZED_FORM) is None:
            return "", "Its cause is looked for in float models alone; --exclude PATTERN keeps layers float."
        try:
            return causes.explain(self._evidence(made), found)
        except EdgekitError as error:
            return f"Its cause could not be looked for: {error.message}", ""

    def _evidence(self, made: Made) -> Any:
        call, timeout_s = self.workers.call_here, self.options.source.timeout_s
        place = made.file.parent / "cause"
        program = bridging.bring(
            self.opened, OPTIMIZED_FORM, place, call, timeout_s, allow_select_ops=False, keep_rounding=False
        ).program
        job = Job(
            f"{made.file.name}: look for the cause",
            causes.JOB,
            {
                "source": str(program),
                "feeds": str(self.opened.calibration or self.opened.feeds),
                "ranges": None,
                "settings": to_json(made.wanted.recipe.quantization),
                "scheme": made.wanted.scheme.name,
            },
            ("torch",),
            timeout_s,
        )
        return call(job)

    def _command(self, wanted: Wanted) -> str:
        """The command that makes this artifact alone, again."""
        source, settings = self.options.source, wanted.recipe.quantization
        words = ["edgekit", "convert", str(self.opened.path), "--to", wanted.target.name]
        words += ["--quant", wanted.scheme.name]
        pairs: list[tuple[str, str | None]] = [("--data", self.options.data), *self.options.data_options.typed()]
        pairs += source.typed()
        if wanted.calibrated:
            pairs.append(("--calibration-samples", str(self.options.calibration_samples)))
            pairs.append(("--calibration-method", settings.method))
        if wanted.quantized:
            pairs.append(("--cpu", settings.cpu))
            pairs += [("--io", settings.io)] if settings.io != "float" else []
            pairs += [("--exclude", rule.match) for rule in settings.rules if rule.scheme == "float32"]
        if self.options.min_sqnr_db is not None:
            pairs.append(("--min-sqnr", f"{self.options.min_sqnr_db:g}"))
        for option, value in pairs:
            words += [option, value] if value is not None else []
        words += ["--optimize"] * (wanted.recipe.optimize and wanted.quantized)
        words += ["--trust"] * source.trust + ["--no-verify"] * (not self.options.check)
        words += ["--allow-select-ops"] * self.options.allow_select_ops
        words += ["--keep-rounding"] * (self.options.keep_rounding and wanted.scheme.name == "float32")
        place = wanted.destination.path if wanted.destination else "."
        if any(rule.scheme != "float32" for rule in settings.rules) and wanted.destination and wanted.quantized:
            # Other rules have no option of their own: the recipe has them all.
            words = [*words[:5], "--recipe", str(wanted.destination.recipe), *words[7:]]
        return shlex.join([*words, "--output", str(place), "--force"])


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {name: version(name) for name in sorted(set(packages))}
    return {"edgekit": version("edgekit"), "python": platform.python_version(), **found}
