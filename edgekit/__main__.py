"""``python -m edgekit``: the command line, without the current folder in front of ``sys.path``."""

import sys
from pathlib import Path

# The folder a user stands in may hold its own ``converters`` or ``profiles``.
if not sys.flags.safe_path and Path(sys.path[0] or ".").resolve() == Path.cwd():
    here = str(Path(__file__).resolve().parent.parent)
    if str(Path.cwd()) != here:
        del sys.path[0]

from edgekit.cli import main

main()
