"""The demo: the digits network to twelve files, proven, measured and compared, in the time of a coffee.

It takes no short cut: the same :func:`edgekit.convert.convert` and :func:`edgekit.profile.compare` that the
commands call, on files that come with edgekit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.convert import ConvertOptions, convert
from edgekit.errors import EdgekitError
from edgekit.measuring import Measuring
from edgekit.options import SourceOptions
from edgekit.profile import compare
from edgekit.progress import Progress
from edgekit.types import Report

TARGETS = ("tflite", "onnx", "executorch")
SCHEMES = ("float32", "float16", "int8", "int8-dynamic")
FOLDER = Path("edgekit-demo")

BUDGET_S = 3.0
"""Seconds of timing per file: a run of this network takes microseconds, so that is thousands of samples."""


def assets() -> Path:
    """The folder of the digits example: beside this file in an installed edgekit, else in the repository.

    Raises:
        EdgekitError: Neither is there.
    """
    here = Path(__file__).parent
    for folder in (here / "_digits", here.parent / "examples" / "digits"):
        if (folder / "digits.pt").is_file():
            return folder
    raise EdgekitError(
        "The files of the digits example are missing from this installation.",
        hint="pip install --force-reinstall --no-deps edgekit",
    )


def run(output: Path, progress: Progress) -> Report:
    """Convert, measure, compare.

    Args:
        output: Folder for the files; it is created, and files of an earlier demo are replaced.
        progress: Told about each step.

    Returns:
        The artifacts, their profiles and comparisons, and what failed.
    """
    digits = assets()
    source = SourceOptions(model_code=f"{digits / 'model.py'}:Digits")
    options = ConvertOptions(
        quant=SCHEMES, data=str(digits / "calibration.npz"), output=output, force=True, source=source
    )
    converted = convert(digits / "digits.pt", TARGETS, options, progress)
    if not converted.artifacts:
        return replace(converted, command="edgekit demo")
    measured = compare(
        [Path(artifact.path) for artifact in converted.artifacts],
        reference=digits / "digits.pt",
        options=source,
        data=str(digits / "test.npz"),
        measuring=Measuring(budget_s=BUDGET_S, operators=True, layers=True),
        progress=progress,
    )
    return replace(
        converted,
        command="edgekit demo",
        profiles=measured.profiles,
        comparisons=measured.comparisons,
        drifts=measured.drifts,
        thumbnails=measured.thumbnails,
        failures=converted.failures + measured.failures,
        notes=converted.notes + measured.notes,
        devices=measured.devices,
    )
