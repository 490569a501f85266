"""Formats of calibration and test data: one file each, with a :class:`edgekit.plugins.DataFormat` called ``DATA``."""
