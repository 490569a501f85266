from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest
from local_transport import LocalTransport

from edgekit.errors import DeviceError, LinkLostError
from profiles.devices import _shell

HOSTILE = [
    "a b",
    "quo'te",
    'dou"ble',
    "semi;touch hurt",
    "$(touch hurt)",
    "`touch hurt`",
    "new\nline",
    "-rf",
    "\\back",
    "*",
]


def test_a_script_keeps_its_output_apart_from_what_start_up_files_print(transport: LocalTransport) -> None:
    found = transport.run("echo out; echo err >&2; exit 7")
    assert (found.code, found.stdout, found.stderr) == (7, b"out\n", "err\n")


def test_input_reaches_the_script_as_it_is(transport: LocalTransport) -> None:
    content = os.urandom(300_000)
    assert transport.run("cat", stdin=content).stdout == content


@pytest.mark.parametrize("name", HOSTILE)
def test_files_go_and_come_back_whatever_they_are_called(transport: LocalTransport, tmp_path: Path, name: str) -> None:
    local = tmp_path / f"{name}x"
    local.write_bytes(os.urandom(3_000_000))
    told: list[int] = []
    transport.run(f"mkdir {shlex.quote(transport.home + '/' + name)}")
    transport.push(local, f"{transport.home}/{name}/{name}x", lambda done, total: told.append(done))
    transport.pull(f"{transport.home}/{name}", tmp_path / "back")
    assert (tmp_path / "back" / f"{name}x").read_bytes() == local.read_bytes()
    assert told[-1] == 3_000_000


def test_folders_go_and_come_back(transport: LocalTransport, tmp_path: Path) -> None:
    local = tmp_path / "folder"
    (local / "deep" / "empty").mkdir(parents=True)
    (local / "deep" / "file").write_text("x" * 1000)
    (local / "run").write_text("#!/bin/sh\n")
    (local / "run").chmod(0o755)
    transport.push(local, f"{transport.home}/folder")
    there = Path(transport.home) / "folder"
    assert os.access(there / "run", os.X_OK)
    assert not os.access(there / "deep" / "file", os.X_OK)
    transport.pull(str(there), tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "file").read_text() == "x" * 1000
    assert (tmp_path / "back" / "deep" / "empty").is_dir()


def test_nothing_half_sent_has_the_final_name(transport: LocalTransport, tmp_path: Path) -> None:
    local = tmp_path / "file"
    local.write_bytes(b"x" * 5_000_000)
    target = f"{transport.home}/final"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transport.push(local, target, stop)
    assert not Path(target).exists()


def test_a_full_disk_is_told_with_what_is_free(
    transport: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "file"
    local.write_bytes(b"x" * 2_000_000)
    (transport.root / "bin" / "tar").write_text("#!/bin/sh\necho 'tar: content: No space left on device' >&2\nexit 2\n")
    (transport.root / "bin" / "tar").chmod(0o755)
    with pytest.raises(DeviceError, match=r"its disk is full: file needs 2 MB, \d+ MB are free") as caught:
        transport.push(local, f"{transport.home}/final")
    assert "--clean" in caught.value.hint
    assert not list(Path(transport.home).iterdir())


@pytest.mark.parametrize("kind", ["link", "above", "absolute"])
def test_an_archive_with_anything_but_the_files_is_refused(kind: str, tmp_path: Path) -> None:
    member = tarfile.TarInfo({"above": "./out/../../evil", "absolute": "/evil"}.get(kind, "./out/x"))
    if kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(member)
    stream.seek(0)
    assert "something else" in _shell._receive(stream, tmp_path / "back", None)
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_ends_early_is_told(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("./out")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(b"x" * 100_000))
    assert "not whole" in _shell._receive(io.BytesIO(stream.getvalue()[:50_000]), tmp_path / "back", None)


def test_a_lost_link_and_a_device_that_never_answered_are_two_things(transport: LocalTransport) -> None:
    transport.cut()
    with pytest.raises(LinkLostError, match="the link is down"):
        transport.run("true")
    transport.up = True
    transport.command = lambda script, *, lasting: ["sh", "-c", "echo refused >&2; exit 255"]  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="refused") as caught:
        transport.run("true")
    assert not isinstance(caught.value, LinkLostError)


def test_a_program_that_is_not_there_is_named(transport: LocalTransport) -> None:
    transport.command = lambda script, *, lasting: ["no-such-ssh"]  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="no program no-such-ssh"):
        transport.run("true")


def test_a_script_that_hangs_is_ended(transport: LocalTransport) -> None:
    with pytest.raises(DeviceError, match="no answer within"):
        transport.run("sleep 61", timeout_s=0.5)
    assert subprocess.run(["pgrep", "-f", "^sleep 61$"], check=False).returncode == 1


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert _shell.printable("a\x1b[31mred\x07") == "a?[31mred?"
    assert _shell.last_line("first\n\nlast\x1b]0;title\x07\n") == "last?]0;title?"
