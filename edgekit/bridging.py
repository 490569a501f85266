"""A source's program in another form: what rewrites or examines exported programs needs one, whatever the source."""

from __future__ import annotations

from collections.abc import Callable
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
        arguments = {
            "source": str(program),
            "output": str(made),
            "scheme": edge.target.scheme,
            "signature": to_json(opened.signature),
            "ranges": None,
            "settings": to_json(Quantization()),
            **{name: options[name] for name in edge.step.options},
        }
        job = Job(f"{opened.path.name}: {edge.step.name}", edge.step.entry, arguments, edge.step.preload, timeout_s)
        notes += call(job)["notes"]
        program = made
    return replace(opened, form=form, scheme="float32", program=program, notes=tuple(notes))
