from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import IMAGE, MODELS, TARGETS, OpenSession

from edgekit import data, feeds, registry
from edgekit.errors import MissingDependencyError
from profiles.devices._session import AgentSession


@pytest.fixture(autouse=True)
def kept_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six random pictures as a feeds folder."""
    return feeds.write(tmp_path / "images", data.random_feeds(IMAGE, 6, 0, {}))


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[OpenSession]:
    """Opens agents on this machine; none may be left at the end."""
    opened: list[AgentSession] = []

    def start(model: str | Path, *, threads: int = 1, timeout_s: float = 60.0) -> AgentSession:
        path = MODELS / model
        runtime = registry.runtimes()[registry.targets()[TARGETS[path.suffix]].runtime]
        try:
            registry.require(runtime.PACKAGES, runtime.EXTRA, runtime.TITLE)
        except MissingDependencyError as error:
            pytest.skip(error.message)
        device = registry.host()
        session = device.open_session(path, TARGETS[path.suffix], threads, None, tmp_path, timeout_s)
        assert isinstance(session, AgentSession)
        opened.append(session)
        return session

    yield start
    for session in opened:
        session.close()
        with pytest.raises(ProcessLookupError):
            os.kill(session.process.pid, 0)
