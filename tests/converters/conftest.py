"""What the tests of converters share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Property tests draw the same examples each time, keep no folder of past ones, and are in no hurry.
settings.register_profile(
    "edgekit", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("edgekit")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Where tensors are tiny: on a busy machine torch's threads wait for each other nine tenths of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
