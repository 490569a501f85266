"""What ONNX's node tests say about the importer: shares, a table by kind of operator, and the gaps that are known.

Shared by ``benchmarks/onnx_node_tests.py`` and ``tests/converters/onnx_import/test_conformance.py``.
"""

from __future__ import annotations

import collections
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _onnx_node_tests import Outcome, all_tests, counts, passes_in_runtime, run

from converters.onnx_import.operators import registry

ROOT = Path(__file__).parent.parent
GAPS = ROOT / "tests" / "converters" / "onnx_import" / "known_gaps.toml"
PAGE = ROOT / "docs" / "onnx-import.md"
MARKS = ("<!-- onnx-node-tests -->", "<!-- /onnx-node-tests -->")
LEAST = {"eager": 97.0, "export": 95.0, "all": 90.0}
"""Percent that must pass: eagerly and after torch.export without exotic types, and of all after torch.export."""
EXPANDED = "bodies of functions"
NOT_IMPORTED = "not imported"
TAKEN_APART = "taken apart by ONNX's own definition"
_KINDS = {"microsoft": "normalization", "selection": "indexing", "text": "indexing", "packed_matmul": "linear"}
"""Files of operators that the table shows with others."""


@dataclass(frozen=True)
class Gap:
    """Tests that do not pass, for one reason.

    Attributes:
        name: Of the reason, short.
        reason: In a sentence.
        tests: Their names.
    """

    name: str
    reason: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Gaps:
    """The file of known gaps.

    Attributes:
        versions: Of the packages it was written with, by name.
        gaps: By reason.
    """

    versions: dict[str, str]
    gaps: tuple[Gap, ...]

    @property
    def tests(self) -> set[str]:
        """All names."""
        return {name for gap in self.gaps for name in gap.tests}


def known_gaps() -> Gaps:
    """The file, read."""
    content = tomllib.loads(GAPS.read_text())
    found = [Gap(item["name"], item["reason"], tuple(item["tests"])) for item in content["gap"]]
    return Gaps(content["versions"], tuple(found))


def outcomes_of_all(export: bool = True) -> list[Outcome]:
    """Every test that counts, run."""
    return [run(test, export) for test in all_tests() if counts(test) and passes_in_runtime(test)]


def shares(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Percent that pass, as :data:`LEAST` names them."""
    plain = [item for item in outcomes if not item.exotic]
    return {
        "eager": _share(item.eager == "passed" for item in plain),
        "export": _share(item.passed for item in plain),
        "all": _share(item.passed for item in outcomes),
    }


def _share(passed: Iterable[bool]) -> float:
    found = list(passed)
    return 100 * sum(found) / max(len(found), 1)


def disagreements(outcomes: Sequence[Outcome], gaps: Gaps) -> list[str]:
    """Where the file of gaps and the tests say different things, one line each."""
    listed, run_names = gaps.tests, {item.name for item in outcomes}
    lines = [f"{item.name} fails and is not listed: {_why(item)}" for item in outcomes
             if not item.passed and item.name not in listed]  # fmt: skip
    lines += [f"{item.name} is listed and passes" for item in outcomes if item.passed and item.name in listed]
    return lines + [f"{name} is listed and does not count" for name in sorted(listed - run_names)]


def _why(item: Outcome) -> str:
    return item.eager if item.eager != "passed" else f"export: {item.export}"


def kind_of(outcome: Outcome, domains: dict[str, str]) -> str:
    """The row of the table that a test is in: the file of its operator.

    Args:
        outcome: The test.
        domains: Domain of the operator of each test, by the test's name.
    """
    if outcome.operator == "expanded":
        return EXPANDED
    key = (domains[outcome.name], outcome.operator)
    if key in registry():
        name = str(registry()[key].function.__module__).rpartition(".")[2]
        return _KINDS.get(name, name)
    return NOT_IMPORTED if outcome.eager.startswith("UnsupportedError") else TAKEN_APART


def table(outcomes: Sequence[Outcome]) -> str:
    """The table of the page, in Markdown: tests that pass by kind, and the gaps."""
    domains: dict[str, Any] = {test.name: test.model.graph.node[0].domain for test in all_tests()}
    rows: dict[str, list[Outcome]] = collections.defaultdict(list)
    for item in outcomes:
        rows[kind_of(item, domains)].append(item)
    last = [EXPANDED, TAKEN_APART, NOT_IMPORTED]
    order = sorted(rows, key=lambda name: (last.index(name) + 1 if name in last else 0, name))
    lines = ["| kind | operators | tests | eager | after torch.export | operands made constants |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    lines += [_row(name, rows[name]) for name in order]
    lines.append(_row("**without 8-bit floats, bfloat16, integers under a byte**",
                      [item for item in outcomes if not item.exotic]))  # fmt: skip
    lines.append(_row("**all**", outcomes))
    lines += ["", "| what does not pass | tests | why |", "|---|---|---|"]
    lines += [f"| {gap.name} | {len(gap.tests)} | {gap.reason} |" for gap in known_gaps().gaps]
    return "\n".join(lines)


def _row(name: str, items: Sequence[Outcome]) -> str:
    operators = len({item.operator for item in items} - {"expanded"})
    eager, export = _share(item.eager == "passed" for item in items), _share(item.passed for item in items)
    passed = sum(item.eager == "passed" for item in items), sum(item.passed for item in items)
    fixed = sum(bool(item.fixed) for item in items)
    return (
        f"| {name} | {operators or '-'} | {len(items)} | {passed[0]} ({eager:.1f} %) |"
        f" {passed[1]} ({export:.1f} %) | {fixed or '-'} |"
    )


def page_with(content: str, made: str) -> str:
    """A page with another table between its marks."""
    before, rest = content.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{made}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def page_table(content: str) -> str:
    """The table between the marks of a page."""
    return content.split(MARKS[0])[1].split(MARKS[1])[0].strip()
