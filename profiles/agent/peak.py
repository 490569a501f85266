"""How fast this CPU multiplies: NumPy's float32 matrix product, in a process of its own.

That is the OpenBLAS (or other library) that NumPy came with, which reaches most of what the CPU can do in float32. Its
number of threads is fixed when NumPy is imported, and the agent's own NumPy has one; hence the process.

Two sizes take turns: the smaller is short enough to fall between two interruptions on a busy machine, the larger keeps
many cores busy. The best run is the peak; that is for whoever reads the samples.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZES = (384, 768)
"""Rows and columns of the square matrices; 2 * size**3 operations per product."""

_SECONDS = 0.2
_LEAST_RUNS = 3
_TIMEOUT_S = 60.0
_VARIABLES = (
    "BLIS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
_CODE = "import sys; sys.path[0] = sys.argv[1]; from profiles.agent import peak; peak.main()"


def measure(threads: int) -> dict[str, Any]:
    """Run the products, 0.4 s of them with one thread and as much with several; nothing else should be running.

    With one thread always: where several reach less than one, they did not have a CPU each, and the reader must know.

    Args:
        threads: That NumPy may use.

    Returns:
        ``threads``; ``products``, a list of ``{"threads", "size", "ns": [...]}``; ``library``, what multiplied, as
        NumPy names it, or empty.

    Raises:
        RuntimeError: A process failed; the message has its last words.
    """
    found = [_run(count) for count in sorted({1, threads})]
    return {
        "threads": threads,
        "products": [product for one in found for product in one["products"]],
        "library": found[-1]["library"],
    }


def _run(threads: int) -> dict[str, Any]:
    """What a process that may use so many threads prints."""
    root = str(Path(__file__).resolve().parents[2])  # the agent's archive, or the repository
    environment = {**os.environ, **dict.fromkeys(_VARIABLES, str(threads))}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _CODE, root],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"NumPy's product failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for product in found["products"]:
        product["threads"] = threads
    return found


def main() -> None:
    """The other process: prints its samples."""
    print(json.dumps({"products": [_product(size) for size in SIZES], "library": _library()}))


def _product(size: int) -> dict[str, Any]:
    """Nanoseconds of each product of two matrices of this size."""
    import numpy as np

    left = np.random.default_rng(0).random((size, size), np.float32)
    right, result = left.copy(), np.empty_like(left)
    np.matmul(left, right, out=result)  # threads are started now
    ns: list[int] = []
    end = time.perf_counter() + _SECONDS
    while len(ns) < _LEAST_RUNS or time.perf_counter() < end:
        before = time.perf_counter_ns()
        np.matmul(left, right, out=result)
        ns.append(time.perf_counter_ns() - before)
    return {"size": size, "ns": ns}


def _library() -> str:
    import numpy as np

    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (TypeError, KeyError):  # NumPy before 1.26 prints it, and says nothing to a program
        return ""
    return f"{blas['name']} {blas['version']}".strip()
