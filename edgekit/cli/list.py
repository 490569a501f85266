"""``edgekit list``."""

from __future__ import annotations

import click

from edgekit.cli import print_json
from edgekit.cli._options import output_options

_EPILOG = """\b
Example:
  edgekit list
  edgekit list --json
"""


@click.command("list", epilog=_EPILOG)
@output_options
def command(as_json: bool, quiet: bool) -> None:
    """Show sources, targets and schemes, and which can be combined.

    Read from the plugins of this installation: a combination is possible when the conversion steps join up.
    """
    from edgekit.capabilities import capabilities
    from edgekit.types import to_json

    found = capabilities()
    if as_json:
        print_json(to_json(found))
    else:
        from edgekit.report.console import stdout_console
        from edgekit.report.list_table import show

        show(found, stdout_console())
