"""CPU time of ``edgekit --help`` against its budget of 150 ms.

    python benchmarks/help_time.py [--runs 21]

Exit code 1 when the median is over the budget.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from _measure import EDGEKIT, run

BUDGET_S = 0.150


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    runs = parser.parse_args().runs
    run([*EDGEKIT, "--help"])  # the first one writes __pycache__
    help_s = [run([*EDGEKIT, "--help"]).cpu_s for _ in range(runs)]
    bare_s = [run([sys.executable, "-P", "-c", ""]).cpu_s for _ in range(runs)]
    median_s = statistics.median(help_s)
    print(
        f"edgekit --help: {median_s * 1000:.0f} ms CPU, median of {runs} "
        f"({min(help_s) * 1000:.0f} to {max(help_s) * 1000:.0f}), budget {BUDGET_S * 1000:.0f} ms; "
        f"bare Python {statistics.median(bare_s) * 1000:.0f} ms"
    )
    return int(median_s > BUDGET_S)


if __name__ == "__main__":
    sys.exit(main())
