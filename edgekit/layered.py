"""The float file that a file's layers are compared with, made where none was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit import feeds
from edgekit.convert import ConvertOptions, convert
from edgekit.data_options import DataOptions
from edgekit.drift_types import LayersResult
from edgekit.errors import EdgekitError
from edgekit.file_drift import scheme_of
from edgekit.jobs import Workers
from edgekit.layers import layers
from edgekit.options import SourceOptions
from edgekit.plugins import Target
from edgekit.progress import Progress
from edgekit.samples import Samples
from edgekit.subjects import File, Subject

_FLOAT = "float32"


class Layered:
    """Looks into files; a float file of a format is made once for all that need it.

    Args:
        reference: The source model, or a converted file.
        baseline: The same, where it is a converted file.
        samples: That all files ran on.
        workers: Run the jobs.
        options: How to read a source model.
        data: As typed after ``--data``: its shapes are those that a source may leave open.
        data_options: How to read it.
        progress: Told what goes on.
    """

    def __init__(
        self,
        reference: Path,
        baseline: File | None,
        samples: Samples,
        workers: Workers,
        options: SourceOptions,
        data: str | None,
        data_options: DataOptions,
        progress: Progress,
    ) -> None:
        assert samples.fixed is not None  # noqa: S101 - there is a reference
        self.reference, self.baseline, self.options, self.progress = reference, baseline, options, progress
        self.samples, self.workers = feeds.read(samples.fixed), workers
        self.data, self.data_options = data, data_options
        self.made: dict[str, Path | EdgekitError] = {}

    def look(self, one: Subject, float_one: Subject | File | None) -> tuple[list[str], LayersResult | None]:
        """Where the drift of a file begins.

        Args:
            one: The file.
            float_one: The float file of its format, where one was given.

        Returns:
            What to say where there is nothing to look at, and the layers.
        """
        try:
            float_file, words = self._float_file(one, float_one)
            if float_file.absolute() == one.file.path.absolute():
                return [], None
            timeout_s = self.options.timeout_s
            found = layers(
                one.file.path,
                float_file,
                one.target,
                self.samples,
                workers=self.workers,
                scratch=self.workers.scratch,
                reference=words,
                scheme=scheme_of(one.file),
                timeout_s=timeout_s,
            )
        except EdgekitError as error:
            return [f"Layers: {error.message} {error.hint}".strip()], None
        return [], found

    def _float_file(self, one: Subject, float_one: Subject | File | None) -> tuple[Path, str]:
        """The file to compare with, and what it is in words.

        Raises:
            EdgekitError: None was given, and none can be made.
        """
        if float_one is not None:
            path = float_one.path if isinstance(float_one, File) else float_one.file.path
            return path, path.name
        if self.baseline is not None:
            if self.baseline.target == one.target:
                return self.baseline.path, self.baseline.path.name
            raise EdgekitError(
                f"There is no {one.target.title} file in float32 to compare the layers of {one.file.path.name} with.",
                hint="Name one among the files, or give the source model as --reference.",
            )
        made = self._converted(one.target)
        return made, f"{self.reference.name} as {one.target.title} float32, made for this"

    def _converted(self, target: Target) -> Path:
        """The source as a float32 file of a format.

        Raises:
            EdgekitError: It does not convert.
        """
        if target.name not in self.made:
            self.made[target.name] = self._convert(target)
        found = self.made[target.name]
        if isinstance(found, EdgekitError):
            raise found
        return found

    def _convert(self, target: Target) -> Path | EdgekitError:
        folder = self.workers.scratch / f"float-{target.name}"
        folder.mkdir()
        # Not verified: it is compared with anyway, and a source whose float file drifts is what a user is looking for.
        options = ConvertOptions(
            quant=(_FLOAT,),
            data=self.data,
            data_options=self.data_options,
            output=folder,
            check=False,
            source=replace(self.options, layouts=()),
        )
        source = self.options.model_code if self.reference.suffix == ".py" else self.reference
        try:
            report = convert(source or self.reference, [target.name], options, self.progress)
        except EdgekitError as error:
            return error
        if report.artifacts:
            return Path(report.artifacts[0].path)
        failure = report.failures[0]
        return EdgekitError(
            f"The layers were not compared: {self.reference.name} does not convert to {target.title} in float32. "
            f"{failure.message}",
            hint="Name a float file of that format among the files.",
            log=failure.log,
        )
