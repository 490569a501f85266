"""The emulated arm64 machine: a real sshd and a real adbd on loopback, seen by nobody but the programs started here."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT.parent / "shared" / "lab"
PLACE = "EDGEKIT_LAB"
"""Environment variable with the folder that the machine is built in, and kept."""

NOT_UP = 125
SSH = "ssh://pi-emulated"

_INSIDE = """
umask 077
mkdir -p "$HOME/.ssh"
cat > "$HOME/.ssh/lab.conf" <<END
Host pi-emulated
  HostName 127.0.0.1
  Port 2222
  User root
  IdentityFile ${LAB_KEY:-$FAKEPI_KEY}
  UserKnownHostsFile ${LAB_KNOWN_HOSTS:-$FAKEPI_KNOWN_HOSTS}
  IdentitiesOnly yes
END
export LAB_PI="$0" EDGEKIT_SSH="ssh -F $HOME/.ssh/lab.conf" EDGEKIT_ADB="$FAKEPI_ADB_BIN"
exec "$@"
"""


@dataclass(frozen=True)
class Lab:
    """The machine.

    Attributes:
        place: Where it was built.
        home: Of the user on this side: settings and state that are nobody else's.
    """

    place: Path
    home: Path

    @property
    def pi(self) -> Path:
        """Its root folder, as this side sees it."""
        return self.place / "pi"

    def run(
        self, command: Sequence[str | Path], *, timeout_s: float = 900, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside the machine, which is up meanwhile; ``ssh://pi-emulated`` leads there."""
        words = [str(SCRIPTS / "fakepi.sh"), str(self.place), "sh", "-c", _INSIDE, str(self.pi), *map(str, command)]
        found = subprocess.run(
            words, env=self.environment(environment), capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if found.returncode == NOT_UP:
            pytest.skip(f"the emulated machine did not come up: {found.stderr.strip()[-300:]}")
        return found

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Of commands: nothing of the user's is touched."""
        own = {"HOME": str(self.home), "EDGEKIT_STATE": str(self.home / "state"), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, "OMP_NUM_THREADS": "1", **more}

    def edgekit(
        self, *arguments: str | Path, timeout_s: float = 900, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run an edgekit command beside the machine."""
        return self.run([sys.executable, "-m", "edgekit", *arguments], timeout_s=timeout_s, **environment)

    def script(self, code: str, *arguments: str | Path, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """Run Python code beside the machine."""
        return self.run([sys.executable, "-c", code, *arguments], timeout_s=timeout_s)


def build() -> Path:
    """The machine's folder; it is built where it is not there, once for all that ask at the same time."""
    if os.geteuid() != 0:
        pytest.skip("the emulated machine needs root")
    if not (SCRIPTS / "make-fakepi.sh").exists():
        pytest.skip("the scripts of the emulated machine are not beside the repository")
    place = Path(os.environ.get(PLACE) or Path(tempfile.gettempdir()) / "edgekit-lab")
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(
            [SCRIPTS / "make-fakepi.sh", place], capture_output=True, text=True, timeout=1200, check=False
        )
    if made.returncode:
        pytest.skip(f"the emulated machine could not be built: {made.stderr.strip()[-300:]}")
    return place


def copy(machine: Path, into: Path) -> Path:
    """A machine of one's own: what tests do to it is no business of others that run at the same time."""
    into.mkdir()
    for name in ("x86", "wheels"):
        (into / name).symlink_to(machine / name)
    for name in ("adb", "adbhome", "binfmt", "keys", "log"):
        subprocess.run(["cp", "-a", machine / name, into / name], check=True)
    (into / "pi").mkdir()
    kept = (path for path in (machine / "pi").iterdir() if path.name not in ("proc", "dev", "tmp"))
    subprocess.run(["cp", "-a", "--reflink=auto", *kept, into / "pi"], check=True)
    for name in ("proc", "dev", "tmp"):
        (into / "pi" / name).mkdir()
    shutil.rmtree(into / "pi" / "root" / ".cache", ignore_errors=True)
    shutil.rmtree(into / "pi" / "data" / "local" / "tmp" / "edgekit", ignore_errors=True)
    return into
