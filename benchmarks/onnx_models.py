"""Convert real ONNX files, and ONNX made here by every exporter, to TFLite and ExecuTorch; check them, print a table.

    OMP_NUM_THREADS=1 python benchmarks/onnx_models.py [--only NAME] [--json FILE]

Every float32 file must agree with the ONNX file to 100 dB, every int8 file must be made and verified. Where the file
is quantized, float32 is made with ``--keep-rounding`` and compared with what ONNX says that the file computes: ONNX
Runtime without optimizations. Rounding is not continuous: a sum that lies between two steps goes the other way with the
least change, and is off by a step then. So ONNX Runtime is also compared with itself: with optimizations, and with
inputs and float constants changed by two units in the last place, as other orders of summation change sums (float files
of the same networks differ by 125 dB, and by 127 dB where one unit is changed). No other runtime can be asked to agree
better than that (shown as ``itself``): 100 dB or that is the limit.

Of what PyTorch exported, the TFLite file may have at most 2 % more operators than what litert-torch makes of the same
network without ONNX. No convolution and no matrix product of a ``.pte`` may be left outside the delegate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import _onnx_networks as networks
import numpy as np
from _shared_data import cifar_images, iris_rows, mnist_images
from sources import edgekit

from edgekit import feeds, registry

ROOT = Path(__file__).parent.parent
MIN_FLOAT_DB = 100.0
SLACK_DB = 3.0
"""Two runs that round a few sums differently do not differ by the same number of decibels."""
CHANGES = 20
"""Runs of ONNX Runtime against itself. Another runtime is one more such run: of few, it would often be the worst."""
MAX_MORE_OPERATORS = 0.02
_HEAVY = ("convolution", "mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "conv1d", "conv2d")
_LINE = "{:30} {:>9} {:>9} {:>9} {:>9} {:>14} {:>10}  {}"


@dataclass(frozen=True)
class Case:
    """One ONNX file.

    Attributes:
        name: As in the table.
        path: The file.
        data: Samples by input name.
        program: The same network as PyTorch saves it, where there is one to count operators of.
        quantized: Whether it arrives with 8 bits already.
    """

    name: str
    path: Path
    data: dict[str, Any]
    program: Path | None = None
    quantized: bool = False


@dataclass
class Row:
    """What became of it; decibels by ``target scheme``, operators of the float32 TFLite files.

    Attributes:
        itself_db: Of a quantized file: ONNX Runtime against itself, the worst of several runs.
        operators: From ONNX, and from PyTorch without it.
        outside: Operators of the float32 ``.pte`` outside the delegate.
        findings: What is not as asked.
    """

    name: str
    sqnr_db: dict[str, float | None] = field(default_factory=dict)
    itself_db: float | None = None
    operators: tuple[int, int] | None = None
    outside: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def real_files(shared: Path) -> Iterator[Case]:
    """The files of the shared folder."""
    digits = {"Input3": mnist_images(shared, "raw")[0][::20]}
    for name in ("mnist", "mnist_winml", "opt-mnist"):
        yield Case(name, shared / f"mnist_onnx/{name}.onnx", digits)
    yield Case("winml-iris", shared / "winml_iris/Network.onnx", {"x": iris_rows(shared)[0]})
    pictures = {"x": cifar_images(shared, "half")[0][::10]}
    yield Case("winml-cifar", shared / "winml_cifar10/ImageClassifier.onnx", pictures)
    faces = {"x": networks.samples((3, 240, 320))[:16]}
    for name in ("version-RFB-320", "version-slim-320_simplified"):
        yield Case(name, shared / f"ultraface/{name}.onnx", faces)


def made_files(folder: Path, wanted: tuple[str, ...]) -> Iterator[Case]:
    """What is made here, by exporter; only those whose names start as wanted."""

    def asked(name: str) -> bool:
        return not wanted or name.startswith(wanted)

    for name in networks.NETWORKS:
        for dynamo in (True, False):
            case = f"{name} ({'dynamo' if dynamo else 'traced'})"
            if asked(case):
                path, data = networks.to_onnx(name, folder, dynamo)
                yield Case(case, path, data, networks.to_program(name, folder))
    for kind in ("cnn", "gru"):
        if asked(f"keras {kind}"):
            yield Case(f"keras {kind} (tf2onnx)", *networks.keras_to_onnx(kind, folder))
    for name, kind in ((name, kind) for name in ("resnet", "transformer") for kind in ("QDQ", "QOperator", "dynamic")):
        if asked(f"ORT {kind} {name}"):
            path, data = networks.to_onnx(name, folder, dynamo=True)
            yield Case(f"ORT {kind} {name}", networks.quantized(path, kind, data), data, quantized=True)


def judge(case: Case, folder: Path, counted: dict[Path, int]) -> Row:
    """Convert a file in one command and look at what came out.

    Args:
        case: Which one.
        folder: An empty one, for the results.
        counted: Operators of what PyTorch's own programs became, by program; filled here.
    """
    row = Row(case.name)
    options = ["--to=tflite", "--to=executorch", "--int8", *(() if case.quantized else ("--quant=float32",))]
    np.savez(folder / "data.npz", **case.data)
    words = [str(case.path), *options, "--data", str(folder / "data.npz"), "-o", str(folder / "out")]
    code, report, said = edgekit("convert", *words)
    made = {f"{item['target']} {item['scheme']}": item for item in report.get("artifacts", ())}
    if case.quantized:
        made |= _rounded(case, folder, row)
    for cell in (f"{target} {scheme}" for target in ("tflite", "executorch") for scheme in ("float32", "int8")):
        if cell not in made:
            failed = next((item for item in report.get("failures", ()) if item.get("what") in (cell, "")), None)
            row.findings.append(f"{cell}: {failed['message'] if failed else f'exit {code}: {said.strip()[-300:]}'}")
            continue
        found = made[cell]["verification"]
        if cell in row.sqnr_db:
            continue
        known = [item["sqnr_db"] for item in found["outputs"] if item["sqnr_db"] is not None]
        row.sqnr_db[cell] = min(known) if known else None
        if found["status"] != "passed":
            row.findings.append(f"{cell}: {found['status']}")
        if cell.endswith("float32") and known and min(known) < MIN_FLOAT_DB and not case.quantized:
            row.findings.append(f"{cell}: {min(known):.1f} dB, limit {MIN_FLOAT_DB:g}")
    if "executorch float32" in made:
        row.outside = [item["operator"] for item in made["executorch float32"]["undelegated"]]
    for cell in (item for item in made if item.startswith("executorch")):
        heavy = [item["operator"] for item in made[cell]["undelegated"] if is_heavy(item["operator"])]
        row.findings += [f"{cell}: {', '.join(heavy)} outside the delegate"] if heavy else []
    if case.program is not None and "tflite float32" in made:
        if case.program not in counted:
            counted[case.program] = _operators_without_onnx(case, folder)
        row.operators = (operators(Path(made["tflite float32"]["path"])), counted[case.program])
        if row.operators[0] > row.operators[1] * (1 + MAX_MORE_OPERATORS):
            row.findings.append(f"{row.operators[0]} operators, from PyTorch {row.operators[1]}")
    return row


def _rounded(case: Case, folder: Path, row: Row) -> dict[str, Any]:
    """Make and judge the float32 files of a quantized one."""
    words = ["--to=tflite", "--to=executorch", "--quant=float32", "--keep-rounding", "-o", str(folder / "rounded")]
    code, report, said = edgekit("convert", str(case.path), *words, "--data", str(folder / "data.npz"))
    made = {f"{item['target']} {item['scheme']}": item for item in report.get("artifacts", ())}
    if code:
        row.findings.append(f"--keep-rounding: exit {code}: {said.strip()[-300:]}")
    (name, samples), wanted = next(iter(case.data.items())), _outputs_by_definition(case)
    others = [_outputs_by_definition(case, optimized=True)]
    others += [_outputs_by_definition(case, changed=seed) for seed in range(CHANGES)]
    row.itself_db = min((found for other in others if (found := _decibels(wanted, other)) is not None), default=None)
    limit = min(MIN_FLOAT_DB, row.itself_db or MIN_FLOAT_DB)
    for cell, item in made.items():
        target = cell.split()[0]
        with registry.host().open_session(Path(item["path"]), target, 1, None, folder, 300.0) as session:
            single = samples.reshape(len(samples), *(size or 1 for size in session.signature.inputs[0].shape))
            given = feeds.write(folder / f"feeds-{target}", feeds.Feeds({name: single}))
            (found,) = feeds.read(session.outputs(given, folder / f"outputs-{target}")).arrays.values()
        reached = _decibels(wanted, found.reshape(wanted.shape))
        row.sqnr_db[cell] = reached
        if reached is not None and reached < limit - SLACK_DB:
            row.findings.append(f"{cell}: {reached:.1f} dB by definition, limit {limit:.1f}")
    return made


def _outputs_by_definition(case: Case, optimized: bool = False, changed: int | None = None) -> Any:
    """What ONNX Runtime computes, operator by operator or as it does by default.

    Args:
        case: The file.
        optimized: As it does by default.
        changed: Seed of changes by two units in the last place, of inputs and stored floats; none without.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    ((name, samples),) = case.data.items()
    model = onnx.load(case.path)
    if changed is not None:
        generator = np.random.default_rng(changed)
        samples = _changed(samples, generator)
        for stored in model.graph.initializer:
            if stored.data_type == onnx.TensorProto.FLOAT:
                value = _changed(onnx.numpy_helper.to_array(stored), generator)
                stored.CopyFrom(onnx.numpy_helper.from_array(value, stored.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {name: samples[place : place + 1]})[0] for place in range(len(samples))])


