"""``--layout``: inputs of the result with their channels where the user wants them.

A source is read in its own layout. Then the program gets a transposition at each input that is to differ, and the
samples are transposed to match, so that the check of every file is the proof of the layout: the source ran on the
tensors as they were, the file runs on them transposed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import feeds as folders
from edgekit.errors import UsageError
from edgekit.requests import LoadRequest
from edgekit.types import Signature, TensorSpec, from_json, to_json

NAMES = ("nhwc", "nchw")
_SPATIAL = (1, 2, 3)


@dataclass(frozen=True)
class Change:
    """An input in another layout.

    Attributes:
        served: Axes of the source's tensor in the order of the file's: ``file = source.transpose(served)``.
        taken: The way back, which the program does first.
    """

    served: tuple[int, ...]
    taken: tuple[int, ...]


def changes(signature: Signature, asked: Sequence[str], native: str) -> dict[str, Change]:
    """What ``--layout`` asks to change, by input.

    Args:
        signature: Of the source, in its own layout.
        asked: As typed: ``nchw`` for all inputs with a channel axis, or ``NAME=nhwc``.
        native: The layout of the source's framework, ``nhwc`` or ``nchw``.

    Raises:
        UsageError: A name or layout means nothing, or an input has no image layout.
    """
    wanted: dict[str, str] = {}
    for item in asked:
        name, equals, layout = item.rpartition("=")
        if layout.lower() not in NAMES:
            raise UsageError(f"--layout {item}: there are {' and '.join(NAMES)}.", hint="--layout nhwc")
        named = [spec for spec in signature.inputs if spec.name == name] if equals else list(signature.inputs)
        if not named:
            known = ", ".join(spec.name for spec in signature.inputs)
            raise UsageError(f"--layout {item}: the inputs are {known}.", hint=f"--layout {layout}")
        images = [spec for spec in named if len(spec.shape) - 2 in _SPATIAL]
        if not images:
            shown = ", ".join(map(str, named))
            raise UsageError(f"--layout {item}: there is no channel axis to move in {shown}.", hint="Leave it out.")
        wanted |= {spec.name: layout.lower() for spec in images}
    ranks = {spec.name: len(spec.shape) for spec in signature.inputs}
    return {name: _change(ranks[name], layout) for name, layout in wanted.items() if layout != native}


def _change(rank: int, layout: str) -> Change:
    channels_last = (0, *range(2, rank), 1)
    channels_first = (0, rank - 1, *range(1, rank - 1))
    if layout == "nhwc":
        return Change(channels_last, channels_first)
    return Change(channels_first, channels_last)


def changed(signature: Signature, found: Mapping[str, Change]) -> Signature:
    """The signature of the file."""
    return Signature(tuple(_changed(spec, found.get(spec.name)) for spec in signature.inputs), signature.outputs)


def _changed(spec: TensorSpec, change: Change | None) -> TensorSpec:
    return spec if change is None else replace(spec, shape=tuple(spec.shape[axis] for axis in change.served))


def change_samples(folder: Path, found: Mapping[str, Change]) -> None:
    """Transpose the samples of a feeds folder, in place, one at a time: memory does not grow with their number."""
    given = folders.read(folder)
    made = folder.with_name(folder.name + ".changed")
    turned = {
        name: array.transpose(0, *(axis + 1 for axis in found[name].served)) if name in found else array
        for name, array in given.arrays.items()
    }
    folders.write_some(made, replace(given, arrays=turned), np.arange(given.count, dtype=np.intp))
    if given.places is not None:
        shutil.copyfile(folder / "places.npy", made / "places.npy")
    del turned, given  # their files are mapped
    shutil.rmtree(folder)
    made.rename(folder)


def relayout(
    request: Mapping[str, Any],
    signature: Mapping[str, Any],
    program: str,
    native: str,
    rewrite: Callable[[Path, Path, Signature, Mapping[str, Change]], None],
) -> dict[str, Any]:
    """What the job of every form does.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON, of the job that wrote the folders.
        signature: That the source reported, as JSON.
        program: The form's file or folder.
        native: ``nhwc`` or ``nchw``: of the source's framework.
        rewrite: Writes the program with transpositions at its inputs: ``(source, output, signature, changes)``.

    Returns:
        ``signature``, ``program`` and ``notes`` in place of the source's own.
    """
    asked, before = from_json(LoadRequest, request), from_json(Signature, signature)
    found = changes(before, asked.layouts, native)
    if not found:
        said = [f"--layout {item}: that is the source's own layout already." for item in asked.layouts]
        return {"signature": to_json(before), "program": program, "notes": said}
    made = Path(asked.into) / f"relaid-{Path(program).name}"
    if asked.program:
        rewrite(Path(program), made, before, found)
    for folder in ("feeds", "calibration"):
        if (Path(asked.into) / folder).exists():
            change_samples(Path(asked.into) / folder, found)
    return {"signature": to_json(changed(before, found)), "program": str(made), "notes": notes(before, found)}


def notes(signature: Signature, found: Mapping[str, Change]) -> list[str]:
    """What was done, a sentence per input."""
    after = {spec.name: spec for spec in changed(signature, found).inputs}
    return [
        f"Input {spec.name!r} is {list(after[spec.name].shape)} in the file and {list(spec.shape)} in the source "
        "(--layout); the check ran both."
        for spec in signature.inputs
        if spec.name in found
    ]
