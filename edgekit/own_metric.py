"""``--metric FILE.py:NAME``: a function of the user's that says how good outputs are.

It is called in a child (:func:`converters.own_metric.call`) as ``NAME(outputs, labels)``: ``outputs`` by name, each of
shape ``(samples, *shape of the output)``, and ``labels`` as the data or the labels file has them. It gives one number,
or one for each sample; only the latter have an interval.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.jobs import DEFAULT_TIMEOUT_S, Job
from edgekit.paths import names_like

if TYPE_CHECKING:
    from edgekit.feeds import Array
    from edgekit.jobs import Workers

_EXAMPLE = "--metric FILE.py:NAME, a function of (outputs, labels)"


def check(metric: str) -> None:
    """Refuse what cannot be a function, before anything runs.

    Raises:
        UsageError: The file or the name is missing.
    """
    file, colon, name = metric.rpartition(":")
    if not colon or not name or not file:
        raise UsageError(f"--metric {metric}: a file and the name of a function in it are needed.", hint=_EXAMPLE)
    if file.endswith(".py") and not Path(file).is_file():
        hint = names_like(Path(file)) or "Paths count from the current folder."
        raise UsageError(f"--metric {metric}: there is no file {file}.", hint=hint)


def call(
    metric: str,
    outputs: Path,
    labels: Array | Sequence[Any] | None,
    scratch: Path,
    workers: Workers,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    label: str = "",
) -> Array:
    """Call the user's function on the outputs of one file.

    Args:
        metric: As typed.
        outputs: Folder of outputs (:mod:`edgekit.feeds`).
        labels: As in :attr:`edgekit.plugins.TaskInput.labels`.
        scratch: An existing folder for what goes to the child and comes back.
        workers: Runs the child.
        timeout_s: Time limit in seconds.
        label: Whose outputs they are, for messages.

    Returns:
        float64 of shape ``()`` for one number, ``(samples,)`` for one of each sample.

    Raises:
        UsageError: There is no such function, or what it gave is neither.
        ConversionError: It raised.
    """
    folder = Path(tempfile.mkdtemp(prefix="metric-", dir=scratch))
    _write_labels(folder, labels)
    arguments = {"metric": metric, "outputs": str(outputs), "folder": str(folder)}
    shown = f"{label or outputs.name}: {metric}"
    answer = workers.call(Job(shown, "converters.own_metric:call", arguments, timeout_s=timeout_s))
    found: Array = np.load(answer, allow_pickle=False)
    return found


def _write_labels(folder: Path, labels: Array | Sequence[Any] | None) -> None:
    """Arrays as ``labels.npy``, lists as ``labels.json``, where arrays have become lists; nothing for none."""
    if labels is None:
        return
    if isinstance(labels, np.ndarray):
        np.save(folder / "labels.npy", labels, allow_pickle=False)
    else:
        plain = labels if isinstance(labels, str) else list(labels)  # a word such as "input" stays one
        (folder / "labels.json").write_text(json.dumps(plain, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"labels hold a {type(value).__name__}")
