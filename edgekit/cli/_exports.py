"""Files for people and other tools that the commands that measure can write, checked before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgekit.types import Report

F = TypeVar("F", bound=Callable[..., Any])

_FILES = ("html", "md", "csv", "trace")
_FOLDERS = ("node_data", "tensorboard")
_OF_OPERATORS = ("html", "trace", "node_data")


def export_options(command: F) -> F:
    """The options."""
    file, folder = (click.Path(path_type=Path, dir_okay=folders, file_okay=not folders) for folders in (False, True))
    options = (
        click.option(
            "--html", metavar="FILE", type=file,
            help="Write a report to look at and to hand on: one page, no network; asks for --ops.",
        ),
        click.option("--md", metavar="FILE", type=file, help="Write the findings as Markdown, for a pull request."),
        click.option("--csv", metavar="FILE", type=file, help="Write all figures as CSV, a row for each file."),
        click.option(
            "--tensorboard", metavar="FOLDER", type=folder,
            help="Write figures and schemes for TensorBoard (scalars and hparams).",
        ),
        click.option(
            "--trace", metavar="FILE", type=file,
            help="Write the operators as a Chrome trace (chrome://tracing, Perfetto); asks for --ops.",
        ),
        click.option(
            "--node-data", metavar="FOLDER", type=folder,
            help="Write time, MACs and bytes of each node for Model Explorer; asks for --ops.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def wanted(typed: Mapping[str, Any]) -> bool:
    """Whether something is to be written that takes the times of operators.

    Raises:
        UsageError: A folder it goes into does not exist.
        MissingDependencyError: What writes it is not installed. Both are asked before anything is measured.
    """
    from edgekit import registry
    from edgekit.errors import UsageError

    for name in (*_FILES, *_FOLDERS):
        path = typed[name]
        if path is not None and not path.absolute().parent.is_dir():
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} {path}: there is no such folder.", hint="Make the folder first.")
    if typed["html"] is not None:
        from edgekit.report import html

        registry.require(html.PACKAGES, html.EXTRA, "--html")
    if typed["tensorboard"] is not None:
        from edgekit.report import tensorboard

        registry.require(tensorboard.PACKAGES, tensorboard.EXTRA, "--tensorboard")
    return any(typed[name] is not None for name in _OF_OPERATORS)


def export(report: Report, typed: Mapping[str, Any]) -> None:
    """Write what was asked for, and say on stderr what there is, and what there is not.

    Raises:
        UsageError: It cannot be written there.
    """
    from edgekit.summary import summarize

    if typed["html"] is not None:
        from edgekit.report.html import render

        _write("html", typed["html"], render(report, summarize(report)))
    if typed["md"] is not None:
        from edgekit.report.markdown import markdown

        _write("md", typed["md"], markdown(report, summarize(report)))
    if typed["csv"] is not None:
        from edgekit.report.csv_table import csv_table

        _write("csv", typed["csv"], csv_table(report, summarize(report)))
    if typed["trace"] is not None:
        from edgekit.report.chrome_trace import trace

        _write("trace", typed["trace"], json.dumps(trace(report)))
    if typed["node_data"] is not None:
        _write_node_data(report, typed["node_data"])
    if typed["tensorboard"] is not None:
        from edgekit.report.tensorboard import write

        write(report, summarize(report), typed["tensorboard"])
        click.echo(f"tensorboard: {typed['tensorboard']}", err=True)


def _write_node_data(report: Report, folder: Path) -> None:
    from edgekit.report.node_data import node_data

    for one in node_data(report.profiles):
        if one.content is None:
            click.echo(f"node data: {one.name} is not written: {one.note}", err=True)
        else:
            _write("node-data", folder / one.name, json.dumps(one.content), f": {one.note}" if one.note else "")


def _write(option: str, path: Path, content: str, note: str = "") -> None:
    """All of it or nothing; the folder is made where it is not there."""
    from edgekit.errors import UsageError
    from edgekit.publish import write_text

    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, content)
    except OSError as error:
        raise UsageError(f"--{option} {path}: {error.strerror}.", hint="Name a place that can be written.") from error
    click.echo(f"{option.replace('-', ' ')}: {path}{note}", err=True)
