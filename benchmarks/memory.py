"""Memory of models whose memory is known, on the three runtimes.

    python benchmarks/memory.py

One constant of 64 MiB, one activation of 234 MiB (``_memory_models.py``). Each file is loaded and run in an agent of
its own, as ``edgekit profile`` does it, and what edgekit reports is compared with what is known. Exit code 1 when a
figure is more than 5 % off.

ONNX Runtime holds a constant twice while it reads a file that has it inside, and once when it lies in a file beside
it; so the peak is checked against twice its size in the first case.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import _memory_models as known

from edgekit import data, feeds, registry
from edgekit.plugins import MetricInput
from edgekit.types import Measurement

LIMIT = 0.05
MIB = 1 << 20
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Case:
    """A model, and what is known of it.

    Attributes:
        target: Name of its target.
        name: What it is.
        make: Writes it.
        expected: Metric to bytes.
    """

    target: str
    name: str
    make: Callable[[Path], Path]
    expected: Mapping[str, int]


def _all(size: int, **others: int) -> dict[str, int]:
    return {"peak_memory_bytes": size, "pss_bytes": size, "uss_bytes": size, **others}


CONSTANT, ACTIVATION = known.CONSTANT_BYTES, known.ACTIVATION_BYTES
CASES = (
    Case("tflite", "constant", known.tflite_constant, _all(CONSTANT)),
    Case("tflite", "activation", known.tflite_activation, _all(ACTIVATION)),
    Case("onnx", "constant", known.onnx_constant, _all(CONSTANT) | {"peak_memory_bytes": 2 * CONSTANT}),
    Case("onnx", "constant beside it", partial(known.onnx_constant, external=True), _all(CONSTANT)),
    Case("onnx", "activation", known.onnx_activation, _all(ACTIVATION, arena_bytes=ACTIVATION)),
    Case("executorch", "constant", known.executorch_constant, _all(CONSTANT)),
    Case("executorch", "activation", known.executorch_activation, _all(ACTIVATION, arena_bytes=ACTIVATION)),
)


def measure(path: Path, target: str, scratch: Path) -> dict[str, Measurement]:
    """What edgekit reports of one file's memory."""
    device = registry.host()
    raw: dict[str, Any] = {}
    with device.open_session(path, target, 1, None, scratch, TIMEOUT_S) as session:
        raw["start"], raw["load"] = session.ready(), session.load()
        given = feeds.write(scratch / f"{path.name}.feeds", data.random_feeds(session.signature, 1, 0, {}))
        raw["first"], raw["arena"] = session.first(given), session.arena()
    facts = registry.function(registry.targets()[target].inspect)(str(path))
    found = registry.metrics()["memory"].measure(MetricInput(path, facts, raw))
    return {item.metric: item for item in found}


def main() -> int:
    """Measure all, print a table."""
    misses = 0
    print(f"{'runtime':13} {'model':19} {'figure':18} {'known':>10} {'reported':>10} {'off':>7}")
    for case in CASES:
        target = registry.targets()[case.target]
        title = registry.runtimes()[target.runtime].TITLE
        with tempfile.TemporaryDirectory() as folder:
            path = case.make(Path(folder) / f"model{target.suffix}")
            found = measure(path, case.target, Path(folder))
        for metric, expected in case.expected.items():
            value = found[metric].value
            off = None if value is None else value / expected - 1
            miss = off is None or abs(off) > LIMIT
            misses += miss
            shown = found[metric].unavailable if value is None else f"{value / MIB:6.1f} MiB"
            print(
                f"{title:13} {case.name:19} {metric:18} {expected / MIB:6.1f} MiB {shown:>10} "
                f"{'' if off is None else f'{off:+7.1%}'}{'  MISS' if miss else ''}",
                flush=True,
            )
    print(f"{misses} figures are more than {LIMIT:.0%} off." if misses else f"All within {LIMIT:.0%}.")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
