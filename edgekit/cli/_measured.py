"""Prints what was measured, for the commands that measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli import print_json

if TYPE_CHECKING:
    from edgekit.types import Report


def print_measured(report: Report, *, as_json: bool) -> int:
    """Figures to stdout, failures to stderr.

    Returns:
        The exit code: that of the first failure.
    """
    from edgekit.types import to_json

    if as_json:
        print_json(to_json(report))
    else:
        from edgekit.report import compare_table, detail_tables, profile_table
        from edgekit.report.console import stdout_console

        console = stdout_console()
        profile_table.show(report, console)
        detail_tables.show(report, console)
        compare_table.show(report, console)
    for failure in report.failures:
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(failure.message, err=True)
        for title, text in (("  next: ", failure.hint), ("  log:  ", failure.log)):
            if text:
                click.echo(title + text, err=True)
    return report.failures[0].exit_code if report.failures else 0
