"""Devices that the user's ssh settings name."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.devices import ssh


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh" / "more.d").mkdir(parents=True)
    return tmp_path / ".ssh" / "config"


def addresses() -> list[str]:
    return [one.address for one in ssh.DEVICE.discover()]


def test_hosts_without_wildcards_are_devices(settings: Path) -> None:
    settings.write_text(
        "User me\n# Host never\nHost pi *.lan !bad\n  HostName 10.0.0.7\nhost=tab\t second # and a word\n"
        'Host "quoted"\nHost -oProxyCommand=x $(touch) pi\nMatch host matched\n'
    )
    assert addresses() == ["ssh://pi", "ssh://tab", "ssh://second", "ssh://quoted"]
    found = ssh.DEVICE.discover()[0]
    assert (found.state, found.hint) == ("configured", "edgekit devices check ssh://pi")


def test_files_that_are_included_count(settings: Path, tmp_path: Path) -> None:
    (settings.parent / "more.d" / "b").write_text("Host bee\n")
    (settings.parent / "more.d" / "a").write_text("Host ay\nInclude config\n")
    (settings.parent / "none").mkdir()
    settings.write_text("Include more.d/* none nowhere ~/home.conf\nHost last\n")
    (tmp_path / "home.conf").write_text("Host home\n")
    assert sorted(addresses()) == ["ssh://ay", "ssh://bee", "ssh://home", "ssh://last"]


def test_no_settings_no_devices(settings: Path) -> None:
    assert addresses() == []
