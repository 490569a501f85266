"""Devices for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, build, copy
from local_transport import LocalTransport

from edgekit.device_plugins import ConnectOptions
from profiles.devices import _remote
from profiles.devices._remote import RemoteDevice


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[LocalTransport]:
    """A device on this machine."""
    home = tmp_path / "a home; with $(touch hurt) 'signs'"
    home.mkdir()
    found = LocalTransport(home)
    yield found
    found.close()
    assert not list(tmp_path.rglob("hurt"))


@pytest.fixture
def device(transport: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteDevice]:
    """The same, with all that is above a transport; nothing may be left running or lying about there."""
    monkeypatch.setattr(_remote, "_WAITS_S", (0.0, 0.1))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with RemoteDevice(transport, ConnectOptions(scratch=scratch, name="board")) as found:
        yield found
    runs = transport.root / "edge kit" / "run"
    assert not runs.exists() or not list(runs.iterdir())


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An emulated arm64 machine of this session's own, with a user of its own on this side."""
    folder = tmp_path_factory.mktemp("lab")
    machine = copy(build(), folder / "machine")
    (folder / "home").mkdir()
    yield Lab(machine, folder / "home")
    subprocess.run(["rm", "-rf", machine], check=True)
