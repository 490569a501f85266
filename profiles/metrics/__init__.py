"""Figures: one file per family, each arithmetic on what the agent wrote. None knows a runtime or a framework.

``MetricInput.raw`` holds, as far as the run came::

    start, load, first    the agent's answers to these (see :mod:`profiles.agent`)
    turns                 its answers to "time", one per round, in order

A metric that cannot be taken is returned with ``value=None`` and the reason, never left out in silence.
"""
