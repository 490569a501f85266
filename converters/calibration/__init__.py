"""Calibration: one way of turning samples into ranges of activations, for every target.

A form's ``calibrate`` job runs its float file over the samples and gives each tensor's values to a
:class:`converters.calibration.ranges.Collector`; the quantizing steps read the ranges it wrote.
"""
