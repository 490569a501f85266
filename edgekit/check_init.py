"""An ``edgekit.toml`` to start from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.paths import existing, size_bytes

_ROOM = 1.02

_HEAD = """\
# Budgets of edgekit check. Paths are as seen from this file; lines with # are examples to fill in.

[check]
# data = "test.npz"              # samples, with labels for the budgets of accuracy
# reference = "model.pt2"        # what outputs are compared with
# device = ["host", "pi"]
# budget_s = 10                  # seconds of timing per file, at most
"""

_MODEL = """
[check.models.{name}]
# baseline = {baseline}   # a copy that is committed; it is timed in the same rounds
max_size = {size}                # bytes: 2 % above what it is
# max_latency_ratio = 1.05       # to the baseline
# max_p90_ms = 5
# min_accuracy = 0.97
# max_accuracy_drop = 0.01       # one point below the reference, or else the baseline
# min_sqnr_db = 30
# min_delegated = 0.95
"""


def write(path: Path, files: Sequence[Path]) -> None:
    """Write settings with a budget of size for each file, and the others as comments.

    Args:
        path: Where; nothing may be there.
        files: To check.

    Raises:
        UsageError: There are no files, one does not exist, or the place cannot be written.
    """
    if not files:
        raise UsageError("--init needs the files to check.", hint="edgekit check --init model.int8.tflite")
    text = _HEAD + "".join(_section(path, existing(file)) for file in dict.fromkeys(files))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already.", hint="Name another place with --config FILE.") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.", hint="Name a place that can be written.") from error


def _section(path: Path, file: Path) -> str:
    name = os.path.relpath(file, path.absolute().parent)
    size = math.ceil(size_bytes(file) * _ROOM)
    return _MODEL.format(name=_quoted(name), baseline=_quoted(f"baseline/{file.name}"), size=size)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's are those but for one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r}: a name that is not UTF-8 cannot be written down.", hint="Rename it.") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
