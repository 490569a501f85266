"""``edgekit convert``: one export, many files, each proven before it gets its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit import bridging, registry
from edgekit import data as data_files
from edgekit import recipes as recipe_files
from edgekit.conversion import Conversion, ConversionOptions
from edgekit.cpu import resolve
from edgekit.data_options import DataOptions
from edgekit.errors import UsageError
from edgekit.jobs import Job, Workers
from edgekit.options import SourceOptions, check_options, named
from edgekit.paths import existing
from edgekit.planning import OPTIMIZED_FORM, Wanted, plan, without_data
from edgekit.progress import Progress, Silent
from edgekit.publish import destinations
from edgekit.recipes import Recipe
from edgekit.scratch import scratch_folder
from edgekit.source import OpenedSource, arrived_scheme, identify_source, open_source
from edgekit.types import OptimizeStep, Quantization, Report, to_json

VERIFY_SAMPLES = 128
CALIBRATION_SAMPLES = 512
RANDOM_CALIBRATION_SAMPLES = 64

_OPTIMIZE = "converters.torch_export.optimize:optimize"


@dataclass(frozen=True)
class ConvertOptions:
    """What to do with the source.

    Attributes:
        quant: Names of schemes; float32 when neither these nor a recipe name one.
        recipe: A recipe file, whose scheme is made beside those.
        quantization: How to quantize; a recipe's rules come behind these.
        explicit: Fields of it that stand over the recipe's own (``method``, ``cpu``, ``io``).
        allow_select_ops: Take TensorFlow operators into a TFLite file that LiteRT has not.
        keep_rounding: Make float32 of a quantized ONNX file round activations as that file does.
        optimize: Rewrite the program for 8 bits first, where that measurably helps.
        data: ``--data``, as typed; ``random`` for random calibration.
        data_options: How to read it.
        calibration_samples: How many of the data to calibrate with, at most.
        output: A folder, or a file name for one artifact.
        force: Replace existing files.
        check: Run and compare every file.
        min_sqnr_db: In place of each scheme's own limit.
        source: How to read the source.
    """

    quant: tuple[str, ...] = ()
    recipe: Path | None = None
    quantization: Quantization = field(default_factory=lambda: Quantization(cpu="auto"))
    explicit: frozenset[str] = frozenset()
    allow_select_ops: bool = False
    keep_rounding: bool = False
    optimize: bool = False
    data: str | None = None
    data_options: DataOptions = field(default_factory=DataOptions)
    calibration_samples: int = CALIBRATION_SAMPLES
    output: Path | None = None
    force: bool = False
    check: bool = True
    min_sqnr_db: float | None = None
    source: SourceOptions = field(default_factory=SourceOptions)


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
    path, source = named(model, options.source)
    path, options = existing(path), replace(options, source=source)
    plugin, _ = identify_source(path)
    check_options(plugin, source)
    with scratch_folder() as scratch, Workers(scratch, progress=progress) as workers:
        arrived = arrived_scheme(path, workers, source.timeout_s)
        recipes = without_data(_recipes(options, arrived), options.data, progress, arrived)
        wanted, failures = plan(plugin, to, recipes, progress, arrived)
        _check_request(wanted, options)
        _choose_names(path, wanted, options)
        opened = _open(path, workers, options, wanted, arrived)
        runs = [
            Conversion(program, items, _conversion_options(options), workers, progress, steps)
            for program, items, steps in _variants(opened, wanted, options, workers)
        ]
        for run in runs:
            run.finish_all()
    made = {path: artifact for run in runs for path, artifact in run.artifacts.items()}
    places = [item.destination.path for item in wanted if item.destination is not None]
    return Report(
        command="convert",
        source=str(model),
        artifacts=tuple(made[path] for path in places if path in made),
        failures=(*failures, *(failure for run in runs for failure in run.failures)),
        notes=opened.notes,
    )


def _choose_names(path: Path, wanted: Sequence[Wanted], options: ConvertOptions) -> None:
    """Give each artifact its final place.

    Raises:
        UsageError: A name is taken or cannot be written.
    """
    targets = [(item.target.name, item.scheme.name, item.target.suffix) for item in wanted]
    keep = [path, *([Path(options.data)] if options.data else []), *([options.recipe] if options.recipe else [])]
    for item, place in zip(wanted, destinations(path, targets, options.output, options.force, keep), strict=True):
        item.destination = place


def _recipes(options: ConvertOptions, arrived: str) -> list[Recipe]:
    """One per scheme asked for; where none is, the one that the model has arrived in.

    Raises:
        UsageError: Words that mean nothing, or one scheme in two ways.
    """
    given = options.quantization
    found = [Recipe(name, given, options.optimize) for name in options.quant]
    if options.recipe is not None:
        found.append(_merged(recipe_files.read(options.recipe), options))
    if not found:
        found = [Recipe(arrived, given, options.optimize)]
    for recipe in found:
        recipe_files.check(recipe.quantization, recipe.scheme, "--quant")
    resolved = [
        replace(item, quantization=replace(item.quantization, cpu=resolve(item.quantization.cpu))) for item in found
    ]
    distinct = list(dict.fromkeys(resolved))
    names = [item.scheme for item in distinct]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--recipe {options.recipe}: {name} is asked for in two ways, and both files would have one name.",
                hint="Leave the option or the recipe out, or make the files in two commands.",
            )
    return distinct


def _merged(recipe: Recipe, options: ConvertOptions) -> Recipe:
    """A recipe with the command's own options over it."""
    given, kept = options.quantization, recipe.quantization
    over = {name: getattr(given, name) for name in options.explicit}
    merged = replace(kept, **over, rules=(*given.rules, *kept.rules))
    return Recipe(recipe.scheme, merged, recipe.optimize or options.optimize)


