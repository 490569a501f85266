"""Calibration: one way of turning samples into ranges of activations, for every target.

A form's ``calibrate`` job runs its float file over the samples and gives each tensor's values to a
:class:`converters.calibration.ranges.Collector`; the quantizing steps read the ranges it wrote.
"""

from __future__ import annotations

from pathlib import Path

FORMAT = "edgekit ranges"
"""What the files of :mod:`converters.calibration.ranges` begin with."""


def identify(path: Path) -> bool:
    """Whether a file is a ranges file, by its first bytes."""
    with path.open("rb") as file:
        return f'"format": "{FORMAT}"'.encode() in file.read(64)