def _changed(values: Any, generator: np.random.Generator) -> Any:
    """Floats, each of them two units in the last place more or less, or zero."""
    towards = np.where(generator.random(values.shape) < 0.5, -np.inf, np.inf).astype(values.dtype)
    return np.where(values == 0, values, np.nextafter(np.nextafter(values, towards), towards))


def _decibels(wanted: Any, found: Any) -> float | None:
    """SQNR; ``None`` where they are the same."""
    signal, noise = (float((value.astype(np.float64) ** 2).sum()) for value in (wanted, wanted - found))
    return None if noise == 0 else 10 * float(np.log10(signal / noise))


def is_heavy(operator: str) -> bool:
    """Whether ``aten.mm.default`` and the like is a convolution or a matrix product."""
    return any(part in _HEAVY for part in operator.replace("::", ".").split("."))


def operators(path: Path) -> int:
    """How many operators a TFLite file has."""
    _, facts, said = edgekit("inspect", str(path))
    if "operators" not in facts:
        raise RuntimeError(f"edgekit inspect {path}: {said}")
    return sum(facts["operators"].values())


def _operators_without_onnx(case: Case, folder: Path) -> int:
    out = folder / "from-pytorch"
    code, report, said = edgekit("convert", str(case.program), "--to=tflite", "--quant=float32", "-o", str(out))
    if code:
        raise RuntimeError(f"edgekit convert {case.program}: {said}")
    return operators(Path(report["artifacts"][0]["path"]))


