"""Three targets x two schemes in one command, against six separate commands.

    python benchmarks/one_command.py [--repeats 3] [--resnet20 FOLDER_OF_SHARED_MODELS]

Both sides make the same six files of the digits network (or of ResNet-20), with verification. They take
turns; each repeat gives one ratio. Exit code 1 when the median ratio of wall times is over 0.6.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from _measure import EDGEKIT, Cost, median_and_range, run

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"
NETWORKS = ROOT / "tests" / "models" / "networks.py"
TARGETS = ("tflite", "onnx", "executorch")
SCHEMES = ("float32", "int8")
LIMIT = 0.6


def digits_arguments() -> list[str]:
    """MODEL and what it takes to read and calibrate it."""
    code, data = DIGITS / "model.py", DIGITS / "calibration.npz"
    return [str(DIGITS / "digits.pt"), "--model", f"{code}:Digits", "--data", str(data)]


def resnet20_arguments(shared: Path, scratch: Path) -> list[str]:
    """The same for ResNet-20, with 100 pictures of the shared data to calibrate with."""
    from _shared_data import cifar_images

    data = scratch / "cifar.npz"
    np.savez(data, image=cifar_images(shared, "imagenet")[0][:100])
    weights = next((shared / "cifar10_resnet_akamaster").glob("resnet20-*.th"))
    return [str(weights), "--model", f"{NETWORKS}:resnet20", "--data", str(data)]


def convert(arguments: list[str], targets: tuple[str, ...], schemes: tuple[str, ...], folder: Path) -> Cost:
    """One ``edgekit convert``; raises when it fails."""
    options = [f"--to={target}" for target in targets] + [f"--quant={scheme}" for scheme in schemes]
    command = [*EDGEKIT, "convert", *arguments, *options, "--output", str(folder), "--force", "--quiet"]
    folder.mkdir(parents=True, exist_ok=True)
    cost = run(command, folder / "log.txt")
    if cost.exit_code:
        sys.exit(f"{' '.join(command)}\nended with {cost.exit_code}:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return cost


def main() -> int:
    """Measure, taking turns, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resnet20", type=Path, metavar="FOLDER", help="the folder of shared models")
    options = parser.parse_args()
    one, six = [], []
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as name:
        scratch = Path(name)
        arguments = resnet20_arguments(options.resnet20, scratch) if options.resnet20 else digits_arguments()
        for repeat in range(options.repeats):
            one.append(convert(arguments, TARGETS, SCHEMES, scratch / "one"))
            singles = [
                convert(arguments, (target,), (scheme,), scratch / "six")
                for target, scheme in itertools.product(TARGETS, SCHEMES)
            ]
            six.append(Cost(sum(cost.wall_s for cost in singles), sum(cost.cpu_s for cost in singles), 0))
            print(f"repeat {repeat + 1}: one {one[-1].wall_s:.1f} s, six {six[-1].wall_s:.1f} s", flush=True)
    for name, costs in (("one command", one), ("six commands", six)):
        wall, cpu = [cost.wall_s for cost in costs], [cost.cpu_s for cost in costs]
        print(f"{name}: {median_and_range(wall)} s, CPU {median_and_range(cpu)} s")
    ratios = [a.wall_s / b.wall_s for a, b in zip(one, six, strict=True)]
    cpu_ratios = [a.cpu_s / b.cpu_s for a, b in zip(one, six, strict=True)]
    print(f"ratio of wall times: {median_and_range(ratios)}, limit {LIMIT}")
    print(f"ratio of CPU times: {median_and_range(cpu_ratios)}")
    return int(statistics.median(ratios) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
