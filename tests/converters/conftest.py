"""Property tests draw the same examples each time, keep no folder of past ones, and are in no hurry."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "edgekit", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("edgekit")
