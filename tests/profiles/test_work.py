from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import compression, feeds, registry
from edgekit.feeds import Feeds
from edgekit.plugins import MetricInput
from edgekit.types import Measurement
from profiles.agent import peak
from profiles.devices import _agent_zip
from profiles.metrics import work

ROW = {"macs": 500_000, "activations": "float32"}
FACTS: dict[str, Any] = {
    "parameters": 1000, "macs": 1_000_000, "macs_note": "", "uncounted": {}, "moved_bytes": 100_000, "moved_note": "",
    "arithmetic_intensity": 20.0, "counted_shapes": {"x": (1, 8)}, "work": [ROW, ROW],
}  # fmt: skip
# 40 GFLOP/s
PEAK = {"threads": 1, "library": "a library", "products": [{"threads": 1, "size": 100, "ns": [60_000, 50_000]}]}


def measure(name: str = "work", **given: Any) -> dict[str, Measurement]:
    given = {"path": Path(__file__), "facts": FACTS, "raw": {"turns": turns(), "peak": PEAK}, **given}
    return {item.metric: item for item in registry.metrics()[name].measure(MetricInput(**given))}


def turns(rounds: int = 8) -> list[dict[str, Any]]:
    """A median of 100 µs: with 10^6 MACs, 20 GFLOP/s."""
    return [{"ns": [90_000, 100_000, 300_000], "switches": [0] * 3, "run_delay_ns": [0] * 3} for _ in range(rounds)]


def test_achieved_and_share_of_the_peak() -> None:
    found = measure()
    assert (found["macs"].value, found["parameters"].value, found["moved_bytes"].value) == (1_000_000, 1000, 100_000)
    assert found["arithmetic_intensity"].value == 20.0
    assert found["achieved_gflops"].value == pytest.approx(20.0)
    assert found["peak_gflops"].value == pytest.approx(40.0)
    share = found["peak_share_ratio"]
    assert share.value == pytest.approx(0.5)
    assert "NumPy's float32 matrix product (a library), best run, 1 thread" in share.spread
    assert not any(item.unavailable for item in found.values())


def test_the_interval_is_that_of_the_latency() -> None:
    found = measure(raw={"turns": [{"ns": [80_000 + 10_000 * place]} for place in range(9)], "peak": PEAK})
    achieved, share = found["achieved_gflops"], found["peak_share_ratio"]
    assert achieved.low is not None and achieved.high is not None and achieved.value is not None
    assert achieved.low < achieved.value < achieved.high
    assert share.low == pytest.approx(achieved.low / 40)
    assert share.high == pytest.approx(achieved.high / 40)


def test_integers_have_no_share_of_a_float_peak() -> None:
    found = measure(facts={**FACTS, "work": [ROW, {"macs": 500_000, "activations": "int8"}]})
    assert found["achieved_gflops"].value == pytest.approx(20.0)
    assert found["peak_share_ratio"].value is None
    assert found["peak_share_ratio"].unavailable.startswith("50% of its MACs are not on float32")


def test_each_missing_figure_has_a_reason() -> None:
    unread = measure(facts={"unavailable": "onnx is not installed"})
    assert {item.unavailable for name, item in unread.items() if name != "peak_gflops"} == {"onnx is not installed"}
    unknown = {"macs": None, "macs_note": "MatMul m: open", "moved_bytes": None, "moved_note": "MatMul m: open"}
    open_sizes = measure(facts={**FACTS, **unknown, "arithmetic_intensity": None})
    missing = ("macs", "moved_bytes", "arithmetic_intensity", "achieved_gflops", "peak_share_ratio")
    assert all(open_sizes[name].unavailable == "MatMul m: open" for name in missing)
    assert measure(raw={"turns": turns()})["peak_share_ratio"].unavailable == "the peak of this CPU was not measured"
    none = measure(facts={**FACTS, "macs": 0})
    assert none["achieved_gflops"].unavailable == "the file has no multiply-accumulates"
    assert measure(raw={"peak": PEAK})["achieved_gflops"].unavailable == "it was not timed"


