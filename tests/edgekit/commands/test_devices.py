"""``edgekit devices``: names, what is listed, and devices that cannot be reached. Nothing here needs a device."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conversion import Done

from edgekit import cli

NOBODY = "ssh://nobody@127.0.0.1:1"
REMEDY = "Is ssh switched on?"
LISTING = (
    "* daemon started successfully\nList of devices attached\nR58READY\tdevice\nR58NEW\tunauthorized\n"
    "R58ASKS\tauthorizing\nR58GONE\toffline\nR58USB\tno permissions (user in plugdev group?); see [http://x]\n"
    "R58BOOT\tbootloader\nR58ODD\t\x1b[31mrescue\nR58MUTE\t\n\n"
)
HOSTILE_NAMES = [
    "",
    "-x",
    "--json=",
    "1pi",
    "a b",
    "a'b",
    'a"b',
    "a;touch hurt",
    "a$(touch hurt)",
    "a`touch hurt`",
    "a\ntouch hurt",
    "pi\n",
    "../../hurt",
    "a/b",
    "pi]\nhost",
    "a\x1b[31m",
    "ä",
    "a" * 42,
    "host",
]
HOSTILE_ADDRESSES = [
    "ssh://-oProxyCommand=touch hurt",
    "ssh://-oProxyCommand=touch${IFS}hurt@host",
    "ssh://pi@host;touch hurt",
    "ssh://pi@$(touch hurt)",
    "ssh://`touch hurt`@host",
    "ssh://pi@host\ntouch hurt",
    "ssh://pi'; touch hurt; '@host",
    'ssh://pi"; touch hurt; "@host',
    "ssh://pi@host:22;touch hurt",
    "adb:-s;touch hurt",
    "adb:serial;touch hurt",
    "adb:$(touch hurt)",
    "adb:serial\ntouch hurt",
]
Call = Callable[..., Done]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, a home and settings of the test's own; no ssh or adb of the user's."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, place in {"HOME": "home", "EDGEKIT_CONFIG": "config", "EDGEKIT_STATE": "state"}.items():
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("EDGEKIT_ADB", str(tmp_path / "no-adb"))
    monkeypatch.delenv("EDGEKIT_SSH", raising=False)
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """``edgekit devices`` with exit code and output."""

    def devices(*arguments: str) -> Done:
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as caught:
                cli.main(["devices", *arguments])
        finally:
            signal.signal(signal.SIGTERM, before)
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return Done(int(caught.value.code or 0), shown.out, shown.err)

    return devices


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file of names."""
    return tmp_path / "config" / "devices.toml"


