"""``edgekit doctor``."""

from __future__ import annotations

import click

from edgekit.cli import print_json
from edgekit.cli._options import output_options
from edgekit.errors import MissingDependencyError

_EPILOG = """\b
Example:
  edgekit doctor
  edgekit doctor --json

Exit code 0 when nothing is broken, whatever extras are installed; 3 when packages clash or do not fit.
"""


@click.command("doctor", epilog=_EPILOG)
@output_options
def command(as_json: bool, quiet: bool) -> int:
    """Check Python, the processor, and what is installed.

    Says which instructions for int8 this machine has, which packages each extra of edgekit needs and the
    command that adds the missing ones, and which installed packages get into each other's way.
    """
    from edgekit.doctor import examine

    found = examine()
    if as_json:
        print_json(found.to_json())
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.doctor_table import show

        show(found, stdout_console())
    return 0 if found.healthy else MissingDependencyError.exit_code
