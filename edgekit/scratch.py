"""Temporary folders and kept logs."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit._forkserver import is_disk_full
from edgekit.errors import UsageError

_KEPT_LOGS = 50
# A disk with less than this is full: no model file is smaller.
_LEAST_FREE_BYTES = 1 << 16
_kept_count = itertools.count(1)


def state_folder() -> Path:
    """Where kept logs live: ``$EDGEKIT_STATE``, else below ``$XDG_STATE_HOME`` or ``~/.local/state``."""
    explicit = os.environ.get("EDGEKIT_STATE")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edgekit"


def keep_log(log: Path) -> str:
    """Copy a log out of the scratch folder; the oldest kept ones go.

    Returns:
        Path of the copy; empty when the child wrote no log or no folder could be written.
    """
    if not log.exists():
        return ""
    folder = state_folder() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    kept = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_kept_count):04}-{log.name}"
    try:
        shutil.copyfile(log, kept)
    except OSError:
        return ""  # the error that the log belongs to matters more than the log
    for old in sorted(folder.glob("*-job-*.log"))[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
    return str(kept)


def disk_full(folder: Path) -> UsageError:
    """The error for a disk without room for temporary files."""
    return UsageError(
        f"The disk that holds temporary files is full ({folder}).",
        hint="Make room, or name a folder on another disk: TMPDIR=/path edgekit …",
    )


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for anything."""
    return shutil.disk_usage(folder).free < _LEAST_FREE_BYTES


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private temporary folder, removed at the end whatever happens.

    Raises:
        UsageError: There is no place for it, or the body met a full disk.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
    except OSError as error:
        raise UsageError(
            f"No temporary folder can be made: {error.strerror}.",
            hint="Name one on another disk: TMPDIR=/path edgekit …",
        ) from error
    try:
        yield folder
    except OSError as error:
        if is_disk_full(error) or is_full(folder):
            raise disk_full(folder.parent) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