def program(path: Path, code: str) -> Path:
    path.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that lists devices as adb does, and writes down how it was called."""
    calls = tmp_path / "calls"
    code = (
        f"open({str(calls)!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\n"
        f"if sys.argv[1:] == ['devices']:\n    print({LISTING!r})\nelse:\n    sys.exit('unexpected')"
    )
    monkeypatch.setenv("EDGEKIT_ADB", str(program(tmp_path / "adb", code)))
    return calls


def listed(call: Call) -> dict[str, dict[str, Any]]:
    done = call("list", "--json")
    assert done.code == 0, done.err
    return {one["address"]: one for one in json.loads(done.out)["devices"]}


# Names


def test_a_name_is_kept_listed_and_forgotten(call: Call, kept: Path) -> None:
    done = call("add", "pi", "ssh://pi@raspberrypi.local/")
    assert done.code == 0
    assert done.out == f"pi is ssh://pi@raspberrypi.local from now on (kept in {kept}).\n"
    assert kept.read_text() == '[devices]\npi = "ssh://pi@raspberrypi.local"\n'
    one = listed(call)["ssh://pi@raspberrypi.local"]
    assert (one["name"], one["state"], one["hint"]) == ("pi", "named", "edgekit devices check pi")
    assert call("remove", "pi").out == "pi is forgotten.\n"
    assert set(listed(call)) == {"host"}


def test_a_name_gets_a_new_address_and_others_stay(call: Call, kept: Path) -> None:
    for name, address in (("pi", "ssh://one"), ("phone", "adb:R58READY"), ("pi", "ssh://two:2222")):
        assert call("add", name, address).code == 0
    assert kept.read_text() == '[devices]\npi = "ssh://two:2222"\nphone = "adb:R58READY"\n'


def test_json_of_names(call: Call) -> None:
    added = json.loads(call("add", "pi", "ssh://pi@one", "--json").out)
    assert (added["name"], added["address"]) == ("pi", "ssh://pi@one")
    removed = json.loads(call("remove", "pi", "--json").out)
    assert removed["removed"] == "pi"
    assert added["schema_version"] == removed["schema_version"]


def test_names_are_below_the_usual_folders(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert call("add", "pi", "ssh://pi").code == 0
    assert (tmp_path / "xdg" / "edgekit" / "devices.toml").exists()
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert call("add", "pi", "ssh://pi").code == 0
    assert (tmp_path / "home" / ".config" / "edgekit" / "devices.toml").exists()


def test_a_name_that_is_not_there(call: Call) -> None:
    call("add", "pi", "ssh://pi")
    done = call("remove", "phone")
    assert done.code == 2
    assert "There is no device called 'phone'." in done.err
    assert "Names: pi." in done.err
    done = call("check", "phone")
    assert done.code == 2
    assert "there is no such device" in done.err
    assert "or a name: pi." in done.err


@pytest.mark.parametrize("content", ["[devices\n", 'devices = "pi"\n', "[devices]\npi = 1\n", "\xff\xfe"])
@pytest.mark.parametrize("words", [["list"], ["add", "tv", "ssh://tv"], ["remove", "pi"], ["check", "pi"]])
def test_a_damaged_file_is_told_and_stays(call: Call, kept: Path, content: str, words: list[str]) -> None:
    kept.parent.mkdir()
    kept.write_bytes(content.encode("latin-1"))
    done = call(*words)
    assert done.code == 2
    assert str(kept) in done.err
    assert "Mend the file, or remove it." in done.err
    assert kept.read_bytes() == content.encode("latin-1")


def test_a_folder_that_cannot_be_made(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", "/proc/nowhere")
    done = call("add", "pi", "ssh://pi", "--json")
    assert done.code == 1
    (failure,) = json.loads(done.out)["failures"]
    assert "the names of devices cannot be written" in failure["message"]


# Hostile words


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused(call: Call, kept: Path, tmp_path: Path, name: str) -> None:
    done = call("add", "--json", "--", name, "ssh://pi")
    assert done.code == 2
    (failure,) = json.loads(done.out)["failures"]
    assert "cannot be the name of a device" in failure["message"]
    assert "\x1b" not in done.out + done.err
    assert not kept.exists()
    assert not list(tmp_path.rglob("hurt*"))


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES)
@pytest.mark.parametrize("words", [["add", "pi"], ["check"], ["setup"], ["setup", "--clean"]])
def test_hostile_addresses_are_refused_before_anything_runs(
    call: Call, adb: Path, kept: Path, tmp_path: Path, words: list[str], address: str
) -> None:
    done = call(*words, "--", address)
    assert done.code == 2, done.err
    assert "next: Such as" in done.err
    assert not adb.exists()
    assert not kept.exists()
    assert not list(tmp_path.rglob("hurt*"))


def test_a_hostile_address_in_the_file_of_names_is_refused(call: Call, kept: Path, tmp_path: Path) -> None:
    kept.parent.mkdir()
    kept.write_text('[devices]\npi = "ssh://-oProxyCommand=touch hurt"\n"\\u001b[31mtv" = "adb:$(touch hurt)"\n')
    for typed in ("pi", "\x1b[31mtv"):
        done = call("check", typed)
        assert done.code == 2
        assert "\x1b" not in done.err
    done = call("list")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert not list(tmp_path.rglob("hurt*"))


# What there is


def test_states_of_adb_are_listed_with_their_remedies(call: Call, adb: Path) -> None:
    call("add", "phone", "adb:R58NEW")
    found = listed(call)
    states = {address: one["state"] for address, one in found.items()}
    assert states == {
        "adb:R58NEW": "unauthorized",
        "adb:R58READY": "ready",
        "adb:R58ASKS": "unauthorized",
        "adb:R58GONE": "offline",
        "adb:R58USB": "no permissions",
        "adb:R58BOOT": "bootloader",
        "adb:R58ODD": "\x1b[31mrescue",
        "adb:R58MUTE": "unknown",
        "host": "ready",
    }
    assert next(iter(found)) == "adb:R58NEW"  # named devices come first
    assert found["adb:R58NEW"]["name"] == "phone"
    assert "allow USB debugging" in found["adb:R58NEW"]["hint"]
    assert "reconnect" in found["adb:R58GONE"]["hint"]
    assert "udev" in found["adb:R58USB"]["hint"]
    assert "fastboot" in found["adb:R58BOOT"]["hint"]
    done = call("list")
    assert "\x1b" not in done.out
    assert "R58USB" in done.out
    assert "udev" in " ".join(done.out.split())


def test_hosts_of_the_ssh_settings_are_listed_and_not_tried(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".ssh" / "config").write_text("Host board *.example\n  Port 2222\nHost -oProxyCommand=x\n")
    monkeypatch.setenv("EDGEKIT_SSH", str(program(tmp_path / "ssh", "open('hurt', 'w')")))
    found = listed(call)
    assert set(found) == {"ssh://board", "host"}
    assert found["ssh://board"]["state"] == "configured"
    assert not list(tmp_path.rglob("hurt"))


def test_an_adb_that_fails_does_not_hide_the_others(call: Call, tmp_path: Path) -> None:
    program(Path(os.environ["EDGEKIT_ADB"]), "sys.exit('cannot bind to a port')")
    assert set(listed(call)) == {"host"}


# Devices that cannot be used


@pytest.mark.parametrize(
    ("serial", "said", "remedy"),
    [
        ("R58NEW", "it has not allowed this machine", "allow USB debugging"),
        ("R58GONE", "it does not answer", "adb reconnect offline"),
        ("R58USB", "may not use that USB device", "udev rules"),
        ("R58ODD", "its state is '?[31mrescue'", "adb reconnect"),
        ("R58NONE", "adb knows no device of that serial number", "adb connect HOST:PORT"),
    ],
)
def test_check_of_a_phone_that_is_not_ready(call: Call, adb: Path, serial: str, said: str, remedy: str) -> None:
    done = call("check", f"adb:{serial}", "--json")
    assert done.code == 8
    (one,) = json.loads(done.out)["devices"]
    assert not one["usable"]
    assert one["facts"] is None
    (remark,) = one["remarks"]
    assert (remark["what"], remark["state"]) == ("reachable", "missing")
    assert said in remark["words"]
    assert remedy in remark["hint"]
    assert set(adb.read_text().splitlines()) == {"['devices']"}


def test_a_machine_without_adb(call: Call) -> None:
    assert set(listed(call)) == {"host"}
    done = call("check", "adb:R58READY")
    assert done.code == 8
    assert "There is no program" in done.out
    assert "apt install adb" in done.out


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one with no settings, or a skip."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh on this machine")
    (tmp_path / "empty").touch()
    monkeypatch.setenv("EDGEKIT_SSH", f"ssh -F {tmp_path / 'empty'}")


@pytest.mark.usefixtures("ssh")
def test_check_of_an_address_where_nobody_answers(call: Call) -> None:
    done = call("check", NOBODY)
    assert done.code == 8
    shown = " ".join(done.out.split())
    assert "nothing answers there" in shown
    assert REMEDY in shown
    assert "It cannot be used yet." in shown


@pytest.mark.usefixtures("ssh")
def test_check_goes_on_with_the_others(call: Call) -> None:
    call("add", "pi", NOBODY)
    done = call("check", "pi", "host", "--json")
    assert done.code == 8
    pi, host = json.loads(done.out)["devices"]
    assert (pi["name"], pi["usable"], host["usable"]) == ("pi", False, True)
    assert REMEDY in pi["remarks"][0]["hint"]


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize("words", [["setup"], ["setup", "--clean"]])
def test_setup_of_an_address_where_nobody_answers(call: Call, words: list[str]) -> None:
    done = call(*words, NOBODY, "--json")
    assert done.code == 8
    (failure,) = json.loads(done.out)["failures"]
    assert failure["error"] == "DeviceError"
    assert REMEDY in failure["hint"]


def test_a_machine_without_ssh(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_SSH", str(tmp_path / "no-ssh"))
    done = call("check", "ssh://pi")
    assert done.code == 8
    assert "There is no program" in done.out
    assert "apt install openssh-client" in done.out


def test_this_machine_needs_no_setup(call: Call) -> None:
    assert call("check", "host").code == 0
    done = call("setup", "host")
    assert done.code == 8
    assert "This machine needs no setup." in done.err
