"""CPU time of ``edgekit --help`` and ``edgekit list`` against their budgets of 150 and 500 ms.

    python benchmarks/help_time.py [--runs 21]

Exit code 1 when a median is over its budget.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from _measure import EDGEKIT, run

BUDGETS_S = {"--help": 0.150, "list": 0.500}


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21)
    runs = parser.parse_args().runs
    bare_s = [run([sys.executable, "-P", "-c", ""]).cpu_s for _ in range(runs)]
    print(f"bare Python: {statistics.median(bare_s) * 1000:.0f} ms CPU, median of {runs}")
    over = False
    for argument, budget_s in BUDGETS_S.items():
        run([*EDGEKIT, argument])  # the first one writes __pycache__
        taken_s = [run([*EDGEKIT, argument]).cpu_s for _ in range(runs)]
        median_s = statistics.median(taken_s)
        print(
            f"edgekit {argument}: {median_s * 1000:.0f} ms CPU, median of {runs} "
            f"({min(taken_s) * 1000:.0f} to {max(taken_s) * 1000:.0f}), budget {budget_s * 1000:.0f} ms"
        )
        over |= median_s > budget_s
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