def _check_request(wanted: Sequence[Wanted], options: ConvertOptions) -> None:
    """Refuse options that no file of this command would heed.

    Raises:
        UsageError: Names the option.
    """
    if options.data is None and (anew := [item for item in wanted if item.calibrated]):
        names = ", ".join(f"{item.scheme.name} on {item.target.title}" for item in anew)
        raise UsageError(
            f"{names}: the ranges of the model cannot be taken over, and there is no data to take new ones from.",
            hint="--data FILE with 100 or more real, preprocessed samples",
        )
    if options.keep_rounding:
        _check_rounding(wanted)
    if any(item.quantized for item in wanted):
        if options.optimize and options.data is None:
            raise UsageError(
                "--optimize measures on your data whether it helps, and there is none.", hint="--data FILE"
            )
        return
    given = options.quantization
    for option, used in (("--exclude", given.rules), ("--optimize", options.optimize), ("--io", given.io != "float")):
        if used:
            raise UsageError(f"{option} is about quantized files, and none is asked for.", hint="Add --int8.")


def _check_rounding(wanted: Sequence[Wanted]) -> None:
    """Refuse ``--keep-rounding`` for files that it is not about.

    Raises:
        UsageError: Names them.
    """
    floats = [item for item in wanted if any("keep_rounding" in edge.step.options for edge in item.edges)]
    others = [item for item in floats if item.scheme.name != "float32" and item.edges[0].target.scheme == "float32"]
    if others or not any(item.scheme.name == "float32" for item in floats):
        names = ", ".join(f"{item.scheme.name} on {item.target.title}" for item in others or wanted)
        raise UsageError(
            f"--keep-rounding makes float32 files for other runtimes that compute what a quantized ONNX file computes. "
            f"It is not about {names}.",
            hint="Leave it out, or ask for --quant float32 alone.",
        )


def _conversion_options(options: ConvertOptions) -> ConversionOptions:
    return ConversionOptions(
        options.data,
        options.data_options,
        options.calibration_samples,
        options.check,
        options.min_sqnr_db,
        options.source,
        options.allow_select_ops,
        options.keep_rounding,
    )


def _open(path: Path, workers: Workers, options: ConvertOptions, wanted: list[Wanted], arrived: str) -> OpenedSource:
    """Read the source while the frameworks of the steps are imported beside it."""
    random = options.data == data_files.RANDOM
    dataset = None
    if options.data is not None and not random:
        dataset = data_files.load(options.data, options.data_options, workers.scratch, workers)
    calibrated = any(item.calibrated or (item.quantized and item.recipe.optimize) for item in wanted)
    for preload in {edge.step.preload for item in wanted for edge in item.edges}:
        workers.warm_up(preload)
    opened = open_source(
        path,
        workers,
        options=options.source,
        data=dataset,
        random_calibration=RANDOM_CALIBRATION_SAMPLES if random and calibrated else 0,
        calibration_samples=options.calibration_samples if calibrated else 0,
        samples=VERIFY_SAMPLES,
        scheme=arrived,
    )
    return opened if dataset is None else replace(opened, notes=(*dataset.notes, *opened.notes))


def _variants(
    opened: OpenedSource, wanted: list[Wanted], options: ConvertOptions, workers: Workers
) -> list[tuple[OpenedSource, list[Wanted], tuple[OptimizeStep, ...]]]:
    """The program as it is, for some files, and as ``--optimize`` makes it, for the others."""
    optimized = [item for item in wanted if item.recipe.optimize and item.quantized]
    plain = [item for item in wanted if item not in optimized]
    found: list[tuple[OpenedSource, list[Wanted], tuple[OptimizeStep, ...]]] = []
    if plain:
        found.append((opened, plain, ()))
    if optimized:
        place, timeout_s = workers.scratch / "bridge", options.source.timeout_s
        opened = bridging.bring(
            opened,
            OPTIMIZED_FORM,
            place,
            workers.call,
            timeout_s,
            allow_select_ops=options.allow_select_ops,
            keep_rounding=False,
        )
        program = workers.scratch / "optimized.pt2"
        job = Job(
            f"{opened.path.name}: optimize for 8 bits",
            _OPTIMIZE,
            {
                "source": str(opened.program),
                "output": str(program),
                "feeds": str(opened.calibration),
                "settings": to_json(optimized[0].recipe.quantization),
            },
            ("torch",),
            timeout_s,
        )
        result = workers.call(job)
        steps = tuple(
            OptimizeStep(step["name"], step["before_db"], step["after_db"], step["kept"]) for step in result["steps"]
        )
        notes = (*opened.notes, *result["notes"])
        kept = "+".join(step.name for step in steps if step.kept)
        found.append((replace(opened, program=program, notes=notes, variant=kept), optimized, steps))
    return found
