"""Wheels for another machine: found with this machine's pip, and unpacked by it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import DeviceError
from edgekit.progress import Progress
from edgekit.scratch import state_folder
from profiles.devices._shell import last_line

PACKAGES = {
    "litert": (("numpy", "ai-edge-litert"), ("numpy<2", "tflite-runtime")),
    "onnxruntime": (("numpy", "onnxruntime"),),
    # 1.1 is the last that goes with a torch whose wheel for 64-bit Arm needs no CUDA.
    "executorch": (("numpy", "executorch==1.1.0", "torch==2.10.0"), ("numpy", "executorch", "torch")),
}
"""What to install for each runtime; the second where there are no wheels of the first."""

_TIMEOUT_S = 1800.0
_OLDEST_GLIBC = 17
_MISSING = re.compile(
    r"(?:No matching distribution found for|Could not find a version that satisfies the requirement) (\S+)"
)
_EXISTING = re.compile(r"from versions: ([^)]*)\)")


@dataclass(frozen=True)
class Platform:
    """What wheels have to be for.

    Attributes:
        python: Version, ``3.11``.
        machine: Architecture, as wheels call it.
        glibc: Minor version of glibc 2; ``None`` for musl and bionic.
        musl: Minor version of musl 1; ``None`` for others.
    """

    python: str
    machine: str
    glibc: int | None
    musl: int | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """Platform tags that such a machine can use, the best first."""
        if self.glibc is None:
            return tuple(f"musllinux_1_{minor}_{self.machine}" for minor in range(self.musl or 0, 0, -1))
        minors = range(self.glibc, _OLDEST_GLIBC - 1, -1)
        old = [f"manylinux2014_{self.machine}", f"linux_{self.machine}"]
        return (*(f"manylinux_2_{minor}_{self.machine}" for minor in minors), *old)

    @property
    def words(self) -> str:
        """For messages."""
        best = self.tags[0] if self.tags else self.machine
        return f"Python {self.python}, {best}"

    def options(self) -> list[str]:
        """For pip."""
        platforms = [word for tag in self.tags for word in ("--platform", tag)]
        return ["--only-binary=:all:", "--implementation", "cp", "--python-version", self.python, *platforms]


def platform_of(python: str, machine: str, libc: str) -> Platform:
    """From a device's facts.

    Raises:
        DeviceError: There are no wheels for such a machine.
    """
    name, _, version = libc.partition(" ")
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    short = ".".join(python.split(".")[:2])
    if name == "glibc" and len(numbers) > 1:
        return Platform(short, machine, numbers[1])
    if name == "musl" and len(numbers) > 1:
        return Platform(short, machine, None, numbers[1])
    raise DeviceError(
        f"There are no wheels for a machine with {libc or 'an unknown C library'}.",
        hint="On Android: Termux's own Python, or native programs (--runner): see docs/android.md",
    )


def download(
    runtime: str, platform: Platform, wheels: Path | None, more: Sequence[str], into: Path, progress: Progress
) -> list[Path]:
    """Get the wheels for a runtime.

    Args:
        runtime: Its name.
        platform: That they are for.
        wheels: A folder to take them from; from the index that pip is set up for where it is ``None``.
        more: Further words for pip.
        into: A folder; what pip gets is kept in it.
        progress: Told that it takes time.

    Raises:
        DeviceError: One is not there; the message has its name and what it would have to be.
    """
    into.mkdir(parents=True, exist_ok=True)
    said = ""
    for packages in PACKAGES[runtime]:
        label = f"get wheels for {runtime}"
        progress.start(label)
        try:
            found = _pip(["download", *_source(wheels), *more, *platform.options(), "--dest", str(into), *packages])
        finally:
            progress.end(label)
        if found.returncode == 0:
            return _kept(into, found.stdout)
        said = said or found.stderr
    raise _missing(runtime, platform, wheels, said)


def unpack(wheels: Sequence[Path], platform: Platform, tree: Path) -> None:
    """Unpack wheels the way an installation does, for the other machine.

    Raises:
        DeviceError: One is not for it.
    """
    found = _pip(
        [
            "install", "--target", str(tree), "--no-deps", "--no-compile", "--no-index", "--no-warn-conflicts",
            "--ignore-requires-python",  # pip asks that of this machine's Python
            *platform.options(), *map(str, wheels),
        ]
    )  # fmt: skip
    if found.returncode:
        wrong = re.search(r"ERROR: (\S+\.whl) is not a supported wheel", found.stderr)
        if wrong:
            raise DeviceError(
                f"{wrong[1]} is no wheel for {platform.words}.", hint=f"It takes: {', '.join(platform.tags[:4])}…"
            )
        raise DeviceError(f"The wheels could not be unpacked: {last_line(found.stderr)}")


def digest(wheels: Sequence[Path]) -> str:
    """Of names and contents, in whatever order."""
    found = hashlib.sha256()
    for path in sorted(wheels, key=lambda path: path.name):
        with path.open("rb") as content:
            found.update(f"{path.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def folder(platform: Platform) -> Path:
    """Where downloaded wheels are kept."""
    return state_folder() / "wheels" / f"{platform.python}-{platform.tags[0] if platform.tags else platform.machine}"


def _source(wheels: Path | None) -> list[str]:
    return [] if wheels is None else ["--no-index", "--find-links", str(wheels)]


def _pip(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    try:
        return subprocess.run(  # noqa: S603 - our own Python's pip
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"pip took longer than {_TIMEOUT_S:.0f} s.", hint="Get the wheels yourself, and name their folder: --wheels"
        ) from None


def _kept(into: Path, stdout: str) -> list[Path]:
    """The wheels of this download among those of others."""
    names = re.findall(r"(?:Saved|File was already downloaded) (?:.*/)?(\S+\.whl)", stdout)
    return [into / name for name in dict.fromkeys(names)]


def _missing(runtime: str, platform: Platform, wheels: Path | None, stderr: str) -> DeviceError:
    named = _MISSING.search(stderr)
    if named is None:
        if "No module named pip" in stderr:
            return DeviceError("This Python has no pip.", hint=f"{sys.executable} -m ensurepip")
        return DeviceError(
            f"pip could not get {runtime}: {last_line(stderr)}", hint="Name a folder of wheels: --wheels"
        )
    python = platform.python.replace(".", "")
    package = re.split(r"[<>=!~]", named[1])[0].replace("-", "_")
    wanted = f"{package}-…-cp{python}-cp{python}-{platform.tags[0] if platform.tags else platform.machine}.whl"
    versions = _EXISTING.search(stderr)
    known = f" Versions for it: {versions[1]}." if versions and versions[1] not in ("", "none") else ""
    where = "pip's index" if wheels is None else str(wheels)
    return DeviceError(
        f"{where} has no wheel of {named[1]} for {platform.words}.{known}",
        hint=f"It would be called {wanted}, or have an older tag; a newer system there may have one: docs/devices.md",
    )
