"""A column of the live display: how many samples a second."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.text import Text


class RateColumn(ProgressColumn):
    """The rate of tasks whose parts have a unit."""

    def render(self, task: Task) -> Text:
        """``37 samples/s``."""
        unit = task.fields["unit"]
        return Text(f"{task.speed:.3g} {unit}/s" if unit and task.speed else "")
