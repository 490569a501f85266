"""Sending a large file to a device over ssh, and getting it back, against the user's own ``scp``.

    python benchmarks/transfers.py [--size 100] [--rounds 15] [--sshd PROGRAM | --download | --lab] [--json FILE]

The server is an sshd of this machine on loopback: the one that is installed, another, or Debian's package, fetched and
unpacked for this run (``--download``). ``--lab``, inside the emulated machine's ``fakepi.sh``, takes that one instead,
and judges nothing: there, starting a program costs more than what is measured.
Each round sends one file of random bytes in every way, in a new order, so that what else the machine does meets all.

Two ways of ``scp`` are shown. Bare, it connects first; edgekit's connection is there already. So the one that is judged
shares a connection that is there, too. Limit: edgekit moves at least 80 % of the bytes per second that it does. Exit
code 1 when the limit is missed, 2 when there is no server.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from _measure import median_and_range
from _native_sshd import HOST, NoSshdError, Server, download, find, serve

from profiles import stats
from profiles.devices.ssh import PROGRAM, SshTransport

LIMIT = 0.8
JUDGE = "scp, connected"
OURS = "edgekit"
CONNECT_S = 20.0
LINE = "{:8} {:16} {:>28} {:>10} {:>24}"

Way = Callable[[], None]


@dataclass(frozen=True)
class Direction:
    """One of sending and getting.

    Attributes:
        name: For the table.
        ways: What to time, by name.
        result: The file that each way makes.
    """

    name: str
    ways: dict[str, Way]
    result: Path


def run(command: list[str]) -> None:
    """Run a command that must work."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def shared_connection(config: Path, scratch: Path) -> Iterator[list[str]]:
    """Words for ``scp`` that make it use a connection that is there."""
    words = ["-F", str(config), "-o", f"ControlPath={scratch}/shared"]
    master = subprocess.Popen(["ssh", *words, "-M", "-N", HOST], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + CONNECT_S
        while subprocess.run(["ssh", *words, "-O", "check", HOST], capture_output=True, check=False).returncode:
            if time.monotonic() > deadline or master.poll() is not None:
                raise NoSshdError("ssh does not connect to it")
            time.sleep(0.05)
        yield words
    finally:
        master.terminate()
        master.wait()


def sending(transport: SshTransport, file: Path, server: Server, words: list[str]) -> Direction:
    """Ways to the device."""
    there = server.folder / "sent"
    bare = ["scp", "-q", "-F", str(server.config)]
    return Direction(
        "send",
        {
            OURS: lambda: transport.push(file, str(there)),
            JUDGE: lambda: run(["scp", "-q", *words, str(file), f"{HOST}:{there}"]),
            "scp": lambda: run([*bare, str(file), f"{HOST}:{there}"]),
        },
        there,
    )


def getting(transport: SshTransport, file: Path, server: Server, words: list[str], scratch: Path) -> Direction:
    """Ways back: a folder, for that is how outputs come."""
    there, here = server.folder / "folder", scratch / "got"
    transport.push(file, str(server.folder / "large"))
    transport.run(f"mkdir {there} && mv {server.folder}/large {there}/large")
    bare = ["scp", "-q", "-r", "-F", str(server.config)]
    return Direction(
        "get",
        {
            OURS: lambda: transport.pull(str(there), here),
            JUDGE: lambda: run(["scp", "-q", "-r", *words, f"{HOST}:{there}", str(here)]),
            "scp": lambda: run([*bare, f"{HOST}:{there}", str(here)]),
        },
        here / "large",
    )


def remove(path: Path) -> None:
    """A file, or the folder that was got."""
    if path.parent.name == "got":
        shutil.rmtree(path.parent, ignore_errors=True)
    path.unlink(missing_ok=True)


def measure(direction: Direction, file: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, one per round; one round before them is thrown away, and its files are compared."""
    order, taken = list(direction.ways), {name: list[float]() for name in direction.ways}
    for number in range(rounds + 1):
        random.Random(number).shuffle(order)  # noqa: S311 - no secret
        for name in order:
            remove(direction.result)
            start = time.monotonic()
            direction.ways[name]()
            seconds = time.monotonic() - start
            if number:
                taken[name].append(seconds)
            elif not filecmp.cmp(file, direction.result, shallow=False):
                raise AssertionError(f"{direction.name}, {name}: the file that came is not the one that went")
    remove(direction.result)
    return taken


def show(direction: str, taken: dict[str, list[float]], size_mb: int) -> float:
    """Print the rows of a direction.

    Returns:
        The share of the judge's bytes per second, the middle of all rounds.
    """
    shares = [judge / ours for judge, ours in zip(taken[JUDGE], taken[OURS], strict=True)]
    for name, seconds in taken.items():
        speed = size_mb / statistics.median(seconds)
        ratio = [own / ours for own, ours in zip(seconds, taken[OURS], strict=True)]
        low_high = stats.median_interval([[one] for one in ratio])
        spread = "" if low_high is None else f" [{low_high[0]:.2f}, {low_high[1]:.2f}]"
        share = "" if name == OURS else f"{statistics.median(ratio):.2f}{spread}"
        print(LINE.format(direction, name, median_and_range(seconds), f"{speed:.0f} MB/s", share), flush=True)
    return statistics.median(shares)


@contextlib.contextmanager
def chosen(options: argparse.Namespace, scratch: Path) -> Iterator[Server]:
    """The server that was asked for."""
    folder = scratch / "server"
    folder.mkdir()
    if options.lab:
        with emulated(folder) as server:
            yield server
        return
    unpacked = scratch / "package"
    unpacked.mkdir()
    with serve(download(unpacked) if options.download else find(options.sshd), folder) as server:
        yield server


@contextlib.contextmanager
def emulated(folder: Path) -> Iterator[Server]:
    """The emulated machine, whose root folder is one of this machine's."""
    if "FAKEPI_KEY" not in os.environ:
        raise NoSshdError("not inside fakepi.sh")
    place = Path(os.environ["FAKEPI_WHEELS"]).parent / "pi"
    config = folder / "config"
    lines = {
        "HostName": "127.0.0.1",
        "Port": "2222",
        "User": "root",
        "IdentityFile": os.environ["FAKEPI_KEY"],
        "UserKnownHostsFile": os.environ["FAKEPI_KNOWN_HOSTS"],
        "IdentitiesOnly": "yes",
    }
    config.write_text("\n".join([f"Host {HOST}", *(f"{name} {value}" for name, value in lines.items())]) + "\n")
    # One path for both sides: the machine's root folder is below this one's, so a link in it leads to the same place.
    files = Path(tempfile.mkdtemp(prefix="edgekit-transfers-", dir=place / "tmp"))
    inner = Path("/", *files.relative_to(place).parts)
    try:
        inner.symlink_to(files)
        yield Server(config, inner)
    finally:
        inner.unlink(missing_ok=True)
        shutil.rmtree(files)


def main() -> int:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100, help="of the file, in MB")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="for all seconds")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sshd", type=Path, help="the program, if it is not installed")
    which.add_argument("--download", action="store_true", help="fetch Debian's sshd for this run")
    which.add_argument("--lab", action="store_true", help="take the emulated machine")
    options = parser.parse_args()
    found, shares = {}, {}
    with tempfile.TemporaryDirectory(prefix="edgekit-tr-") as name:
        scratch = Path(name)
        file = scratch / "large"
        file.write_bytes(random.Random(0).randbytes(options.size * 1_000_000))  # noqa: S311 - no secret
        try:
            with chosen(options, scratch) as server, shared_connection(server.config, scratch) as words:
                os.environ[PROGRAM] = shlex.join(["ssh", "-F", str(server.config)])
                transport = SshTransport(f"ssh://{HOST}", CONNECT_S, scratch)
                try:
                    print(LINE.format("", "", "seconds", "speed", "time / edgekit's"))
                    for direction in (
                        sending(transport, file, server, words),
                        getting(transport, file, server, words, scratch),
                    ):
                        found[direction.name] = measure(direction, file, options.rounds)
                        shares[direction.name] = show(direction.name, found[direction.name], options.size)
                finally:
                    transport.close()
        except NoSshdError as error:
            print(f"nothing measured: {error}")
            return 2
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    missed = [name for name, share in shares.items() if share < LIMIT and not options.lab]
    limit = "emulated, so not judged" if options.lab else f"limit {LIMIT:.0%}"
    for name, share in shares.items():
        print(f"{name}: {share:.0%} of the speed of {JUDGE}, {limit}{': missed' if name in missed else ''}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
