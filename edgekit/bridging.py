"""A source's program in another form: what rewrites or examines exported programs needs one, whatever the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.jobs import Job
from edgekit.plugins import Edge, Node
from edgekit.source import OpenedSource
from edgekit.types import Quantization, to_json


def way(start: Node, form: str) -> list[Edge] | None:
    """The steps from a node to a form in float32, empty where it is there; ``None`` where there is no way."""
    found: list[Edge] | None = registry.function("converters.graph:plan")(start, Node(form), registry.steps())
    return found


def step_job(
    what: str,
    edge: Edge,
    files: Mapping[str, Any],
    options: Mapping[str, object],
    timeout_s: float,
    *,
    ranges: str | None = None,
    settings: Quantization | None = None,
) -> Job:
    """The job of one step; its arguments are :class:`converters.graph.StepArguments`.

    Args:
        what: The file, for the label.
        edge: The step, and the schemes that it joins.
        files: ``source``, ``output`` and ``signature`` among the arguments.
        options: Has what the step asks for beside them (:attr:`edgekit.plugins.Step.options`).
        timeout_s: Time limit.
        ranges: For a step that quantizes with ranges.
        settings: For a step that quantizes.
    """
    arguments = {
        **files,
        "scheme": edge.target.scheme,
        "ranges": ranges,
        "settings": to_json(settings or Quantization()),
        **{name: options[name] for name in edge.step.options},
    }
    return Job(f"{what}: {edge.step.name}", edge.step.entry, arguments, edge.step.preload, timeout_s)


def bring(
    opened: OpenedSource, form: str, folder: Path, call: Callable[[Job], Any], timeout_s: float, **options: object
) -> OpenedSource:
    """The same model, with its program in another form.

    Args:
        opened: The source.
        form: That there is a way to.
        folder: For the files of the steps; is created.
        call: Runs a job and waits for its value.
        timeout_s: Time limit of each.
        options: Of :class:`edgekit.convert.ConvertOptions`, for steps that want them.

    Returns:
        ``opened`` itself where it has that form.
    """
    program, notes = opened.program, list(opened.notes)
    folder.mkdir(exist_ok=True)
    for edge in way(opened.node, form) or ():
        registry.require(edge.step.packages, edge.step.extra, f"Bringing {opened.path.name} to {edge.target.form}")
        made = folder / f"{opened.path.stem}.{edge.target.form}"
        arguments = {"source": str(program), "output": str(made), "signature": to_json(opened.signature)}
        job = step_job(opened.path.name, edge, arguments, options, timeout_s)
        notes += call(job)["notes"]
        program = made
    return replace(opened, form=form, scheme="float32", program=program, notes=tuple(notes))
