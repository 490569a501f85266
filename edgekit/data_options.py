"""How to read ``--data``, beside its path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """The options that go with ``--data``, as typed; JSON by :func:`edgekit.types.to_json`.

    Attributes:
        preprocess: What makes a picture an input (:func:`edgekit.preprocessing.parse`).
        label_column: Name or number of the column of a table that holds the classes.
        columns: Names or numbers of the columns that are features, with commas.
    """

    preprocess: str | None = None
    label_column: str | None = None
    columns: str | None = None

    def typed(self) -> list[tuple[str, str]]:
        """Those that were given, with their options, for messages and for a command that repeats this one."""
        pairs = ((option, getattr(self, field)) for field, option in OPTIONS.items())
        return [(option, value) for option, value in pairs if value is not None]


OPTIONS = {"preprocess": "--preprocess", "label_column": "--label-column", "columns": "--columns"}
"""Option of each field."""
