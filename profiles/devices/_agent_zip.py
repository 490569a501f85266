"""Packs the agent into one file that any Python 3.9 with NumPy and the runtime can run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import edgekit
import profiles

_MAIN = """import sys

from profiles.agent import keeper

if keeper.wanted(sys.argv):
    keeper.main()
from profiles.agent.main import main

main()
"""
_ALWAYS_THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)
_PROFILES = ("__init__.py", "agent/*.py", "runtimes/*.py")
_EDGEKIT = ("__init__.py", "feeds.py")


def contents() -> dict[str, bytes]:
    """Name in the archive to bytes, sorted."""
    found = {"__main__.py": _MAIN.encode()}
    for package, patterns in ((profiles, _PROFILES), (edgekit, _EDGEKIT)):
        for folder in map(Path, package.__path__):
            for pattern in patterns:
                for file in folder.glob(pattern):
                    found[f"{package.__name__}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()
    return dict(sorted(found.items()))


def write(path: Path) -> Path:
    """Write the archive, the same bytes each time for the same sources."""
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, data in contents().items():
            archive.writestr(zipfile.ZipInfo(name, _ALWAYS_THE_SAME_TIME), data)
    return partial.replace(path)
