"""Regressions planted in real files, and whether ``edgekit check`` catches each of them, under load.

    python benchmarks/gate.py [--models FOLDER] [--runs N] [--load N] [--only NAME]... [--json FILE]

An MNIST network and a CIFAR-10 network (ONNX), and ResNet-8 (TFLite) are the committed baselines. Copies of them are
checked ``--runs`` times: unchanged, 5 % larger, 10 % slower, one point less accurate, and with one convolution
out of the delegate. ``--load`` processes keep computing meanwhile. Every unchanged one must pass and every
planted one must end with exit code 10, by the budget that it is about and by no other. Exit code 1 when one does not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _gate_files as plant
import numpy as np
from _cases import ROOT
from _measure import EDGEKIT

_BUSY = "while True:\n    sum(range(100000))"
_BUDGETS = {
    "mnist.onnx": "max_size_ratio = 1.02\nmax_accuracy_drop = 0.005",
    "cifar.onnx": "max_latency_ratio = 1.05",
    "resnet8.tflite": "min_delegated = 0.95",
}
_EXPECTED = {
    "unchanged": ("", ""),
    "size +5 %": ("mnist.onnx", "max_size_ratio"),
    "latency +10 %": ("cifar.onnx", "max_latency_ratio"),
    "accuracy -1 point": ("mnist.onnx", "max_accuracy_drop"),
    "convolution out of the delegate": ("resnet8.tflite", "min_delegated"),
}


@dataclass(frozen=True)
class Outcome:
    """One run.

    Attributes:
        case: What was planted.
        exit_code: Of ``edgekit check``.
        broken: Budgets that it says are broken.
        unknown: Budgets that it could not tell about.
        figures: Each budget's figure with its interval.
        seconds: How long it took.
    """

    case: str
    exit_code: int
    broken: tuple[str, ...]
    unknown: tuple[str, ...]
    figures: dict[str, list[Any]]
    seconds: float

    @property
    def right(self) -> bool:
        """Whether that is what was to be found, and nothing else."""
        _, budget = _EXPECTED[self.case]
        return self.broken == ((budget,) if budget else ()) and self.exit_code == (10 if budget else 0)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--load", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(_EXPECTED), default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with _load(options.load):
            print(f"planted: {_prepare(folder, options.models)}", flush=True)
            for number in range(options.runs):
                for case in options.only or list(_EXPECTED):
                    outcomes.append(_run(folder, case))
                    _tell(number, outcomes[-1])
    counted = Counter((one.case, one.right) for one in outcomes)
    for case in dict.fromkeys(one.case for one in outcomes):
        print(f"{case:32} {counted[case, True]} of {counted[case, True] + counted[case, False]}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=2))
    return 0 if all(one.right for one in outcomes) else 1


def _prepare(folder: Path, models: Path) -> str:
    """Baselines, data, and a folder of planted files for each case; says how much was planted."""
    base = folder / "baseline"
    base.mkdir()
    shutil.copy(models / "mnist_onnx" / "mnist.onnx", base / "mnist.onnx")
    shutil.copy(models / "winml_cifar10" / "ImageClassifier.onnx", base / "cifar.onnx")
    shutil.copy(models / "mlperf_tiny_resnet8" / "pretrainedResnet.tflite", base / "resnet8.tflite")
    with np.load(models / "_data_mnist" / "mnist_t10k_dev_first5000.npz") as kept:
        inputs, labels = kept["x"].reshape(-1, 1, 28, 28).astype(np.float32), kept["y"].astype(np.int64)
    np.savez(folder / "mnist.npz", x=inputs, labels=labels)
    for number, case in enumerate(_EXPECTED):
        (folder / str(number)).mkdir()
        for name in _BUDGETS:
            shutil.copy(base / name, folder / str(number) / name)
        _settings(folder / str(number), case)
    places = {case: folder / str(number) / _EXPECTED[case][0] for number, case in enumerate(_EXPECTED)}
    plant.pad(base / "mnist.onnx", places["size +5 %"], 0.05)
    slower = plant.slow_down(base / "cifar.onnx", places["latency +10 %"], _times_as_long)
    fell = plant.shift_bias(base / "mnist.onnx", places["accuracy -1 point"], inputs, labels, 0.01)
    plant.undelegate(base / "resnet8.tflite", places["convolution out of the delegate"])
    return f"{slower:.3f} times as long, {fell * 100:.2f} points less"


def _times_as_long(file: Path, base: Path) -> float:
    """As ``edgekit compare`` finds it, which has the feeding and fetching in it."""
    command = [*EDGEKIT, "compare", str(file), "--baseline", str(base), "--budget", "3", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ratio: float = json.loads(done.stdout)["comparisons"][0]["ratio"]
    return ratio


def _settings(folder: Path, case: str) -> None:
    """Settings for the file that a case is about, for each file where nothing is planted; each has data of its own."""
    planted, _ = _EXPECTED[case]
    for name in [planted] if planted else _BUDGETS:
        lines = ["[check]", "budget_s = 3", *(['data = "../mnist.npz"'] if name == "mnist.onnx" else [])]
        lines += [f'[check.models."{name}"]', f'baseline = "../baseline/{name}"', _BUDGETS[name]]
        (folder / f"{name}.toml").write_text("\n".join(lines) + "\n")


def _run(folder: Path, case: str) -> Outcome:
    """Check once, in child processes; several settings count as one run."""
    begun = time.monotonic()
    place = folder / str(list(_EXPECTED).index(case))
    judged: list[dict[str, Any]] = []
    codes = []
    for config in sorted(place.glob("*.toml")):
        command = [*EDGEKIT, "check", "--config", str(config), "--json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        codes.append(done.returncode)
        if done.returncode not in (0, 10, 11):
            raise SystemExit(f"{case}: {done.stderr}")
        judged += json.loads(done.stdout)["judgements"]
    found = {
        verdict: tuple(one["budget"] for one in judged if one["verdict"] == verdict)
        for verdict in ("regression", "inconclusive")
    }
    figures = {one["budget"]: [one[name] for name in ("value", "low", "high", "attempts")] for one in judged}
    code = 10 if 10 in codes else max(codes)
    return Outcome(case, code, found["regression"], found["inconclusive"], figures, time.monotonic() - begun)


def _tell(number: int, one: Outcome) -> None:
    mark = "right" if one.right else "WRONG"
    shown = {name: [round(v, 4) if isinstance(v, float) else v for v in values] for name, values in one.figures.items()}
    print(f"{number + 1:3} {mark} {one.case:32} exit {one.exit_code:2} {one.seconds:5.1f} s  {shown}", flush=True)


@contextmanager
def _load(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


if __name__ == "__main__":
    sys.exit(main())
