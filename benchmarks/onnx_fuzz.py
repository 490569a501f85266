"""Damaged ONNX files through edgekit's readers: a clear error or success, and nothing read outside the model's folder.

    OMP_NUM_THREADS=1 python benchmarks/onnx_fuzz.py [--count 2000] [--seed 0] [--only NUMBER] [--keep FOLDER]

Each file goes through ``inspect``, the checks of the ONNX source and the importer's planner, in a forked child with
limits on its memory and its time. Only errors of edgekit may come out. What Python opens meanwhile is watched; beside
the model's own folder there are files that the mutations point to. Exit code 1 when anything else happened.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _onnx_mutations import mutate
from _onnx_seeds import DATA, seeds

MEMORY_BYTES = 3 << 30
CPU_S = 30
WALL_S = 300
_TOO_SLOW = (signal.SIGXCPU, signal.SIGALRM)
_FOUND = ("outside", "traceback", "died", "too slow")


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        number: Of the file: with the seed, all there is to make it again.
        what: What was damaged, in words.
        kinds: Of each reader: ``ok``, the name of edgekit's error, or one of ``outside``, ``traceback``, ``died`` and
            ``too slow``, which must not be.
        said: Message of each reader.
        seconds: All of them took.
    """

    number: int
    what: str
    kinds: tuple[str, ...]
    said: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing happened that must not."""
        return not set(self.kinds) & set(_FOUND)


def main() -> int:
    """Make files, read them, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this file alone, with what was said")
    parser.add_argument("--keep", type=Path, help="leave the files that failed in this folder")
    given = parser.parse_args()
    numbers = range(given.count) if given.only is None else [given.only]
    start = time.monotonic()
    outcomes = []
    for outcome in run(numbers, given.seed, given.keep):
        outcomes.append(outcome)
        if not outcome.good or given.only is not None:
            print(f"{outcome.number}: {outcome.what}")
            for kind, said in zip(outcome.kinds, outcome.said, strict=True):
                print(f"    {kind}: {said}", flush=True)
    counted = Counter(kind for outcome in outcomes for kind in outcome.kinds)
    slowest = max(outcomes, key=lambda item: item.seconds)
    bad = sum(not outcome.good for outcome in outcomes)
    print(f"{len(outcomes)} files of seed {given.seed} in {time.monotonic() - start:.0f} s, {bad} of them bad")
    print("by reader: " + ", ".join(f"{kind} {count}" for kind, count in counted.most_common()))
    print(f"slowest: {slowest.number}, {slowest.seconds:.1f} s")
    return int(bad > 0)


def run(numbers: Sequence[int], seed: int, keep: Path | None = None) -> Iterator[Outcome]:
    """Make and read files.

    Args:
        numbers: Which; each is the same whatever the others are.
        seed: Of all of them.
        keep: Folder for those that failed.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    originals = seeds()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch).resolve() / "case"
        for name, model, data in originals:  # also imports all that readers import, once for all children
            _write(place, model.SerializeToString(), data)
            found = [_call(reader, place / "model.onnx") for _, reader in READERS]
            if {kind for kind, _ in found} != {"ok"}:
                raise SystemExit(f"{name} is not sound: {found}")
        for number in numbers:
            source = random.Random(f"{seed}-{number}")  # noqa: S311 - no secrets
            name, model, data = source.choice(originals)
            content, beside, what = mutate(model, data, source)
            _write(place, content, beside)
            kinds, said, seconds = in_child(place / "model.onnx")
            outcome = Outcome(number, f"{name}: {what}", kinds, said, seconds)
            if keep is not None and not outcome.good:
                shutil.copytree(place, keep / str(number), symlinks=True, dirs_exist_ok=True)
            yield outcome


def _write(place: Path, content: bytes, data: bytes) -> None:
    """A model's folder, with links out of it, and a file beside it that nobody may read."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "model.onnx").write_bytes(content)
    if data:
        (place / DATA).write_bytes(data)
    (place.parent / "secret.bin").write_bytes(bytes(4096))
    (place / "link.bin").symlink_to("../secret.bin")
    (place / "folder").symlink_to("..")
    (place / "loop.bin").symlink_to("loop.bin")


def in_child(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    """Read a file in a child; see :class:`Outcome`."""
    start = time.monotonic()
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(receive)
            _limit()
            opened = _watched(path.parent)
            found = [_call(reader, path) for _, reader in READERS]
            if opened:
                found.append(("outside", ", ".join(sorted(set(opened)))[:500]))
            os.write(send, json.dumps(found).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as file:
        content = file.read()
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - start
    if not content:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        kind = "too slow" if number in _TOO_SLOW else "died"
        return (kind,), (signal.Signals(number).name if number else "without a word",), seconds
    found = json.loads(content)
    return tuple(kind for kind, _ in found), tuple(said for _, said in found), seconds


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    faulthandler.disable()  # what it would print is told by the signal
    for number in _TOO_SLOW:
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(WALL_S)


def _watched(folder: Path) -> list[str]:
    """From now on, every file that is opened and is neither in the folder nor part of Python or of edgekit."""
    import converters

    own = {Path(item).resolve() for item in (sys.prefix, sys.base_prefix, *sys.path) if item}
    allowed = [folder, Path(converters.__file__).resolve().parents[1], *own]
    opened: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path(os.path.realpath(os.fsdecode(arguments[0])))
        if not any(path.is_relative_to(item) for item in allowed):
            opened.append(str(path))

    sys.addaudithook(hook)
    return opened


def _call(reader: Callable[[Path], object], path: Path) -> tuple[str, str]:
    from edgekit.errors import EdgekitError

    try:
        reader(path)
    except EdgekitError as error:
        return type(error).__name__, error.message[:400]
    except BaseException as error:  # what must not come out: all of it is told
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} at {own[-1].filename}:{own[-1].lineno}"
    return "ok", ""


def _inspect(path: Path) -> None:
    from converters.onnx.inspect import inspect

    inspect(str(path))


def _source(path: Path) -> None:
    from converters.onnx.reading import open_source
    from edgekit.requests import LoadRequest

    open_source(LoadRequest(path=str(path), into=str(path.parent), inputs=("1,3",)))


def _plan(path: Path) -> None:
    """The planner at the sizes of the file, 1 where it does not say them."""
    from converters.onnx.loading import parsed
    from converters.onnx_import.convert import plan_of

    graph = parsed(path).graph
    stored = {item.name for item in graph.initializer} | {item.values.name for item in graph.sparse_initializer}
    sizes = {
        item.name: [max(dim.dim_value, 1) for dim in item.type.tensor_type.shape.dim]
        for item in graph.input
        if item.name not in stored
    }
    plan_of(path, sizes, [item.name for item in graph.output])


READERS = (("inspect", _inspect), ("source", _source), ("plan", _plan))


if __name__ == "__main__":
    sys.exit(main())
