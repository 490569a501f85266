"""Int8 by edgekit against int8 by each runtime's own default route, from the same float files.

    python benchmarks/quantization.py [--models FOLDER] [--only NAME]... [--peers-only] [--json FILE] [--write]

Every labelled PyTorch model becomes TFLite, ONNX and ExecuTorch in float32, every Keras or TensorFlow model TFLite and
ONNX; float TFLite and ONNX files are taken as they are (``_given_files.py``). Each float file is quantized by the
runtime's own tool with its defaults (``_peers.py``), each source by ``edgekit convert --int8``, with the same
calibration samples. All files run on the labelled samples that calibration has not seen. SQNR is against the float file
of the same format; latencies are those of one ``edgekit profile``, where the files take turns, and their ratios carry
an interval.

Limits: SQNR nowhere more than 0.5 dB below the peer's, better on most rows, for TFLite 6 dB better in the median;
top-1 within 0.5 percentage points of float on sets of 1000 samples or more. Three depthwise networks without labels:
20 dB on each target, and ``--optimize``, which is for PyTorch, not worse. Exit code 1 when a limit is missed or a
file is missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import _depthwise as depthwise
import _given_files as given
import _quantization_table as table
import numpy as np
from _cases import ROOT, Case, all_cases, depthwise_cases, unlike
from _measure import EDGEKIT

from edgekit.convert import VERIFY_SAMPLES
from edgekit.splitting import split

PEERS = Path(__file__).parent / "_peers.py"
PEER_NAMES = {"tflite": "LiteRT quantizer", "onnx": "quantize_static", "executorch": "PT2E XNNPACK"}
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "executorch": ".pte"}
MAX_BEHIND_DB = 0.5
MIN_TFLITE_GAIN_DB = 6.0
MAX_LOST_POINTS = 0.5
MANY_SAMPLES = 1000
MIN_DEPTHWISE_DB = 20.0
NOISE_DB = 0.1
"""Two runs of one file may differ by this much where a runtime adds in another order."""

LINE = "{:16} {:10} {:>6} {:>6} {:>6}  {:34} {:>20}  {:>16} {:>16} {:>16}  {}"


@dataclass
class Figures:
    """One int8 file.

    Attributes:
        size_bytes: Of the file.
        sqnr_db: Against the float file of the same format; ``None`` when the two are identical.
        top1: By labelled set, of samples that calibration has not seen.
        latency: ``[ratio, lowest, highest]`` of int8 to float.
    """

    size_bytes: int = 0
    sqnr_db: float | None = None
    top1: dict[str, float] = field(default_factory=dict)
    latency: list[float] = field(default_factory=list)


@dataclass
class Row:
    """One model on one target.

    Attributes:
        samples: Of each labelled set, or of ``check`` where there are no labels.
        calibrated_with: Number of samples, of both.
        float_size_bytes, float_top1: Of the float file.
        files: ``peer``, ``edgekit``, ``optimized``.
        latency: ``[ratio, lowest, highest]`` of edgekit's file to the peer's.
        findings: What is not as asked.
        remarks: What else there is to say.
    """

    model: str
    target: str
    samples: dict[str, int] = field(default_factory=dict)
    calibrated_with: int = 0
    float_size_bytes: int = 0
    float_top1: dict[str, float] = field(default_factory=dict)
    files: dict[str, Figures] = field(default_factory=dict)
    latency: list[float] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def sqnr_db(self, maker: str) -> float:
        """Infinite for identical outputs, NaN for a file that is not there."""
        if maker not in self.files:
            return float("nan")
        found = self.files[maker].sqnr_db
        return float("inf") if found is None else found


class RunError(Exception):
    """A script ended badly; its last line."""


class Bench:
    """One case: all its files, made and run in a folder of its own."""

    def __init__(self, case: Case, folder: Path, options: argparse.Namespace) -> None:
        self.case, self.folder, self.options = case, folder, options
        self.sets = {name: unlike(samples, case.calibration) for name, samples in case.labelled.items()}
        self.inputs = {name: samples[0] for name, samples in self.sets.items()} or {"check": case.check}
        self.peers_samples = case.calibration
        self.missing: dict[tuple[str, str], str] = {}

    def rows(self) -> list[Row]:
        """Make, run and time everything."""
        # What edgekit holds out for its own check, the peers do not get either.
        chosen = split(len(self.case.calibration), len(self.case.calibration), VERIFY_SAMPLES).calibration
        self._save("calibration", self.case.calibration[chosen])
        np.savez(self.folder / "data.npz", **{self.case.input_name or "x": self.case.calibration})
        for name, inputs in self.inputs.items():
            self._save(name, inputs)
        files, used = self._convert()
        if used not in (None, len(chosen)):
            raise SystemExit(f"edgekit calibrated with {used} samples and the peers with {len(chosen)}.")
        if "executorch" in self.case.targets:
            self._export()
        return [self._row(target, files, len(chosen)) for target in self.case.targets]

    def _save(self, name: str, inputs: Any) -> None:
        np.save(self.folder / f"{name}.npy", inputs[:, None])  # every sample is a batch of one

    def _convert(self) -> tuple[dict[tuple[str, str], Path], int | None]:
        """Edgekit's files by target and maker, and the number of samples it calibrated with where it says so."""
        data = str(self.folder / "data.npz")
        targets = [f"--to={target}" for target in self.case.targets]
        base = ["convert", str(self.case.weights), *self.case.options, *targets, "--data", data, "--force"]
        given = self.case.float_file
        files = {} if given is None else {(self.case.targets[0], "float"): given}
        runs = [("float", ["--quant=float32"])] if given is None else []
        if not self.options.peers_only:
            # A file that edgekit would refuse for its SQNR is a finding here, with its figure.
            int8 = ["--quant=int8", f"--calibration-samples={len(self.case.calibration)}", "--min-sqnr=-100"]
            runs += [("edgekit", int8)]
            if not self.case.labelled and "executorch" in self.case.targets:
                runs += [("optimized", [*int8, "--optimize"])]
        used = None
        for maker, arguments in runs:
            (self.folder / maker).mkdir()
            code, report, said = edgekit(*base, *arguments, "--output", str(self.folder / maker))
            for item in report.get("artifacts", ()):
                files[item["target"], maker] = Path(item["path"])
                used = (item.get("calibration") or {}).get("samples", used)
            reasons = {item.get("what", "").partition(" ")[0]: item["message"] for item in report.get("failures", ())}
            for target in self.case.targets:
                if (target, maker) not in files:
                    self.missing[target, maker] = (
                        reasons.get(target) or reasons.get("") or f"exit code {code}: {said.strip()[-300:]}"
                    )
        return files, used

    def _export(self) -> None:
        """The program that ExecuTorch's own quantizer takes."""
        import torch

        example = torch.from_numpy(self.case.calibration[:1])
        torch.export.save(torch.export.export(self.case.network().eval(), (example,)), self.folder / "program.pt2")

    def _row(self, target: str, files: dict[tuple[str, str], Path], calibrated_with: int) -> Row:
        row = Row(self.case.name, target, {name: len(item) for name, item in self.inputs.items()}, calibrated_with)
        row.findings += [f"{maker}: {why}" for (where, maker), why in self.missing.items() if where == target]
        if (target, "float") not in files:
            return row
        reference = files[target, "float"]
        row.float_size_bytes = reference.stat().st_size
        made = {"peer": self.folder / f"peer{SUFFIXES[target]}"}
        source = self.folder / "program.pt2" if target == "executorch" else reference
        peers("quantize", target, source, self.folder / "calibration.npy", made["peer"])
        made |= {maker: path for (where, maker), path in files.items() if where == target and maker != "float"}
        expected = self._outputs(target, reference)
        row.float_top1 = self._top1(expected)
        for maker, path in list(made.items()):
            try:
                found = self._outputs(target, path)
            except RunError as error:
                # The peer's own runtime refuses the peer's own file: nothing to compare with, and no fault of ours.
                (row.remarks if maker == "peer" else row.findings).append(f"{maker}: does not run: {error}")
                del made[maker]
                continue
            first = next(iter(self.inputs))
            row.files[maker] = Figures(path.stat().st_size, sqnr_db(expected[first], found[first]), self._top1(found))
        if self.options.budget:
            self._time(row, reference, made)
        return row

    def _outputs(self, target: str, file: Path) -> dict[str, Any]:
        outputs = {}
        for name in self.inputs:
            peers("run", target, file, self.folder / f"{name}.npy", self.folder / "outputs.npy")
            outputs[name] = np.load(self.folder / "outputs.npy").astype(np.float64)
        return outputs

    def _top1(self, outputs: dict[str, Any]) -> dict[str, float]:
        return {
            name: float((outputs[name].reshape(len(labels), -1).argmax(1) == labels).mean())
            for name, (_, labels) in self.sets.items()
        }

    def _time(self, row: Row, reference: Path, made: dict[str, Path]) -> None:
        """Ratios of medians; the interval goes from end to end of both medians' intervals."""
        files = {"float": reference, **made}
        _, report, said = edgekit("profile", *map(str, files.values()), "--budget", str(self.options.budget))
        found = {Path(item["path"]).resolve(): item["measurements"] for item in report.get("profiles", ())}
        medians = {}
        for maker, path in files.items():
            figures = [item for item in found.get(path.resolve(), ()) if item["metric"] == "latency_p50_ns"]
            if not figures or figures[0]["value"] is None:
                row.findings.append(f"no latency of {maker}: {said.strip()[-200:]}")
                continue
            medians[maker] = figures[0]
        for maker, file in row.files.items():
            if maker in medians and "float" in medians:
                file.latency = ratio(medians[maker], medians["float"])
        if {"edgekit", "peer"} <= set(medians):
            row.latency = ratio(medians["edgekit"], medians["peer"])


