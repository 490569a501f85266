"""ssh to a real sshd of this machine, and what is said when it does not let one in; ``EDGEKIT_SSHD`` names the program.

The emulated machine is reached the same way; this one needs no emulation, and its server can be killed or changed.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgekit.errors import DeviceError, LinkLostError
from profiles.devices.ssh import PROGRAM, SshTransport

ROOT = Path(__file__).parent.parent.parent.parent
HOSTILE = ["a b", "quo'te", "$(touch hurt)", "`touch hurt`", "semi;touch hurt", "new\nline", "-rf"]


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("native_sshd", ROOT / "benchmarks" / "_native_sshd.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NATIVE = _module()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """One that is up, with keys of its own."""
    try:
        program = NATIVE.find()
    except NATIVE.NoSshdError as error:
        pytest.skip(str(error))
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this machine")
    place = tmp_path / "server"
    place.mkdir()
    with NATIVE.serve(program, place) as found:
        yield found


@pytest.fixture
def connect(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SshTransport]]:
    """Connects, with more settings in front of those that work."""
    made: list[SshTransport] = []
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*settings: str, host: str = NATIVE.HOST) -> SshTransport:
        config = tmp_path / "config"
        config.write_text("\n".join([*settings, server.config.read_text()]))
        monkeypatch.setenv(PROGRAM, f"ssh -F '{config}'")
        made.append(SshTransport(f"ssh://{host}", 5.0, tmp_path))
        return made[-1]

    yield call
    for one in made:
        one.close()
    assert not list(tmp_path.glob("ssh-*/*"))


def test_files_go_and_come_back_whatever_they_are_called(
    connect: Callable[..., SshTransport], server: Any, tmp_path: Path
) -> None:
    transport = connect()
    local = tmp_path / "local"
    local.mkdir()
    for name in HOSTILE:
        (local / name).write_bytes(os.urandom(200_000))
        transport.push(local, f"{server.folder}/{name}")
        transport.pull(f"{server.folder}/{name}", tmp_path / "back" / name)
        back = tmp_path / "back" / name
        assert {one.name: one.read_bytes() for one in back.iterdir()} == {
            one.name: one.read_bytes() for one in local.iterdir()
        }
    assert sorted(one.name for one in server.folder.iterdir()) == sorted(HOSTILE)


def test_output_exit_code_and_errors_of_a_script_arrive(connect: Callable[..., SshTransport]) -> None:
    found = connect().run("cat; echo err >&2; exit 7", stdin=b"in\0put")
    assert (found.code, found.stdout, found.stderr) == (7, b"in\0put", "err\n")


def test_many_programs_run_at_once(connect: Callable[..., SshTransport], tmp_path: Path) -> None:
    transport = connect()
    programs = [transport.start("cat", tmp_path / "log") for _ in range(12)]  # an sshd takes ten on one connection
    for number, one in enumerate(programs):
        assert one.stdin is not None and one.stdout is not None
        one.stdin.write(b"%d\n" % number)
        assert one.stdout.readline() == b"%d\n" % number
    assert transport.run("true").code == 0


def test_a_server_that_dies_is_a_lost_link(connect: Callable[..., SshTransport], tmp_path: Path) -> None:
    transport = connect()
    program = transport.start("echo here; exec cat", tmp_path / "log")
    assert program.stdout is not None and program.stdout.readline() == b"here\n"
    with pytest.raises(LinkLostError):
        transport.run("kill -9 $PPID; sleep 5")
    program.wait(20)
    assert transport.lost(program)
    transport.reconnect()
    assert transport.run("echo back").text == "back"


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        (["IdentityFile {none}", "PubkeyAuthentication no"], "does not let you in.*Permission denied", "ssh-copy-id"),
        (["Port 1"], "nothing answers there.*Connection refused", "ssh switched on"),
        (["UserKnownHostsFile {none}"], "host key is not known", "Connect once by hand"),
        (["UserKnownHostsFile {changed}"], "host key is not the one that is known", "ssh-keygen -R"),
        (["Hostname no-such-host.invalid"], "no machine of that name", "Check the name"),
        (["ProxyCommand sleep 60"], "cannot be reached|closed the connection", "ssh|switched on"),
        (["NoSuchSetting yes"], "does not accept its settings", "config"),
    ],
    ids=["key", "refused", "unknown", "changed", "name", "silent", "settings"],
)
def test_what_ssh_says_is_told_with_what_to_do(
    connect: Callable[..., SshTransport], server: Any, tmp_path: Path, settings: list[str], message: str, hint: str
) -> None:
    known = (server.config.parent / "known_hosts").read_text().split()
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    changed = tmp_path / "changed"
    changed.write_text(f"{known[0]} {' '.join((tmp_path / 'other.pub').read_text().split()[:2])}\n")
    filled = [line.format(none=tmp_path / "none", changed=changed) for line in settings]
    with pytest.raises(DeviceError) as caught:
        connect(*filled)
    assert re.search(message, str(caught.value)), caught.value
    assert re.search(hint, caught.value.hint), caught.value.hint
    assert not isinstance(caught.value, LinkLostError)


def test_the_user_that_was_typed_is_asked_for(connect: Callable[..., SshTransport]) -> None:
    assert connect(host=f"{getpass.getuser()}@{NATIVE.HOST}").run("id -un").text == getpass.getuser()


def test_a_command_in_the_users_settings_is_not_run(connect: Callable[..., SshTransport]) -> None:
    assert connect("RemoteCommand echo theirs").run("echo ours").text == "ours"