def test_a_lower_bound_is_called_one() -> None:
    found = measure(facts={**FACTS, "uncounted": {"If": 1}, "macs_note": "not counted: If (1)"})
    assert found["macs"].spread == "a lower bound: not counted: If (1)"
    assert "a lower bound" in found["achieved_gflops"].spread


@pytest.mark.parametrize(("batch", "known"), [(1, True), (4, False)])
def test_speed_needs_the_sizes_that_were_counted(batch: int, known: bool, tmp_path: Path) -> None:
    given = feeds.write(tmp_path / "feeds", Feeds({"x": np.zeros((3, batch, 8), np.float32)}))
    found = measure(feeds=given)["achieved_gflops"]
    assert (found.value is not None) == known
    assert known or found.unavailable.startswith("MACs are counted for x=1,8, and it was run on 4,8")


def test_peak_is_the_best_run_of_all_sizes() -> None:
    slow = {"threads": 1, "size": 100, "ns": [100_000]}
    fast = {"threads": 1, "size": 200, "ns": [400_000, 160_000]}
    assert work.peak_gflops({"threads": 1, "products": [slow, fast]}) == pytest.approx(100.0)
    assert work.peak_gflops({}) is None


def test_threads_without_a_cpu_each_are_no_peak() -> None:
    one, two = ({"threads": count, "size": 100, "ns": [50_000 // count]} for count in (1, 2))
    both = measure(raw={"turns": turns(), "peak": {"threads": 2, "products": [one, two]}})
    assert both["peak_gflops"].value == pytest.approx(80.0)
    waiting = {**two, "ns": [900_000]}
    found = measure(raw={"turns": turns(), "peak": {"threads": 2, "products": [one, waiting]}})
    assert found["achieved_gflops"].value is not None
    for name in ("peak_gflops", "peak_share_ratio"):
        assert found[name].unavailable.startswith("NumPy's product was slower with 2 threads than with one")


@pytest.mark.parametrize("packed", [False, True])
def test_the_products_run_in_a_process_of_their_own(packed: bool, tmp_path: Path) -> None:
    """From the repository, and from the archive that devices get."""
    if packed:
        code = "import sys, json; sys.path.insert(0, sys.argv[1]); from profiles.agent import peak; "
        code += "print(json.dumps(peak.measure(1)))"
        command = [sys.executable, "-c", code, str(_agent_zip.write(tmp_path / "agent.pyz"))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        found = json.loads(done.stdout)
    else:
        found = peak.measure(1)
    assert found["threads"] == 1
    assert [(item["threads"], item["size"]) for item in found["products"]] == [(1, size) for size in peak.SIZES]
    assert all(len(item["ns"]) >= 3 and min(item["ns"]) > 0 for item in found["products"])
    assert work.peak_gflops(found)


def test_a_product_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_CODE", "raise SystemExit('no NumPy here')")
    with pytest.raises(RuntimeError, match="no NumPy here"):
        peak.measure(1)


def test_compressed_size(tmp_path: Path) -> None:
    zeros, noise = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    zeros.write_bytes(bytes(3_000_000))
    noise.write_bytes(np.random.default_rng(0).bytes(50_000))
    expected = len(zlib.compress(zeros.read_bytes(), 9)) - 6  # less the header and checksum of zlib's own format
    assert compression.compressed_bytes([zeros]) == expected
    found = measure("size", path=zeros, facts={"beside": (noise.name,), "weights_bytes_by_dtype": {}})
    assert found["size_bytes"].value == 3_050_000
    assert found["compressed_bytes"].value == compression.compressed_bytes([tmp_path])
    assert 50_000 < (found["compressed_bytes"].value or 0) < 60_000


def test_very_large_files_are_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "LIMIT_BYTES", 10)
    found = measure("size")["compressed_bytes"]
    assert found.value is None and "are not compressed" in found.unavailable
