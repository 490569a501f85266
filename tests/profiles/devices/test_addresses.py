from __future__ import annotations

import pytest

from edgekit import registry
from edgekit.errors import UsageError
from profiles.devices import adb, ssh

HARMLESS = {
    "ssh://pi@raspberrypi.local": "ssh://pi@raspberrypi.local",
    "ssh://raspberrypi": "ssh://raspberrypi",
    "ssh://pi@10.0.0.7:2222/": "ssh://pi@10.0.0.7:2222",
    "ssh://pi@[fe80::1%eth0]:22": "ssh://pi@[fe80::1%eth0]:22",
    "adb:R58M12ABCDE": "adb:R58M12ABCDE",
    "adb:127.0.0.1:5555": "adb:127.0.0.1:5555",
    "adb://emulator-5554": "adb:emulator-5554",
    "host": "host",
}
HOSTILE = [
    "ssh://-oProxyCommand=touch hurt",
    "ssh://-oProxyCommand=touch%20hurt@host",
    "ssh://pi@host;touch hurt",
    "ssh://pi@$(touch hurt)",
    "ssh://pi@host`touch hurt`",
    "ssh://pi@host\ntouch hurt",
    "ssh://pi@ho st",
    "ssh://pi'@host",
    "ssh://pi@host:0",
    "ssh://pi@host:99999",
    "ssh://pi@host:22:22",
    "ssh://",
    "ssh://-l@host",
    "adb:-s",
    "adb:serial;touch hurt",
    "adb:$(touch hurt)",
    "adb:se rial",
    "adb:serial\n",
    "adb:",
]


def parsed(typed: str) -> str | None:
    return next((found for kind in registry.devices().values() if (found := kind.parse(typed)) is not None), None)


@pytest.mark.parametrize(("typed", "address"), HARMLESS.items())
def test_addresses(typed: str, address: str) -> None:
    assert parsed(typed) == address


@pytest.mark.parametrize("typed", HOSTILE)
def test_what_could_be_an_option_or_a_command_is_no_address(typed: str) -> None:
    with pytest.raises(UsageError):
        parsed(typed)


def test_other_words_are_left_to_names() -> None:
    assert parsed("pi") is None


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "ssh: Could not resolve hostname nix: Name or service not known\r\n",
            "no machine of that name",
            "Check the name",
        ),
        ("ssh: connect to host h port 22: Connection refused", "nothing answers there", "raspi-config"),
        ("ssh: connect to host h port 22: Connection timed out", "cannot be reached", "switched on"),
        ("ssh: connect to host h port 22: No route to host", "cannot be reached", "switched on"),
        ("pi@h: Permission denied (publickey,password).", "does not let you in", "ssh-copy-id -p 2222 pi@h"),
        ("Received disconnect: Too many authentication failures", "does not let you in", "ssh-add"),
        (
            "@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            "host key is not the one that is known",
            "ssh-keygen -R '[h]:2222'",
        ),
        ("Host key verification failed.", "host key is not known", "accept it: ssh -p 2222 pi@h"),
        ("No ED25519 host key is known for h and you have requested strict checking.", "host key is not known", "once"),
        ("kex_exchange_identification: Connection closed by remote host", "closed the connection", "ssh -v"),
        ("/home/u/.ssh/config: line 3: Bad configuration option: x", "does not accept its settings", "Mend"),
        ("a banner\nsomething new", "could not connect: something new", "by hand"),
        ("", "it did not say why", "by hand"),
    ],
)
def test_what_ssh_says_becomes_a_sentence_and_a_remedy(said: str, message: str, hint: str) -> None:
    error = ssh.explain("ssh://pi@h:2222", "pi", "h", "2222", said)
    assert message in error.message
    assert hint in error.hint
    assert error.exit_code == 8


def test_a_banner_does_not_hide_what_is_wrong() -> None:
    said = "Welcome to the lab\n\x1b[31mAuthorised use only\x1b[0m\npi@h: Permission denied (publickey).\nGoodbye"
    error = ssh.explain("ssh://pi@h", "pi", "h", "", said)
    assert error.message == "ssh://pi@h: it does not let you in: pi@h: Permission denied (publickey)."


def test_states_of_adb_have_remedies() -> None:
    listing = (
        "List of devices attached\nA1\tdevice\nB2\tunauthorized\nC3\toffline\nD4\tno permissions; see [http://x]\n"
        "E5\tstrange\n\n"
    )
    states = dict(adb._rows(listing))
    assert states == {"A1": "device", "B2": "unauthorized", "C3": "offline", "D4": "no permissions", "E5": "strange"}
    remedies = {serial: adb._described(state)[2] for serial, state in states.items()}
    assert "allow USB debugging" in remedies["B2"]
    assert "reconnect" in remedies["C3"]
    assert "udev" in remedies["D4"]
    assert remedies["E5"]
