"""Convert a model of every kind of source to every target, check it, and write the table of docs/sources.md.

    python benchmarks/sources.py [--only NAME] [--write]

A cell is yes only where the file was made through the command line, run in its runtime, and compared with the source.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _measure import EDGEKIT
from _source_cases import SourceCase, all_cases, clip_score, clip_windows

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "sources.md"
TARGETS = {"tflite": "TFLite", "onnx": "ONNX", "executorch": "ExecuTorch"}
SCHEMES = ("float32", "int8")
MAX_LOST_POINTS = 1.0
FEW_SAMPLES = 500
CLIP_SCORE = 9.4913
"""Published for the autoencoder's one clip (result/*.csv of the MLPerf Tiny repository)."""
MAX_SCORE_ERROR = 0.01
LINE = "{:22} {:11} {:8} {:>9} {:>8} {:>18} {}"


@dataclass
class Cell:
    """One file, or why there is none."""

    model: str
    origin: str
    target: str
    scheme: str
    size_bytes: int = 0
    sqnr_db: float | None = None
    accuracy: float | None = None
    float_accuracy: float | None = None
    refused: str = ""
    findings: list[str] = field(default_factory=list)
    path: str = ""

    @property
    def shown(self) -> str:
        """The cell of the table."""
        if not self.size_bytes:
            return "itself" if "already" in self.refused else "-"
        sqnr = "exact" if self.sqnr_db is None else f"{self.sqnr_db:.0f} dB"
        return sqnr + ("" if self.accuracy is None else f", {100 * self.accuracy:.1f} %")


def convert(case: SourceCase, folder: Path) -> list[Cell]:
    """One command for all files of a case."""
    folder.mkdir()
    data = str(folder / "data.npz") if case.data else "random"
    if case.data:
        np.savez(data, **case.data)
    words = ["convert", case.model, *case.options, "--to=all", "--quant=float32", "--int8"]
    code, report, said = edgekit(*words, "--data", data, "--output", str(folder / "out"))
    made = {(item["target"], item["scheme"]): item for item in report.get("artifacts", ())}
    failures = {item.get("what", ""): item for item in report.get("failures", ())}
    cells = []
    for target in TARGETS:
        for scheme in SCHEMES:
            cell = Cell(case.name, case.origin, target, scheme)
            cells.append(cell)
            artifact = made.get((target, scheme))
            if artifact is None:
                failure = failures.get(f"{target} {scheme}") or failures.get("")
                if failure is None and code == 0:
                    cell.refused = "it is that already"
                elif failure is not None and failure["exit_code"] == 4:
                    cell.refused = failure["message"]
                else:
                    cell.findings.append(failure["message"] if failure else f"exit {code}: {said.strip()[-300:]}")
                continue
            known = [item["sqnr_db"] for item in artifact["verification"]["outputs"] if item["sqnr_db"] is not None]
            cell.sqnr_db = min(known) if known else None
            cell.size_bytes, cell.path = artifact["size_bytes"], artifact["path"]
            if scheme == "float32" and cell.sqnr_db is not None and cell.sqnr_db < case.min_float_db:
                cell.findings.append(f"{cell.sqnr_db:.1f} dB, limit {case.min_float_db:g}")
    return cells


def measure_accuracy(case: SourceCase, cells: list[Cell], folder: Path) -> None:
    """Top-1 of every file on the labelled set; int8 against float32 of the same target."""
    if case.labelled is None:
        return
    inputs, labels = case.labelled
    np.savez(folder / "labelled.npz", **inputs, labels=labels)
    made = [cell for cell in cells if cell.path]
    shipped = [] if case.shipped_int8 is None else [str(case.shipped_int8)]
    files = [*(cell.path for cell in made), *shipped]
    _, report, said = edgekit("profile", *files, "--data", str(folder / "labelled.npz"), "--budget", "0.2")
    found = {Path(item["path"]).resolve(): accuracy_of(item) for item in report.get("profiles", ())}
    for cell in made:
        cell.accuracy = found.get(Path(cell.path).resolve())
        if cell.accuracy is None:
            cell.findings.append(f"no accuracy: {said.strip()[-200:]}")
    floats = {cell.target: cell.accuracy for cell in made if cell.scheme == "float32"}
    best_shipped = None if case.shipped_int8 is None else found.get(case.shipped_int8.resolve())
    for cell in made:
        cell.float_accuracy = floats.get(cell.target)
        if cell.scheme != "int8" or cell.accuracy is None or cell.float_accuracy is None:
            continue
        lost = 100 * (cell.float_accuracy - cell.accuracy)
        if len(labels) >= FEW_SAMPLES and lost > MAX_LOST_POINTS + 1e-9:
            cell.findings.append(f"{lost:.2f} points lost")
        # Like with like: a shipped TFLite file against ours.
        like = case.shipped_int8 is not None and case.shipped_int8.suffix == f".{cell.target}"
        if like and (best_shipped is None or cell.accuracy < best_shipped - 1e-9):
            cell.findings.append(f"less accurate than the shipped int8 file ({best_shipped})")
    if best_shipped is not None:
        print(f"{case.name}: the int8 file shipped beside it has {100 * best_shipped:.2f} %")


