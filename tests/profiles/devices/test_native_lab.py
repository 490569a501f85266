"""A native program over a real adbd, on the emulated arm64 machine; the program is a shell script that stands in."""

from __future__ import annotations

import json
from pathlib import Path

from lab import Lab
from tiny_models import MODELS

ADB = "adb:127.0.0.1:5555"
PROGRAM = """#!/bin/sh
test "$(uname -m)" = aarch64 || exit 3
for word; do
    case "$word" in
        --warmup_runs=*) warm=${word#*=} ;;
        --num_runs=*) runs=${word#*=} ;;
        --graph=*) test -s "${word#*=}" || exit 4 ;;
        --input_layer_value_files=*) test "$(wc -c < "${word##*:}")" = 256 || exit 5 ;;
    esac
done
echo "INFO: count=$warm" >&2
echo "INFO: count=$runs first=900 curr=800 min=700 max=900 avg=801.5 std=2 p5=700 median=800 p95=900" >&2
echo "INFO: Inference timings in us: Init: 5579, First inference: 0, Warmup (avg): nan, Inference (avg): 801.5" >&2
"""


def test_a_native_program_runs_over_adb_and_nothing_of_it_stays(lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "android_aarch64_benchmark_model"
    program.write_text(PROGRAM)
    words = ("profile", MODELS / "tiny.tflite", "--device", ADB, "--runner", program, "--budget", "3", "--json")
    found = lab.edgekit(*words)
    assert found.returncode == 0, found.stderr
    (profile,) = json.loads(found.stdout)["profiles"]
    figures = {one["metric"]: one["value"] for one in profile["measurements"]}
    assert figures["latency_p50_ns"] == 800_000
    assert figures["latency_p99_ns"] is None
    assert figures["peak_memory_bytes"] is None
    assert figures["load_ns"] == 5_579_000
    assert figures["first_run_ns"] == 900_000
    runs = lab.pi / "data" / "local" / "tmp" / "edgekit" / "run"
    assert not runs.exists() or not list(runs.iterdir())
