from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.plugins import MetricInput
from profiles.metrics import latency


@pytest.mark.parametrize(
    ("count", "known"), [(28, []), (29, ["p90"]), (58, ["p90"]), (59, ["p90", "p95"]), (299, ["p90", "p95", "p99"])]
)
def test_tails_need_samples(count: int, known: list[str]) -> None:
    turn: dict[str, Any] = {"round": 0, "ns": list(range(1, count + 1)), "switches": None, "run_delay_ns": None}
    raw = {"load": {"load_ns": 1}, "first": {"first_ns": 1}, "turns": [turn]}
    found = {one.metric: one for one in latency.measure(MetricInput(Path(__file__), {}, raw))}
    tails = [found[f"latency_{name}_ns"] for name in ("p90", "p95", "p99")]
    assert [one.metric[8:11] for one in tails if one.value is not None] == known
    for share, one in zip((0.9, 0.95, 0.99), tails, strict=True):
        if one.value is None:
            assert one.unavailable.endswith(f"samples, has {count}")
        else:
            assert one.value == pytest.approx(1 + share * (count - 1))
            assert one.high is not None and one.value <= one.high <= count
