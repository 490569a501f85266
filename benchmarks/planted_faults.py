"""Faults planted in a file on purpose, and whether ``edgekit drift --layers`` names the layer.

    python benchmarks/planted_faults.py [--models FOLDER] [--only NAME]... [--json FILE]

Three networks become TFLite, ONNX and ExecuTorch, in float32 and int8: the digits CNN of the example, ResNet-20, and a
depthwise network (``_depthwise.py``) whose one channel has weights 32 times larger, as BatchNorm makes them. So do
copies with one fault each (``_planted.py``): weights times 8, a depthwise layer rounded with one scale for all its
channels, the last bias dropped. Every copy is compared with the healthy float32 file of its format: the first layer
that is named must be the planted one. Healthy int8 files must have none named.

A layer is told by its module path; where a file holds none, by its place among the layers with weights.
Limits: all of it. Exit code 1 when one is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _depthwise as depthwise
import _planted as planted
import numpy as np
from _cases import DIGITS, ROOT, digits_network
from _depthwise import NETWORKS
from _measure import EDGEKIT
from _shared_data import cifar_images

SUFFIXES = (".tflite", ".onnx", ".pte")
SCHEMES = ("float32", "int8")
_WEIGHTED = ("conv", "fullyconnected", "gemm", "linear", "matmul")
_SAMPLES = 300
HEALTHY = "healthy"

LINE = "{:10} {:28} {:8} {:8} {:>8} {:>8}  {:40} {}"

State = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        name: As in the table.
        code: After ``--model``.
        samples: To calibrate and compare on.
        state: Its healthy weights.
        faults: What is done to the weights, and in which layer; by name.
    """

    name: str
    code: str
    samples: Any
    state: State
    faults: Mapping[str, tuple[str, Callable[[State], State]]]


@dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
        model, fault, format, scheme: What it is.
        expected, named: Layers; empty for none.
        sqnr_db, lost_db: Of the layer that is named.
        finding: Why it is not as asked; empty when it is.
    """

    model: str
    fault: str
    format: str
    scheme: str
    expected: str
    named: str
    sqnr_db: float | None
    lost_db: float | None
    finding: str


def cases(shared: Path) -> Iterator[Case]:
    """All networks whose weights are there."""
    with np.load(DIGITS / "calibration.npz") as file:
        pictures = file["image"]
    yield _case(
        "digits", f"{DIGITS / 'model.py'}:Digits", pictures, digits_network().state_dict(), "conv2", "classifier"
    )
    if not shared.is_dir():
        return
    images = cifar_images(shared, "imagenet")[0][:_SAMPLES]
    weights = _state(shared / "cifar10_resnet_akamaster/resnet20-12fca82f.th")
    yield _case("resnet20", f"{NETWORKS}:resnet20", images, weights, "layer2.1.conv1", "linear")
    train, _ = depthwise.images(shared)
    weights = planted.uneven(_state(depthwise.weights("mobilenet_v1", train)), "blocks.1.4", "blocks.2.0")
    yield Case(
        "mobilenet",
        f"{NETWORKS}:mobilenet_v1",
        train[0][:: len(train[0]) // _SAMPLES][:_SAMPLES],
        weights,
        {
            "weights x8": ("blocks.3.3", lambda state: planted.scaled(state, "blocks.3.3")),
            "depthwise per tensor": ("blocks.2.0", lambda state: planted.per_tensor(state, "blocks.2.0", "blocks.2.1")),
        },
    )


def _case(name: str, code: str, samples: Any, state: State, layer: str, last: str) -> Case:
    return Case(
        name,
        code,
        samples,
        state,
        {
            "weights x8": (layer, lambda state: planted.scaled(state, layer)),
            "last bias dropped": (last, lambda state: planted.without_bias(state, last)),
        },
    )


def _state(path: Path) -> State:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    found = found.get("state_dict", found)
    return {key.removeprefix("module."): value for key, value in found.items()}


def rows(case: Case, folder: Path) -> Iterator[Row]:
    """Convert one network and its copies, and look for the faults."""
    np.savez(folder / "data.npz", image=case.samples)
    healthy = _convert(case, case.state, folder, HEALTHY)
    yield from _looked(case, folder, healthy, healthy, HEALTHY, "")
    for fault, (layer, plant) in case.faults.items():
        made = _convert(case, plant(case.state), folder, fault.replace(" ", "-"))
        yield from _looked(case, folder, healthy, made, fault, layer)


def _convert(case: Case, state: State, folder: Path, name: str) -> dict[tuple[str, str], Path]:
    """Files of all formats and schemes."""
    import torch

    weights = folder / f"{name}.pt"
    torch.save({key: value.clone() for key, value in state.items()}, weights)
    into = folder / name
    into.mkdir()
    words = ("--to", "all", "--quant", "float32", "--int8", "--data", str(folder / "data.npz"), "--output", str(into))
    report, said = edgekit("convert", str(weights), "--model", case.code, *words)
    found = {(Path(item["path"]).suffix, item["scheme"]): Path(item["path"]) for item in report.get("artifacts", ())}
    if len(found) < len(SUFFIXES) * len(SCHEMES):
        raise SystemExit(f"{case.name}, {name}: not all files were made: {said.strip()[-600:]}")
    return found


def _looked(
    case: Case,
    folder: Path,
    healthy: Mapping[tuple[str, str], Path],
    made: Mapping[tuple[str, str], Path],
    fault: str,
    layer: str,
) -> Iterator[Row]:
    for (suffix, scheme), path in sorted(made.items()):
        reference = healthy[suffix, "float32"]
        if path == reference:
            continue
        words = ("--reference", str(reference), "--data", str(folder / "data.npz"), "--layers")
        report, said = edgekit("drift", str(path), *words)
        layers = next((item["layers"] for item in report.get("drifts", ())), None)
        about = (case.name, fault, suffix[1:], scheme, layer)
        yield (
            Row(*about, "", None, None, said.strip()[-300:] or "no layers")
            if layers is None
            else _row(case, layers, about)
        )


def _row(case: Case, layers: Mapping[str, Any], about: tuple[str, str, str, str, str]) -> Row:
    """What was named, and whether that is the planted layer."""
    expected = about[-1]
    first = next((item for item in layers["layers"] if item["index"] == layers["first"]), None)
    if first is None:
        return Row(*about, "", None, None, f"not found: {layers['words']}" if expected else "")
    named = first["module"] or first["tensor"]
    right = bool(expected) and _is_layer(case, layers["layers"], first, expected)
    return Row(*about, named, first["sqnr_db"], first["lost_db"], "" if right else f"wrong: {layers['words']}")


def _is_layer(case: Case, layers: list[dict[str, Any]], first: dict[str, Any], expected: str) -> bool:
    """Whether a layer is the expected one: by its path, or by its place among those with weights."""
    if first["module"]:
        return expected in first["module"].split("+")
    weighted = [key.removesuffix(".weight") for key, value in case.state.items() if key.endswith(".weight")]
    weighted = [path for path in weighted if case.state[f"{path}.weight"].ndim > 1]  # those of BatchNorm have one axis
    found = [item["index"] for item in layers if any(word in item["operator"].lower() for word in _WEIGHTED)]
    found = [index for index in found if "convert" not in _operator(layers, index)]
    return len(found) == len(weighted) and found.index(first["index"]) == weighted.index(expected)


def _operator(layers: list[dict[str, Any]], index: int) -> str:
    return str(next(item["operator"] for item in layers if item["index"] == index)).lower()


def edgekit(*arguments: str) -> tuple[dict[str, Any], str]:
    """Run a command with ``--json``: its report, and what it said on stderr."""
    command = [*EDGEKIT, *arguments, "--json", "--quiet"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return json.loads(done.stdout or "{}"), done.stderr


def line(row: Row) -> str:
    """A row of the table."""
    figures = ["-" if value is None else f"{value:.1f}" for value in (row.sqnr_db, row.lost_db)]
    return LINE.format(
        row.model, row.fault, row.format, row.scheme, *figures, row.named or "none", row.finding or "ok"
    ).rstrip()


def main() -> int:
    """Plant, convert, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", action="append", help="networks whose name starts like this")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "planted_faults.json")
    options = parser.parse_args()
    start, found = time.monotonic(), list[Row]()
    print(LINE.format("model", "fault", "format", "scheme", "SQNR dB", "lost dB", "named first", "verdict"))
    with tempfile.TemporaryDirectory(prefix="edgekit-planted-") as name:
        for case in cases(options.models.resolve()):
            if options.only and not case.name.startswith(tuple(options.only)):
                continue
            folder = Path(name) / case.name
            folder.mkdir()
            for row in rows(case, folder):
                print(line(row), flush=True)
                found.append(row)
    failed = sum(bool(row.finding) for row in found)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in found], indent=1))
    print(f"{len(found)} files, {failed} not as asked, {time.monotonic() - start:.0f} s; details: {options.json}")
    return int(bool(failed) or not found)


if __name__ == "__main__":
    sys.exit(main())
