from __future__ import annotations

import pytest

from edgekit.durations import seconds
from edgekit.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "expected"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120), ("0.5s", 0.5)]
)
def test_durations(typed: str, expected: float) -> None:
    assert seconds(typed) == expected


@pytest.mark.parametrize(
    "typed", ["", "10", "0s", "0.0m", "-5s", "5 min", "1e3s", "٣s", "s", "1.s", "10m30s", "infs", "$(reboot)s"]
)
def test_what_is_no_duration(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        seconds(typed)
    assert repr(typed) in caught.value.message
    assert caught.value.hint == "Type it as 90s, 10m or 1h."
