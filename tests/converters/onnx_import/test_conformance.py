"""The importer against all of ONNX's own node tests that count: what passes must, and the file of gaps is true.

The one long test of this folder: 90 s on one core, for every test is exported as well.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import warnings
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def outcomes(conformance: ModuleType, one_thread: None) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: list[Any] = conformance.outcomes_of_all()
    return found


@pytest.fixture
def same_versions(conformance: ModuleType) -> None:
    """Another release of ONNX has other tests, and another runtime passes other ones."""
    for package, version in conformance.known_gaps().versions.items():
        if importlib.metadata.version(package) != version:
            pytest.skip(f"the file of gaps is of {package} {version}")


def test_enough_pass(conformance: ModuleType, outcomes: list[Any]) -> None:
    found = conformance.shares(outcomes)
    assert found.keys() == conformance.LEAST.keys()
    assert [name for name, share in found.items() if share < conformance.LEAST[name]] == []


@pytest.mark.usefixtures("same_versions")
def test_as_many_count_as_the_page_says(conformance: ModuleType, outcomes: list[Any]) -> None:
    page = conformance.PAGE.read_text()
    assert f"gives {len(outcomes):,} tests" in page
    assert f"; {sum(item.exotic for item in outcomes)} use 8-bit floats, bfloat16 or integers" in page


@pytest.mark.usefixtures("same_versions")
def test_the_file_of_gaps_is_true(conformance: ModuleType, outcomes: list[Any]) -> None:
    assert conformance.disagreements(outcomes, conformance.known_gaps()) == []


@pytest.mark.usefixtures("same_versions")
def test_the_page_has_the_table(conformance: ModuleType, outcomes: list[Any]) -> None:
    assert conformance.page_table(conformance.PAGE.read_text()) == conformance.table(outcomes)


def test_each_gap_has_a_reason_of_its_own(conformance: ModuleType) -> None:
    gaps = conformance.known_gaps().gaps
    assert all(gap.reason and gap.tests for gap in gaps)
    assert len({gap.name for gap in gaps}) == len(gaps)
    assert sum(len(gap.tests) for gap in gaps) == len(conformance.known_gaps().tests)


def test_disagreements_are_named(conformance: ModuleType, node_tests: ModuleType) -> None:
    outcome = node_tests.Outcome("test_one", "Add", False, [], "passed", "passed")
    failing = dataclasses.replace(outcome, name="test_two", export="differs by 1")
    gap = conformance.Gap("", "", ("test_one", "test_three"))
    assert conformance.disagreements([outcome, failing], conformance.Gaps({}, (gap,))) == [
        "test_two fails and is not listed: export: differs by 1",
        "test_one is listed and passes",
        "test_three is listed and does not count",
    ]
    assert conformance.shares([outcome, failing]) == {"eager": 100.0, "export": 50.0, "all": 50.0}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("add", True),
        ("gru_seq_length", True),
        ("reversesequence_batch", True),
        ("tfidfvectorizer_tf_only_bigrams_skip0", True),
        ("training_dropout_zero_ratio", False),
        ("batchnorm_epsilon_training_mode", False),
        ("adam", False),
        ("nllloss_NC_expanded", False),
        ("sce_mean", False),
        ("equal_string", False),
        ("sequence_insert_at_back", False),
        ("identity_opt", False),
    ],
)
def test_what_counts_is_read_from_the_model(node_tests: ModuleType, name: str, counts: bool) -> None:
    test = next(item for item in node_tests.all_tests() if item.name == f"test_{name}")
    assert node_tests.counts(test) is counts
