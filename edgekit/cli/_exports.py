"""Files for other tools that the commands that measure can write: ``--trace`` and ``--node-data``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgekit.types import Report

F = TypeVar("F", bound=Callable[..., Any])


def export_options(command: F) -> F:
    """The two options."""
    trace = click.option(
        "--trace", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
        help="Write the operators as a Chrome trace (chrome://tracing, Perfetto); asks for --ops.",
    )  # fmt: skip
    node_data = click.option(
        "--node-data", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False),
        help="Write time, MACs and bytes of each node for Model Explorer; asks for --ops.",
    )  # fmt: skip
    return trace(node_data(command))


def wanted(typed: Mapping[str, Any]) -> bool:
    """Whether something is to be written, which takes the times of operators.

    Raises:
        UsageError: A folder it goes into does not exist. Asked before anything is measured.
    """
    from edgekit.errors import UsageError

    asked = {option: typed[name] for option, name in (("--trace", "trace"), ("--node-data", "node_data"))}
    for option, path in asked.items():
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{option} {path}: there is no such folder.", hint="Make the folder first.")
    return any(path is not None for path in asked.values())


def export(report: Report, typed: Mapping[str, Any]) -> None:
    """Write what was asked for, and say on stderr what there is, and what there is not.

    Raises:
        UsageError: It cannot be written there.
    """
    if typed["trace"] is not None:
        from edgekit.report.chrome_trace import trace

        _write("--trace", typed["trace"], trace(report))
        click.echo(f"trace: {typed['trace']}", err=True)
    if typed["node_data"] is not None:
        _write_node_data(report, typed["node_data"])


def _write_node_data(report: Report, folder: Path) -> None:
    from edgekit.report.node_data import node_data

    for one in node_data(report.profiles):
        if one.content is None:
            click.echo(f"node data: {one.name} is not written: {one.note}", err=True)
        else:
            _write("--node-data", folder / one.name, one.content)
            click.echo(f"node data: {folder / one.name}{f': {one.note}' if one.note else ''}", err=True)


def _write(option: str, path: Path, content: Mapping[str, Any]) -> None:
    """All of it or nothing; the folder is made where it is not there."""
    from edgekit.errors import UsageError

    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            partial.write_text(json.dumps(content))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}.", hint="Name a place that can be written.") from error
