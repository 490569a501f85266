"""Peak memory of calibrating on 50 samples and on 5000.

    python benchmarks/calibration_memory.py [--models FOLDER] [--few 50] [--many 5000]

Converts the MNIST network to every target in int8, once per number of samples, and adds up the proportional memory
(PSS) of the command and of all its children, many times a second (Linux). Exit code 1 when the two peaks are more
than 200 MB apart. The largest process is named with its own peak, which is where to look.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _cases import ROOT, Case, all_cases
from _measure import EDGEKIT

LIMIT_BYTES = 200_000_000
INTERVAL_S = 0.1


@dataclass
class Peak:
    """Of one command.

    Attributes:
        tree_bytes: Largest sum over all its processes at one moment.
        parent_bytes: Largest of the command's own process, which reads the data.
        child_bytes: Largest of a child.
        wall_s: Seconds it took.
    """

    tree_bytes: int = 0
    parent_bytes: int = 0
    child_bytes: int = 0
    wall_s: float = 0.0


def measure(command: list[str], log: Path, environment: dict[str, str]) -> Peak:
    """Run a command to its end, and look at its memory all the while.

    Raises:
        SystemExit: It failed.
    """
    peak = Peak()
    start = time.monotonic()
    with log.open("wb") as sink:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment)
        while child.poll() is None:
            sizes = {pid: _pss(pid) for pid in _tree(child.pid)}
            peak.tree_bytes = max(peak.tree_bytes, sum(sizes.values()))
            peak.parent_bytes = max(peak.parent_bytes, sizes.pop(child.pid, 0))
            peak.child_bytes = max(peak.child_bytes, *sizes.values(), 0)
            time.sleep(INTERVAL_S)
    peak.wall_s = time.monotonic() - start
    if child.returncode:
        sys.exit(f"{' '.join(command)}\nended with {child.returncode}:\n{log.read_text()[-3000:]}")
    return peak


def _tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            children[int(status.rpartition(")")[2].split()[1])].append(int(entry.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _pss(pid: int) -> int:
    """Its memory in bytes, where a page that several processes share counts in parts; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def calibrate(case: Case, count: int, folder: Path) -> Peak:
    """Convert with ``count`` samples, none of whose ranges are kept from before."""
    inputs = next(iter(case.labelled.values()))[0]
    if len(inputs) < count:
        raise SystemExit(f"{case.name} has {len(inputs)} samples, {count} are wanted.")
    folder.mkdir()
    np.savez(folder / "data.npz", **{case.input_name: inputs[:count]})
    command = [*EDGEKIT, "convert", str(case.weights), *case.options, "--to=all", "--int8", "--quiet"]
    command += ["--data", str(folder / "data.npz"), f"--calibration-samples={count}", "--output", str(folder)]
    return measure(command, folder / "log.txt", {**os.environ, "EDGEKIT_CACHE": str(folder / "cache")})


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--many", type=int, default=5000)
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory(prefix="edgekit-memory-") as name:
        cases = all_cases(options.models.resolve(), Path(name))
        case = next((item for item in cases if item.name == "burn-mnist.pt"), None)
        if case is None:
            sys.exit(f"{options.models} has no burn_mnist.")
        for count in (options.few, options.many):
            peak = calibrate(case, count, Path(name) / str(count))
            peaks.append(peak)
            print(
                f"{count} samples: {peak.tree_bytes / 1e6:.0f} MB in all, {peak.parent_bytes / 1e6:.0f} MB the command "
                f"itself, {peak.child_bytes / 1e6:.0f} MB its largest child, {peak.wall_s:.0f} s",
                flush=True,
            )
    more = peaks[1].tree_bytes - peaks[0].tree_bytes
    print(f"difference: {more / 1e6:+.0f} MB, limit {LIMIT_BYTES / 1e6:.0f} MB")
    return int(more > LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
