"""Reports for tests, as measuring them would give."""

from __future__ import annotations

from dataclasses import replace

from edgekit.drift_types import Drift, FileDrift, TaskFigure, TaskResult, Verdict
from edgekit.types import Comparison, DeviceFacts, Measurement, Place, Profile, Report, Turn

HOSTILE = "=evil;\x1b[31m<script>alert(1)</script>|`x`\n@someone [link](http://x) $(touch hurt)"


def profile(name: str, size: float, p50: float, *, device: str = "host", delegated: float = 1.0) -> Profile:
    figures = (
        Measurement("size_bytes", size, "bytes", False, samples=1),
        Measurement("latency_p50_ns", p50, "ns", False, p50 * 0.99, p50 * 1.01, "95% CI of the median", 300),
        Measurement("latency_p90_ns", None, "ns", False, unavailable="needs 29 samples, has 3"),
        Measurement("delegated_macs_ratio", delegated, "ratio", True, samples=1),
    )
    turns = tuple(Turn(number, (int(p50),), (False,), 1e5) for number in range(40))
    scheme = "int8" if "int8" in name else "float32"
    return Profile(
        f"models/{name}", "tflite", "s", "i", "LiteRT 2.3.0", 1, figures, turns=turns, device=device, scheme=scheme
    )


def comparison(name: str, base: str, ratio: float, *, device: str = "host", verdict: str = "") -> Comparison:
    words = verdict or ("faster" if ratio < 0.95 else "slower" if ratio > 1.05 else "no difference shown")
    return Comparison(
        f"models/{name}", 1, f"models/{base}", 1, words, ratio, ratio * 0.98, ratio * 1.02, 0.01, 40, "",
        device, device,
    )  # fmt: skip


def drift(
    name: str, sqnr: float | None, change: float, *, status: str = "acceptable", half: float = 0.004
) -> FileDrift:
    low, high = change - half, change + half
    figure = TaskFigure(
        "top1", "ratio", True, 0.95 + change, reference=0.95, difference=change, difference_low=low,
        difference_high=high, differs=low > 0 or high < 0, samples=1000,
    )  # fmt: skip
    outputs = (Drift("scores", 0.1, sqnr, 1.0, 0.99, 1000),)
    task = TaskResult("classification", "", (figure,))
    return FileDrift(f"models/{name}", "tflite", "int8", "s", outputs, Verdict(status, ()), task=task)


def place(name: str = "host", *, emulated: bool = False) -> Place:
    return Place(name, DeviceFacts(name, "Linux", "x86_64", "A CPU", 2, 10**9, "3.11", 0.1, emulated), {"cpu": "A CPU"})


def usual() -> Report:
    """A float file, an int8 file that is better, one that is broken, and one that is larger and slower."""
    return Report(
        command="edgekit compare",
        source="model.pt",
        profiles=(
            profile("m.float32.tflite", 100_000, 1e6),
            profile("m.int8.tflite", 27_000, 4e5),
            profile("m.fast.int8.tflite", 26_000, 3e5),
            profile("m.slow.float32.tflite", 101_000, 2e6),
        ),
        comparisons=(
            comparison("m.int8.tflite", "m.float32.tflite", 0.4),
            comparison("m.fast.int8.tflite", "m.float32.tflite", 0.3),
            comparison("m.slow.float32.tflite", "m.float32.tflite", 2.0),
        ),
        drifts=(
            drift("m.float32.tflite", None, 0.0, status="equal"),
            drift("m.int8.tflite", 37.0, -0.001),
            drift("m.fast.int8.tflite", 12.0, -0.2, status="broken"),
            drift("m.slow.float32.tflite", 130.0, 0.0, status="equal"),
        ),
        devices=(place(),),
    )


def hostile() -> Report:
    """The usual one with names that would do harm."""
    found = usual()

    def renamed(path: str) -> str:
        return path.replace("m.int8", f"m{HOSTILE}.int8")

    return replace(
        found,
        profiles=tuple(replace(one, path=renamed(one.path), device=HOSTILE) for one in found.profiles),
        comparisons=tuple(
            replace(one, path=renamed(one.path), device=HOSTILE, baseline_device=HOSTILE) for one in found.comparisons
        ),
        drifts=tuple(replace(one, path=renamed(one.path), device=HOSTILE) for one in found.drifts),
        devices=(replace(found.devices[0], name=HOSTILE),),
    )
