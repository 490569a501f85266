"""What the commands that measure share: their options, and how their results are printed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekit.cli import print_failures, print_json
from edgekit.cli._exports import export, export_options, wanted
from edgekit.cli._options import (
    chosen_data,
    chosen_measuring,
    chosen_source,
    data_option,
    fresh_option,
    measuring_options,
    output_options,
    source_options,
)

if TYPE_CHECKING:
    from edgekit.types import Report

F = TypeVar("F", bound=Callable[..., Any])


def measured_options(command: F) -> F:
    """Files, the reference, data, and all that says how to measure, read and print."""
    reference = click.option(
        "--reference", metavar="MODEL", type=click.Path(path_type=Path),
        help="The source model, or another converted file, to compare outputs with.",
    )  # fmt: skip
    data = data_option("Samples to run on; with labels, accuracy is measured. Random inputs without.")
    files = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
    printing = fresh_option(source_options(output_options(command)))
    return files(reference(data(measuring_options(export_options(printing)))))


def measure(ctx: click.Context, call: Callable[..., Report], **more: Any) -> int:
    """Call :func:`edgekit.profile.profile` or its like with what was typed, and print what it found.

    Args:
        ctx: Of the command.
        call: What to call.
        more: Fields of :class:`edgekit.measuring.Measuring` beside those of the options.

    Returns:
        The exit code.
    """
    from edgekit.cli._progress import progress_display

    typed = ctx.params
    measuring = replace(chosen_measuring(ctx), fresh=typed["fresh"], **more)
    if wanted(typed):
        measuring = replace(measuring, operators=True)
    with progress_display(typed["quiet"]) as progress:
        report = call(
            typed["files"],
            reference=typed["reference"],
            options=chosen_source(ctx),
            data=typed["data"],
            data_options=chosen_data(ctx),
            measuring=measuring,
            progress=progress,
        )
    report = replace(report, invocation=shlex.join(["edgekit", *sys.argv[1:]]))
    export(report, typed)
    return print_measured(report, as_json=typed["as_json"])


def print_measured(report: Report, *, as_json: bool) -> int:
    """Figures to stdout, failures to stderr.

    Returns:
        The exit code: that of the first failure.
    """
    from edgekit.types import to_json

    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report import compare_table, detail_tables, profile_table, summary_table
        from edgekit.report.console import stdout_console
        from edgekit.summary import summarize

        console = stdout_console()
        profile_table.show(report, console)
        detail_tables.show(report, console)
        compare_table.show(report, console)
        if report.comparisons:
            summary_table.show(summarize(report), console)
    print_failures(report)
    return report.failures[0].exit_code if report.failures else 0
