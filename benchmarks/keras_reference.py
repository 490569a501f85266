"""TFLite files that edgekit makes of Keras models, against those of TensorFlow's own converter.

    python benchmarks/keras_reference.py [--models FOLDER] [--only NAME]... [--budget S] [--repeats N] [--json FILE]

Every Keras model of the shared folder is converted by ``edgekit convert``, and by
``tf.lite.TFLiteConverter.from_keras_model`` with the batch fixed at 1. Limits: as many operators, two per cent more or
fewer; no TRANSPOSE that the reference has not; and the median latency at most 1.03 times the reference's, where both
files take turns in ``edgekit profile``. The ratio is the median of the repeats, and behind it stand the ends of all
their intervals; where these hold 1, as with models of a microsecond, nothing is shown to be slower. Exit code 1 when a
limit is missed or a command fails.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _cases import ROOT
from _measure import EDGEKIT

SUFFIXES = frozenset({".h5", ".hdf5", ".keras"})
MAX_DIFFERENCE, MAX_RATIO = 0.02, 1.03
LINE = "{:26} {:>12} {:>12}  {:24} {:>16}  {}"


@dataclass
class Row:
    """One model.

    Attributes:
        operators: How many, of edgekit's file and of the reference.
        transposes: The same, of TRANSPOSE alone.
        latency: ``[ratio, lowest, highest]`` of edgekit's file to the reference.
        bytes: Sizes of both.
        findings: Limits missed.
    """

    model: str
    operators: list[int] = field(default_factory=list)
    transposes: list[int] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def reference(source: str, output: str) -> None:
    """TensorFlow's own file of a Keras model; runs in a process of its own."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model = keras.models.load_model(_readable(Path(source), Path(folder)), compile=False)
    inputs = [keras.Input(batch_shape=(1, *item.shape[1:]), dtype=item.dtype) for item in model.inputs]
    fixed = keras.Model(inputs, model(inputs[0] if len(inputs) == 1 else inputs))
    Path(output).write_bytes(tf.lite.TFLiteConverter.from_keras_model(fixed).convert())


def _readable(source: Path, folder: Path) -> Path:
    """A copy without a setting of Keras 2 that Keras 3 refuses and that changes nothing: ``groups`` of 1."""
    if source.suffix == ".keras":
        return source
    import h5py

    made = folder / source.name
    made.write_bytes(source.read_bytes())
    with h5py.File(made, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D" and layer["config"].get("groups") == 1:
                del layer["config"]["groups"]
        file.attrs["model_config"] = json.dumps(config)
    return made


def edgekit(*arguments: str) -> tuple[dict[str, Any], str]:
    """A command's report, and what it said on stderr."""
    command = [*EDGEKIT, *arguments, "--json", "--quiet"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return json.loads(done.stdout or "{}"), done.stderr


def operators(file: Path) -> Counter[str]:
    """Operators of a file by type."""
    report, said = edgekit("inspect", str(file))
    if "operators" not in report:
        raise SystemExit(f"edgekit inspect {file}: {said.strip()[-300:]}")
    return Counter(report["operators"])


def ratios(ours: Path, theirs: Path, budget: float) -> list[float]:
    """Of the medians of one ``edgekit profile``: the ratio, and the least and most it can be; empty on failure."""
    report, _ = edgekit("profile", str(ours), str(theirs), "--budget", str(budget))
    found = []
    for file in (ours, theirs):
        (profile,) = [item for item in report.get("profiles", ()) if Path(item["path"]).resolve() == file.resolve()]
        (median,) = [item for item in profile["measurements"] if item["metric"] == "latency_p50_ns"]
        found.append([median["value"], median["low"] or median["value"], median["high"] or median["value"]])
    (own, low, high), (other, other_low, other_high) = found
    return [own / other, low / other_high, high / other_low]


def measure(model: Path, folder: Path, budget: float, repeats: int) -> Row:
    """Convert both ways, count, time, judge."""
    row = Row(model.name)
    report, said = edgekit("convert", str(model), "--to", "tflite", "--output", str(folder))
    theirs = folder / "reference.tflite"
    made = subprocess.run(
        [sys.executable, __file__, "--reference", str(model), str(theirs)], capture_output=True, text=True
    )
    if not report.get("artifacts") or made.returncode:
        reasons = [item["message"] for item in report.get("failures", ())] or [(said + made.stderr).strip()[-300:]]
        row.findings += reasons
        return row
    ours = Path(report["artifacts"][0]["path"])
    counts = [operators(file) for file in (ours, theirs)]
    row.operators = [sum(count.values()) for count in counts]
    row.transposes = [count["TRANSPOSE"] for count in counts]
    row.bytes = [file.stat().st_size for file in (ours, theirs)]
    if abs(row.operators[0] - row.operators[1]) > MAX_DIFFERENCE * row.operators[1]:
        row.findings.append(f"operators: {dict(counts[0] - counts[1])} more, {dict(counts[1] - counts[0])} fewer")
    if row.transposes[0] > row.transposes[1]:
        row.findings.append("stray TRANSPOSE")
    if budget:
        timed = [ratios(ours, theirs, budget) for _ in range(repeats)]
        row.latency = [
            statistics.median(item[0] for item in timed),
            min(item[1] for item in timed),
            max(item[2] for item in timed),
        ]
        if row.latency[0] > MAX_RATIO and row.latency[1] > 1:
            row.findings.append(f"slower than {MAX_RATIO} times the reference")
    return row


def line(row: Row) -> str:
    """A row of the table."""
    pairs = ["{} / {}".format(*pair) if pair else "-" for pair in (row.operators, row.transposes, row.bytes)]
    latency = "{:.3f} ({:.3f} to {:.3f})".format(*row.latency) if row.latency else "-"
    return LINE.format(row.model, pairs[0], pairs[1], latency, pairs[2], "; ".join(row.findings) or "ok")


def main() -> int:
    """Measure every model, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append", help="models whose file name starts like this")
    parser.add_argument("--budget", type=float, default=5, help="seconds per file and repeat; 0 times nothing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "keras_reference.json")
    parser.add_argument("--reference", nargs=2, metavar=("MODEL", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        reference(*options.reference)
        return 0
    models = sorted(file for file in options.models.rglob("*") if file.suffix in SUFFIXES)
    rows = []
    print(LINE.format("model", "operators", "TRANSPOSE", "latency ratio", "bytes", "verdict  (ours / reference)"))
    for model in models:
        if options.only and not model.name.startswith(tuple(options.only)):
            continue
        with tempfile.TemporaryDirectory(prefix="edgekit-reference-") as folder:
            rows.append(measure(model, Path(folder), options.budget, options.repeats))
        print(line(rows[-1]), flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"details: {options.json}")
    return int(not rows or any(row.findings for row in rows))


if __name__ == "__main__":
    sys.exit(main())
