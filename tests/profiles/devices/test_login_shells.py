"""Scripts go through the shell that a user has chosen on the device, whatever that is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from profiles.devices._silence import marked
from profiles.devices.ssh import for_any_shell

SHELLS = ["sh", "bash", "zsh", "ksh", "fish", "tcsh"]
WORDS = [
    "plain",
    "a b",
    "it's",
    "wow!",
    "!!",
    "two\nlines\n.",
    "back\\slash",
    "\\\\",
    "\\'",
    "'; touch hurt; '",
    "\\'; touch hurt; '\\",
    "$(touch hurt)",
    "`touch hurt`",
    '"$HOME"',
    "\\0134\\n\\c%s%b",
    "~ * ? [a] {b,c} # & | < > ^",
    "é\t€",
]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_arrives_as_it_is(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    for word in WORDS:
        for script in (f"printf %s {shlex.quote(word)}", marked(f"printf %s {shlex.quote(word)}\nexit 3\n", b"mark\n")):
            command = [program, "-c", for_any_shell(script)]
            found = subprocess.run(command, cwd=tmp_path, input=b"", capture_output=True, check=False)
            assert found.stdout.decode().removeprefix("mark\n") == word, (word, found.stderr)
            assert found.returncode == (3 if "exit 3" in script else 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shell", SHELLS)
def test_input_and_process_are_those_of_the_script(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    started = subprocess.Popen(
        [program, "-c", for_any_shell("echo $$\nexec cat")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = started.communicate(b"input", 20)
    assert output.decode() == f"{started.pid}\ninput"


@pytest.mark.parametrize("word", WORDS)
def test_nothing_that_shells_read_in_different_ways_is_in_a_command(word: str) -> None:
    command = for_any_shell(f"printf %s {shlex.quote(word)}")
    assert not re.search(r"[!\n]|\\[\\']", command)
