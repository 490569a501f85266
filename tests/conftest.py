"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Run in the background, the tests and all that they start would ignore Ctrl-C, which some of them are about.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Calibration ranges that tests keep are no business of the user's, nor his of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of real trained models; tests that need it are skipped where it does not lie."""
    folder = ROOT.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip("the folder of real trained models, ../shared/models, is not beside the repository")
    return folder