def ratio(one: dict[str, Any], other: dict[str, Any]) -> list[float]:
    """Of two medians with intervals: the ratio, and the least and most it can be."""
    low, high = (item if item is not None else one["value"] for item in (one["low"], one["high"]))
    other_low, other_high = (item if item is not None else other["value"] for item in (other["low"], other["high"]))
    return [one["value"] / other["value"], low / other_high, high / other_low]


def sqnr_db(expected: Any, found: Any) -> float | None:
    """``10 * log10`` of the power of the reference over that of the difference."""
    noise = ((expected - found) ** 2).sum()
    return float(10 * np.log10((expected**2).sum() / noise)) if noise else None


def peers(action: str, target: str, file: Path, samples: Path, output: Path) -> None:
    """One of the commands of ``_peers.py``."""
    run(PEERS, action, target, file, samples, output)


def run(*words: str | Path) -> None:
    """A script beside this one, in a process of its own."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RunError((done.stderr.strip().splitlines() or ["no word"])[-1])


def edgekit(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command with ``--json``: exit code, report, and what it said on stderr."""
    command = [*EDGEKIT, *arguments, "--json", "--quiet"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def judge(row: Row, labelled: bool) -> None:
    """Note the limits that a row misses."""
    if "edgekit" not in row.files:
        return
    behind = row.sqnr_db("peer") - row.sqnr_db("edgekit")
    if behind > MAX_BEHIND_DB:
        row.findings.append(f"{behind:.1f} dB below the peer")
    for name, count in row.samples.items():
        lost = 100 * (row.float_top1.get(name, 0) - row.files["edgekit"].top1.get(name, 0))
        if count >= MANY_SAMPLES and lost > MAX_LOST_POINTS + 1e-9:
            row.findings.append(f"{name}: {lost:.2f} points lost")
    if not labelled:
        if not row.sqnr_db("edgekit") >= MIN_DEPTHWISE_DB:
            row.findings.append(f"{row.sqnr_db('edgekit'):.1f} dB, limit {MIN_DEPTHWISE_DB:g}")
        worse = row.sqnr_db("edgekit") - row.sqnr_db("optimized")
        if worse > NOISE_DB:
            row.findings.append(f"--optimize is {worse:.1f} dB worse")


def judge_all(rows: list[Row]) -> list[str]:
    """Limits on all labelled models together."""
    labelled = [row for row in rows if row.float_top1 and {"edgekit", "peer"} <= set(row.files)]
    pairs = [(row, row.sqnr_db("edgekit") - row.sqnr_db("peer")) for row in labelled]
    if not pairs:
        return []  # no labelled model was asked for, or each row says what is missing
    better = sum(gain > 0 for _, gain in pairs)
    findings = [] if 2 * better > len(pairs) else [f"better than the peer on {better} of {len(pairs)} rows only"]
    print(f"edgekit's SQNR is better on {better} of {len(pairs)} rows")
    for target in SUFFIXES:
        gains = [gain for row, gain in pairs if row.target == target]
        if not gains:
            continue
        middle = statistics.median(gains)
        print(f"{target}: {middle:+.1f} dB in the median, {min(gains):+.1f} to {max(gains):+.1f} ({len(gains)} models)")
        if target == "tflite" and middle < MIN_TFLITE_GAIN_DB:
            findings.append(f"TFLite: {middle:.1f} dB better in the median, limit {MIN_TFLITE_GAIN_DB:g}")
    return findings


def is_wanted(name: str, only: list[str] | None) -> bool:
    """Whether ``--only`` leaves a case in."""
    return not only or name.startswith(tuple(only))


def line(row: Row) -> str:
    """A row of the table."""
    makers = ("peer", "edgekit", "optimized")
    sqnr = [f"{row.sqnr_db(maker):.1f}" if maker in row.files else "-" for maker in makers]
    top1 = ", ".join(
        "/".join(f"{100 * item:.1f}" for item in (row.float_top1[name], *(f.top1[name] for f in row.files.values())))
        for name in row.float_top1
    )
    bytes_ = [row.float_size_bytes, *(file.size_bytes for file in row.files.values())]
    sizes = "/".join(f"{size / 1000:.0f}" for size in bytes_)
    timed = [row.files[maker].latency if maker in row.files else [] for maker in makers[:2]]
    ratios = ["{:.2f} ({:.2f}-{:.2f})".format(*item) if item else "-" for item in (*timed, row.latency)]
    return LINE.format(
        row.model, row.target, *sqnr, top1, sizes, *ratios, "; ".join([*(row.findings or ["ok"]), *row.remarks])
    )


def main() -> int:
    """Quantize, run, time, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append", help="cases whose name starts like this")
    parser.add_argument("--peers-only", action="store_true", help="no int8 of edgekit's, and no limits")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds of timing per file; 0 for none")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "quantization.json")
    parser.add_argument("--write", action="store_true", help="put the table into docs/quantization.md")
    options = parser.parse_args()
    rows: list[Row] = []
    start = time.monotonic()
    print(LINE.format(
        "model", "target", "peer", "ours", "optim", "top-1 %: float/peer/ours", "kB: float/peer/ours",
        "time peer/float", "time ours/float", "time ours/peer", "verdict",
    ))  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edgekit-quantization-") as name:
        scratch = Path(name)
        shared = options.models.resolve()
        wanted = [case for case in all_cases(shared, scratch, one_form=True) if is_wanted(case.name, options.only)]
        names = [item for item in depthwise.NAMES if is_wanted(item, options.only)]
        others = [case for case in given.cases(shared, scratch) if is_wanted(case.name, options.only)]
        for case in (*wanted, *others, *depthwise_cases(shared, names)):
            folder = scratch / f"of-{case.name}"
            folder.mkdir()
            made = Bench(case, folder, options).rows()
            for row in made:
                if not options.peers_only:
                    judge(row, bool(case.labelled))
                print(line(row), flush=True)
            rows += made
    findings = [] if options.peers_only else judge_all(rows)
    failed = sum(bool(row.findings) for row in rows)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"peers": PEER_NAMES, "rows": [asdict(row) for row in rows], "findings": findings}
    options.json.write_text(json.dumps(content, indent=1))
    if options.write:
        table.write(content["rows"])
    print(*findings, sep="\n", end="\n" if findings else "")
    print(f"{len(rows)} rows, {failed} not as asked, {time.monotonic() - start:.0f} s; details: {options.json}")
    return int(bool(findings) or bool(failed) or not rows)


if __name__ == "__main__":
    sys.exit(main())