def accuracy_of(profile: dict[str, Any]) -> float | None:
    """The accuracy in a profile."""
    return next((item["value"] for item in profile["measurements"] if item["metric"] == "accuracy"), None)


def check_clip_score(cells: list[Cell], shared: Path) -> None:
    """The autoencoder's score of the published clip, by the float TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    windows = clip_windows(shared)
    for cell in cells:
        if (cell.target, cell.scheme) != ("tflite", "float32") or not cell.path:
            continue
        run = Interpreter(model_path=cell.path).get_signature_runner()
        (name,) = run.get_input_details()
        outputs = np.concatenate([next(iter(run(**{name: window[None]}).values())) for window in windows])
        score = clip_score(windows, outputs)
        print(f"autoencoder: score of the clip {score:.4f}, published {CLIP_SCORE}")
        if abs(score / CLIP_SCORE - 1) > MAX_SCORE_ERROR:
            cell.findings.append(f"score {score:.4f}, published {CLIP_SCORE}")


def edgekit(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command with ``--json``: exit code, report, and what it said on stderr."""
    command = [*EDGEKIT, *arguments, "--json", "--quiet"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def table(cells: list[Cell]) -> str:
    """Markdown: a row per model."""
    heads = [f"{title} {scheme}" for title in TARGETS.values() for scheme in SCHEMES]
    lines = [f"| model | from | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for name in dict.fromkeys(cell.model for cell in cells):
        own = {(cell.target, cell.scheme): cell for cell in cells if cell.model == name}
        origin = next(iter(own.values())).origin
        shown = [own[target, scheme].shown for target in TARGETS for scheme in SCHEMES]
        lines.append(f"| {name} | {origin} | {' | '.join(shown)} |")
    return "\n".join(lines)


def write_page(cells: list[Cell]) -> None:
    """Put the table between its marks."""
    text = PAGE.read_text()
    start, end = "<!-- sources -->\n", "\n<!-- /sources -->"
    before, rest = text.split(start)
    PAGE.write_text(before + start + table(cells) + end + rest.split(end)[1])


def main() -> int:
    """Convert, measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append", help="cases whose name starts like this")
    parser.add_argument("--write", action="store_true", help="put the table into docs/sources.md")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "sources.json")
    options = parser.parse_args()
    shared, start, cells = options.models.resolve(), time.monotonic(), list[Cell]()
    print(LINE.format("model", "target", "scheme", "bytes", "SQNR dB", "top-1 % (float)", "verdict"))
    with tempfile.TemporaryDirectory(prefix="edgekit-sources-") as name:
        for number, case in enumerate(all_cases(shared, Path(name))):
            if options.only and not case.name.startswith(tuple(options.only)):
                continue
            folder = Path(name) / f"case-{number}"
            made = convert(case, folder)
            measure_accuracy(case, made, folder)
            if case.name == "autoencoder":
                check_clip_score(made, shared)
            for cell in made:
                top1 = "" if cell.accuracy is None else f"{100 * cell.accuracy:.2f}"
                top1 += "" if cell.float_accuracy is None else f" ({100 * cell.float_accuracy:.2f})"
                sqnr = "-" if cell.sqnr_db is None else f"{cell.sqnr_db:.1f}"
                verdict = "; ".join(cell.findings) or (f"refused: {cell.refused}" if cell.refused else "ok")
                print(
                    LINE.format(case.name, cell.target, cell.scheme, cell.size_bytes, sqnr, top1, verdict), flush=True
                )
            cells += made
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(cell) for cell in cells], indent=1))
    if options.write:
        write_page(cells)
    wrong = [cell for cell in cells if cell.findings]
    refused = sum(bool(cell.refused) for cell in cells)
    print(f"{len(cells)} cells, {refused} without a way, {len(wrong)} not as asked, {time.monotonic() - start:.0f} s")
    return int(bool(wrong) or not cells)


if __name__ == "__main__":
    sys.exit(main())