def shown(row: Row) -> str:
    """A line of the table."""
    cells = [f"{target} {scheme}" for target in ("tflite", "executorch") for scheme in ("float32", "int8")]
    decibels = [
        "-" if cell not in row.sqnr_db else "exact" if row.sqnr_db[cell] is None else f"{row.sqnr_db[cell]:.1f}"
        for cell in cells
    ]
    counts = "" if row.operators is None else f"{row.operators[0]} ({row.operators[1]})"
    verdict = "; ".join(row.findings) or "ok"
    if row.itself_db is not None:
        verdict += f" (itself {row.itself_db:.1f} dB)"
    return _LINE.format(row.name, *decibels, counts, len(row.outside), verdict)


def main() -> int:
    """Convert, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append", default=[], help="cases whose name starts like this")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "onnx_models.json")
    options = parser.parse_args()
    start, rows, counted, wanted = time.monotonic(), list[Row](), dict[Path, int](), tuple(options.only)
    print(_LINE.format("SQNR dB of", "TFLite", "int8", ".pte", "int8", "operators", "outside", "verdict"))
    with tempfile.TemporaryDirectory(prefix="edgekit-onnx-") as name:
        real = real_files(options.models.resolve()) if options.models.is_dir() else iter(())
        cases = (case for case in real if not wanted or case.name.startswith(wanted))
        for number, case in enumerate(itertools.chain(cases, made_files(Path(name), wanted))):
            folder = Path(name) / f"case-{number}"
            folder.mkdir()
            rows.append(judge(case, folder, counted))
            print(shown(rows[-1]), flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    wrong = [row for row in rows if row.findings]
    print(f"{len(rows)} files, {len(wrong)} not as asked, {time.monotonic() - start:.0f} s")
    return int(bool(wrong) or not rows)


if __name__ == "__main__":
    sys.exit(main())
