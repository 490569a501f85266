from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import reporting


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_REPORTER", reporting._Reporter())


def test_what_a_job_says_is_read(tmp_path: Path) -> None:
    file = tmp_path / "job.progress"
    assert reporting.read(file) is None
    reporting.report_to(file)
    reporting.advance(3, 10)
    assert reporting.read(file) == (3, 10, "samples")
    reporting.advance(10, 10, unit="")  # the last one is always told
    assert reporting.read(file) == (10, 10, "")


def test_it_is_not_said_too_often(tmp_path: Path) -> None:
    file = tmp_path / "job.progress"
    reporting.report_to(file)
    for done in range(1, 1000):
        reporting.advance(done, 100_000)
    found = reporting.read(file)
    assert found is not None and found[0] < 999


def test_outside_a_job_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reporting.advance(1, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_just_being_written_is_nothing(tmp_path: Path) -> None:
    file = tmp_path / "job.progress"
    file.write_text("3 ")
    assert reporting.read(file) is None
