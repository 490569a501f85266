"""Comparing two copies of one file again and again, under load: how often is a difference claimed where none is?

    python benchmarks/same_files.py [--trials 100] [--budget S] [--load N] [--float FILE --int8 FILE] [--json FILE]

Each trial is one ``edgekit compare`` of a float file, a copy of it and its int8 twin, beside processes that take the
CPU in bursts. Limits: the copy is called different in 5 of 100 trials at most, the int8 file faster in all. The same
files are timed one after the other, too, as other tools do it: a block of runs of the file, then one of its copy. Exit
code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from _cases import ROOT
from _measure import EDGEKIT, run

from edgekit import registry
from edgekit.feeds import write
from edgekit.measuring import Measuring
from edgekit.profile import compare
from edgekit.random_data import random_feeds

MAX_DIFFERENT_SHARE = 0.05
BLOCK_RUNS = 100
DIFFERENT = ("faster", "slower")


@dataclass(frozen=True)
class Trial:
    """What one comparison said, and what blocks of runs would have.

    Attributes:
        copy_verdict, copy_ratio: Of the copy to the file.
        floor: Of the comparison, as a share.
        int8_verdict, int8_ratio: Of the int8 file.
        block_ratio: Of the medians of a block of runs each, one after the other.
    """

    copy_verdict: str
    copy_ratio: float
    floor: float
    int8_verdict: str
    int8_ratio: float
    block_ratio: float


def burn(seed: int) -> None:
    """Take a CPU in bursts of up to a second, with pauses of up to one."""
    random_ = random.Random(seed)  # noqa: S311 - no secret
    while True:
        end = time.monotonic() + random_.random()
        while time.monotonic() < end:
            sum(range(1000))
        time.sleep(random_.random())


def blocks(file: Path, copy: Path, scratch: Path) -> float:
    """The ratio of two medians taken one after the other."""
    device = registry.host()
    medians = []
    for number, path in enumerate((file, copy)):
        target, _ = registry.identify(path)
        with device.open_session(path, target.name, 1, None, scratch, 60.0) as session:
            feeds = scratch / f"feeds-{number}"
            write(feeds, random_feeds(session.signature, 4, 0, {}))
            session.first(feeds)
            medians.append(statistics.median(session.time(BLOCK_RUNS // 5, BLOCK_RUNS)["ns"]))
    return medians[1] / medians[0]


def trial(file: Path, copy: Path, int8: Path, measuring: Measuring) -> Trial:
    """One comparison, and the two blocks."""
    report = compare([file, copy, int8], baseline=file, measuring=measuring)
    by_path = {one.path: one for one in report.comparisons}
    same, other = by_path[str(copy)], by_path[str(int8)]
    with tempfile.TemporaryDirectory() as scratch:
        block = blocks(file, copy, Path(scratch))
    return Trial(same.verdict, same.ratio or 0.0, same.floor_ratio or 0.0, other.verdict, other.ratio or 0.0, block)


def made(folder: Path) -> tuple[Path, Path]:
    """A float and an int8 TFLite file of the digits network that comes with edgekit."""
    cost = run([*EDGEKIT, "demo", "--output", str(folder / "demo"), "--quiet"], folder / "demo.log")
    if cost.exit_code:
        raise SystemExit((folder / "demo.log").read_text())
    return folder / "demo" / "digits.float32.tflite", folder / "demo" / "digits.int8.tflite"


def summary(trials: list[Trial]) -> str:
    """Counts, and the errors of both ways of timing."""
    lines = []
    for name, ratios in (
        ("rounds", [one.copy_ratio for one in trials]),
        ("one block after the other", [one.block_ratio for one in trials]),
    ):
        errors = sorted(abs(value - 1) for value in ratios)
        worst, high = errors[-1], errors[int(0.9 * (len(errors) - 1))]
        lines.append(
            f"{name:26} error of the ratio of two copies: mean {statistics.mean(errors):.1%}, "
            f"p90 {high:.1%}, worst {worst:.1%}; beyond 1 %: {sum(error > 0.01 for error in errors)} of {len(errors)}"
        )
    different = sum(one.copy_verdict in DIFFERENT for one in trials)
    faster = sum(one.int8_verdict == "faster" for one in trials)
    unsure = sum(one.copy_verdict == "inconclusive" for one in trials)
    floors = statistics.median(one.floor for one in trials)
    lines.append(
        f"two copies called different: {different} of {len(trials)}, inconclusive {unsure}, median floor {floors:.1%}"
    )
    lines.append(
        f"int8 called faster than float: {faster} of {len(trials)}, "
        f"median ratio {statistics.median(one.int8_ratio for one in trials):.3f}"
    )
    return "\n".join(lines)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--budget", type=float, default=3.0)
    parser.add_argument("--load", type=int, default=2, help="processes that take the CPU meanwhile")
    parser.add_argument("--float", type=Path, dest="float_file")
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build" if (ROOT / "build").is_dir() else None) as name:
        folder = Path(name)
        file, int8 = (options.float_file, options.int8) if options.float_file else made(folder)
        copy = folder / f"copy{file.suffix}"
        shutil.copyfile(file, copy)
        loads = [multiprocessing.Process(target=burn, args=(seed,), daemon=True) for seed in range(options.load)]
        for load in loads:
            load.start()
        for number in range(options.trials):
            measuring = Measuring(budget_s=options.budget, seed=number, thorough=False)  # the verdict alone
            trials.append(trial(file, copy, int8, measuring))
            print(f"{number + 1}/{options.trials} {trials[-1]}", file=sys.stderr, flush=True)
        for load in loads:
            load.kill()
    print(summary(trials))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in trials], indent=1))
    different = sum(one.copy_verdict in DIFFERENT for one in trials)
    return int(different > MAX_DIFFERENT_SHARE * len(trials) or any(one.int8_verdict != "faster" for one in trials))


if __name__ == "__main__":
    sys.exit(main())
