"""Real trained models to every target and scheme through the command line, against the limits of acceptance.

    python benchmarks/real_models.py [--models FOLDER] [--only NAME]... [--json FILE]

Each model is converted twice, with calibration data (float32, float16, int8) and without (int8-dynamic), and
every file is measured on every labelled set. Limits: float32 at 100 dB SQNR, float16 at 50, static int8 of
the digits network at 32; int8 top-1 within 1.0 percentage point of the source, 2.0 where there are fewer than
500 samples. The accuracy of the source is that of plain PyTorch. Exit code 1 when a limit is missed or a
command fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _cases import ROOT, Case, all_cases
from _measure import EDGEKIT

MIN_SQNR_DB = {"float32": 100.0, "float16": 50.0}
LINE = "{:18} {:11} {:13} {:>9} {:>7}  {:42} {}"
FEW_SAMPLES = 500
MAX_LOSS, MAX_LOSS_FEW = 1.0, 2.0  # percentage points


@dataclass
class Row:
    """One converted file, or one that is missing."""

    model: str
    target: str
    scheme: str
    size_bytes: int = 0
    sqnr_db: float | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    source_accuracy: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def edgekit(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command with ``--json``: exit code, report, and what it said on stderr."""
    command = [*EDGEKIT, *arguments, "--json", "--quiet"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def convert(case: Case, folder: Path) -> Iterator[tuple[Row, Path]]:
    """Both conversions of a case; every file asked for has its row."""
    np.savez(folder / "calibration.npz", **{case.input_name or "x": case.calibration})
    base = ["convert", str(case.weights), *case.options, "--to", "all"]
    with_data = ["--quant", "float32", "--fp16", "--int8", "--data", str(folder / "calibration.npz")]
    runs = (
        (("float32", "float16", "int8"), [*base, *with_data, "--output", str(folder / "data")]),
        (("int8-dynamic",), [*base, "--int8", *case.input_options, "--output", str(folder / "nodata")]),
    )
    for schemes, arguments in runs:
        code, report, said = edgekit(*arguments)
        made = {(item["target"], item["scheme"]): item for item in report.get("artifacts", ())}
        failures = {item.get("what", ""): item["message"] for item in report.get("failures", ())}
        for target in ("tflite", "onnx", "executorch"):
            for scheme in schemes:
                row = Row(case.name, target, scheme)
                artifact = made.get((target, scheme))
                if artifact is None:
                    reason = failures.get(f"{target} {scheme}") or said.strip()[-300:]
                    row.findings.append(f"missing, exit code {code}: {reason}")
                    yield row, Path()
                    continue
                drifts = artifact["verification"]["outputs"]
                known = [drift["sqnr_db"] for drift in drifts if drift["sqnr_db"] is not None]
                row.sqnr_db = min(known) if known else float("inf")
                row.size_bytes = artifact["size_bytes"]
                yield row, Path(artifact["path"])


def measure_accuracy(case: Case, rows: list[tuple[Row, Path]], folder: Path) -> None:
    """Fill in the accuracy of every file that exists, on every labelled set."""
    made = [(row, path) for row, path in rows if row.size_bytes]
    for name, (inputs, labels) in case.labelled.items():
        data = folder / f"labelled-{name}.npz"
        np.savez(data, **{case.input_name or "x": inputs, "labels": labels})
        source = case.float_accuracy((inputs, labels))
        _, report, said = edgekit("profile", *(str(path) for _, path in made), "--data", str(data), "--budget", "1")
        profiles = {Path(item["path"]).resolve(): item for item in report.get("profiles", ())}
        limit = MAX_LOSS if len(labels) >= FEW_SAMPLES else MAX_LOSS_FEW
        for row, path in made:
            row.source_accuracy[name] = source
            found = [
                item["value"]
                for item in profiles.get(path.resolve(), {}).get("measurements", ())
                if item["metric"] == "accuracy"
            ]
            if not found or found[0] is None:
                row.findings.append(f"no accuracy on {name}: {said.strip()[-300:]}")
                continue
            row.accuracy[name] = found[0]
            loss = 100 * (source - found[0])
            if loss > limit + 1e-9:
                row.findings.append(f"{name}: {loss:.2f} points lost, limit {limit}")


def judge_sqnr(case: Case, row: Row) -> None:
    """Note an SQNR under its limit."""
    limit = case.min_int8_sqnr_db if row.scheme == "int8" else MIN_SQNR_DB.get(row.scheme)
    if limit is not None and row.sqnr_db is not None and row.sqnr_db < limit:
        row.findings.append(f"{row.sqnr_db:.1f} dB, limit {limit:g}")


def line(row: Row) -> str:
    """A row of the table."""
    sqnr = "-" if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
    accuracy = ", ".join(
        f"{name} {100 * value:.2f} ({100 * row.source_accuracy[name]:.2f})" for name, value in row.accuracy.items()
    )
    verdict = "; ".join(row.findings) or "ok"
    return LINE.format(row.model, row.target, row.scheme, row.size_bytes, sqnr, accuracy, verdict)


def main() -> int:
    """Convert, measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append", help="cases whose name starts like this")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "real_models.json")
    options = parser.parse_args()
    rows: list[Row] = []
    start = time.monotonic()
    print(LINE.format("model", "target", "scheme", "bytes", "SQNR dB", "top-1 % (source)", "verdict"))
    with tempfile.TemporaryDirectory(prefix="edgekit-real-") as name:
        for case in all_cases(options.models.resolve(), Path(name)):
            if options.only and not case.name.startswith(tuple(options.only)):
                continue
            folder = Path(name) / case.name
            for part in ("data", "nodata"):
                (folder / part).mkdir(parents=True)
            made = list(convert(case, folder))
            measure_accuracy(case, made, folder)
            for row, _ in made:
                judge_sqnr(case, row)
                print(line(row), flush=True)
            rows += [row for row, _ in made]
    failed = [row for row in rows if row.findings]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    took = time.monotonic() - start
    models = len({row.model for row in rows})
    print(f"{len(rows)} files of {models} models, {len(failed)} not as asked, {took:.0f} s")
    print(f"details: {options.json}")
    return int(bool(failed) or not rows)


if __name__ == "__main__":
    sys.exit(main())
