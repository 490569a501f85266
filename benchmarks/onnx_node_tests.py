"""ONNX's own node tests through edgekit's importer: eagerly, and through torch.export.

    OMP_NUM_THREADS=1 python benchmarks/onnx_node_tests.py [--only PATTERN]... [--no-export] [--json FILE] [--failures]
    OMP_NUM_THREADS=1 python benchmarks/onnx_node_tests.py --write

``_onnx_node_tests.py`` says which tests count and how one is run; ``--all`` counts what ONNX Runtime does not pass as
well. ``--write`` writes the table of docs/onnx-import.md. Of the whole set it exits with 1 where fewer pass than must,
or other tests fail than tests/converters/onnx_import/known_gaps.toml says.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from _onnx_conformance import LEAST, PAGE, disagreements, known_gaps, page_with, shares, table
from _onnx_node_tests import Outcome, all_tests, counts, operator_of, passes_in_runtime, run


def main() -> int:
    """Run the tests that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="names or operators, with * and ?")
    parser.add_argument("--no-export", action="store_true")
    parser.add_argument("--all", action="store_true", help="also what ONNX Runtime does not pass")
    parser.add_argument("--failures", action="store_true", help="list them")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="write the table of docs/onnx-import.md")
    given = parser.parse_args()
    whole = not (given.only or given.all or given.no_export)
    if given.write and not whole:
        parser.error("--write is for the whole set: without --only, --all and --no-export")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started = time.monotonic()
    outcomes = [
        run(test, not given.no_export)
        for test in all_tests()
        if _is_asked_for(test, given.only) and counts(test) and (given.all or passes_in_runtime(test))
    ]
    _report(outcomes, given.failures)
    print(f"{time.monotonic() - started:.0f} s")
    if given.json:
        given.json.write_text(json.dumps([asdict(item) for item in outcomes], indent=1))
    if given.write:
        PAGE.write_text(page_with(PAGE.read_text(), table(outcomes)))
    return _judged(outcomes) if whole else 0


def _is_asked_for(test: Any, only: list[str]) -> bool:
    return not only or any(fnmatchcase(word, item) for item in only for word in (test.name, operator_of(test)))


def _judged(outcomes: Sequence[Outcome]) -> int:
    """Say what is not as it should be."""
    found = disagreements(outcomes, known_gaps())
    found += [f"{name}: {share:.1f} % pass, must be {LEAST[name]:.0f} %" for name, share in shares(outcomes).items()
              if share < LEAST[name]]  # fmt: skip
    for line in found:
        print(line)
    return 1 if found else 0


def _report(outcomes: Sequence[Outcome], failures: bool) -> None:
    """Print the table by operator."""
    rows: dict[str, list[Outcome]] = collections.defaultdict(list)
    for item in outcomes:
        rows[item.operator].append(item)
    print(f"{'operator':26} {'tests':>6} {'eager':>6} {'export':>6} {'fixed':>6}")
    for name in sorted(rows):
        _line(name, rows[name])
    print()
    _line("without exotic types", [item for item in outcomes if not item.exotic])
    _line("all", outcomes)
    if failures:
        print()
        for item in outcomes:
            if item.eager != "passed":
                print(f"{item.name}: {item.eager}")
            elif item.export not in ("passed", "-"):
                print(f"{item.name}: export: {item.export}")


def _line(name: str, items: Sequence[Outcome]) -> None:
    eager = sum(item.eager == "passed" for item in items)
    export = sum(item.export == "passed" for item in items)
    share = f"{100 * eager / len(items):6.1f} % {100 * export / len(items):6.1f} %" if items else ""
    fixed = sum(bool(item.fixed) for item in items)
    print(f"{name:26} {len(items):6} {eager:6} {export:6} {fixed:6}  {share}")


if __name__ == "__main__":
    sys.exit(main())
