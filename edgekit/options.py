"""How to read a source, as the options of every command say it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.jobs import DEFAULT_TIMEOUT_S
from edgekit.plugins import Source
from edgekit.requests import LoadRequest


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        model_code: ``FILE.py:NAME`` or ``package.module:NAME``: what builds the network.
        trust: Whether code inside the file may run.
        inputs: ``NAME=1,3,224,224[:dtype]``, as typed.
        timeout_s: Time limit of each child.
        outputs, signature, task, layouts, dynamic: As in :class:`edgekit.requests.LoadRequest`; only some sources heed
            them.
    """

    model_code: str | None = None
    trust: bool = False
    inputs: tuple[str, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S
    outputs: tuple[str, ...] = ()
    signature: str | None = None
    task: str | None = None
    layouts: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()

    def request(self, path: Path) -> LoadRequest:
        """What to ask of a source, without data."""
        return LoadRequest(
            path=str(path),  # as typed: it stands in messages; a job works in the same folder
            model_code=self.model_code,
            trust=self.trust,
            inputs=self.inputs,
            outputs=self.outputs,
            signature=self.signature,
            task=self.task,
            layouts=self.layouts,
            dynamic=self.dynamic,
        )

    def typed(self) -> list[tuple[str, str]]:
        """The options that were given, for a command that repeats this one; ``--timeout`` left out."""
        found: list[tuple[str, str]] = []
        for field, option in {"model_code": "--model", "inputs": "--input", "layouts": "--layout", **_HEEDED}.items():
            given = getattr(self, field)
            found += [(option, value) for value in (given if isinstance(given, tuple) else (given,)) if value]
        return found


_HEEDED = {"outputs": "--output-name", "signature": "--signature", "task": "--task", "dynamic": "--dynamic"}
"""Options that only some sources heed, by field."""


def named(model: Path | str, options: SourceOptions) -> tuple[Path, SourceOptions]:
    """A model as typed: a path, or ``FILE.py:NAME`` for a function that is the model."""
    file, colon, _ = str(model).rpartition(":")
    if colon and file.endswith(".py") and not Path(model).exists():
        return Path(file), replace(options, model_code=options.model_code or str(model))
    return Path(model), options


def check_options(source: Source, options: SourceOptions) -> None:
    """Refuse options that this kind of source would not heed.

    Raises:
        UsageError: Names the option, and the sources that it is for.
    """
    if options.layouts and not source.layout:
        raise UsageError(f"--layout does not go with a {source.title} model: its own layout is not known.")
    if options.layouts and options.dynamic:
        raise UsageError(
            "--layout and --dynamic do not go together yet: another layout is written for fixed sizes.",
            hint="Leave one of them out.",
        )
    for field, option in _HEEDED.items():
        if getattr(options, field) and field not in source.options:
            heeding = [item.title for item in registry.sources().values() if field in item.options]
            raise UsageError(
                f"{option} does not go with a {source.title} model.",
                hint=f"It is for {', '.join(heeding)}." if heeding else "",
            )
