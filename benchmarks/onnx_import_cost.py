"""What the import of an ONNX file costs: a CNN of 25 MB against its budget of 5 s, and how the cost grows with nodes.

    OMP_NUM_THREADS=1 python benchmarks/onnx_import_cost.py [--runs 5] [--nodes 120] [--only budget|growth]

Import is all between the file and the ``torch.export`` program in its normal form: reading, making static, two exports,
BatchNorm folded, constants folded. Lowering, writing the ``.pt2`` file and the import of the packages are not in it
(a first, small model is imported before the clock starts). It is CPU time of one thread. Sizes take turns, so that what
else the machine does falls on all of them. Exit code 1 when the median of the CNN is over its budget, or the cost grows
faster than ``nodes ** 1.15`` by a fit over the medians.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from converters.onnx_import.convert import example_inputs, flat_module, plan_of
from converters.torch_export import program as programs

BUDGET_S = 5.0
LARGEST_EXPONENT = 1.15
FACTORS = (1, 4, 16)
_NODES_OF_A_BLOCK = 8


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=120, help="of the smallest model of the growth (120)")
    parser.add_argument("--only", choices=("budget", "growth"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        timed(network(Path(folder, "first.onnx"), 2, [8, 8]))
        over = False
        if given.only != "growth":
            over |= budget(Path(folder), given.runs)
        if given.only != "budget":
            over |= growth(Path(folder), given.runs, given.nodes)
    return int(over)


def budget(folder: Path, runs: int) -> bool:
    """Import the CNN; whether it is over its budget."""
    path = network(folder / "cnn.onnx", 7, [64, 128, 256, 512], size=224)
    parts = [timed(path) for _ in range(runs)]
    totals = [sum(item.values()) for item in parts]
    median = statistics.median(totals)
    print(
        f"CNN of {path.stat().st_size / 1e6:.1f} MB, {len(_graph(path).node)} nodes: {median:.2f} s, median of {runs} "
        f"({min(totals):.2f} to {max(totals):.2f}), budget {BUDGET_S:g} s"
    )
    _print_parts([parts])
    return median > BUDGET_S


def growth(folder: Path, runs: int, nodes: int) -> bool:
    """Import models of several sizes in turns; whether the cost grows faster than it may."""
    paths = []
    for factor in FACTORS:
        blocks = round(nodes * factor / _NODES_OF_A_BLOCK)
        paths.append(network(folder / f"{factor}.onnx", blocks, [8]))
    counts = [len(_graph(path).node) for path in paths]
    parts: list[list[dict[str, float]]] = [[] for _ in paths]
    for _ in range(runs):
        for path, found in zip(paths, parts, strict=True):
            found.append(timed(path))
    totals = [[sum(item.values()) for item in found] for found in parts]
    for count, taken in zip(counts, totals, strict=True):
        ratios = [one / first for one, first in zip(taken, totals[0], strict=True)]
        print(
            f"{count:6} nodes: {statistics.median(taken):6.2f} s ({min(taken):.2f} to {max(taken):.2f}), "
            f"{count / counts[0]:.0f}x nodes cost {statistics.median(ratios):.1f}x "
            f"({min(ratios):.1f} to {max(ratios):.1f}), {1e3 * statistics.median(taken) / count:.2f} ms a node"
        )
    _print_parts(parts)
    exponent = fitted(counts, [statistics.median(taken) for taken in totals])
    print(f"cost ~ nodes ** {exponent:.2f}, at most {LARGEST_EXPONENT}")
    return exponent > LARGEST_EXPONENT


def timed(path: Path) -> dict[str, float]:
    """Seconds of CPU time of each part of one import: other programs of the machine are not in it."""
    graph = _graph(path)
    sizes = {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in graph.input}
    outputs = [item.name for item in graph.output]
    start = time.process_time()
    plan = plan_of(path, sizes, outputs)
    planned = time.process_time()
    flat = flat_module(plan)
    flattened = time.process_time()
    programs.export(flat.module, example_inputs(plan))
    return {
        "read and make static": planned - start,
        "export and normal form": flattened - planned,
        "export of the normal form": time.process_time() - flattened,
    }


def _graph(path: Path) -> Any:
    return onnx.load(path, load_external_data=False).graph


def _print_parts(parts: list[list[dict[str, float]]]) -> None:
    for name in parts[0][0]:
        medians = [statistics.median(item[name] for item in found) for found in parts]
        print(f"  {name:28}" + "".join(f" {value:7.2f} s" for value in medians))


def fitted(counts: list[int], seconds: list[float]) -> float:
    """Slope of the line through the logarithms, by least squares."""
    x, y = [math.log(item) for item in counts], [math.log(item) for item in seconds]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    spread = sum((item - mean_x) ** 2 for item in x)
    return sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True)) / spread


def network(path: Path, blocks: int, widths: list[int], size: int = 16) -> Path:
    """Write a residual network with BatchNorm and squeezes: per width a stage of that many blocks of 8 nodes."""
    random = np.random.default_rng(1)
    nodes: list[Any] = []
    stored: list[Any] = []

    def keep(name: str, *shape: int) -> str:
        values = random.standard_normal(shape).astype(np.float32) * 0.05
        stored.append(numpy_helper.from_array(np.abs(values) + 1 if name.endswith("_v") else values, name))
        return name

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        result = f"t{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [result], **attributes))
        return result

    def normed(x: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        name = f"l{len(nodes)}"
        edge = [kernel // 2] * 4
        x = add("Conv", x, keep(f"{name}_w", outputs, inputs, kernel, kernel), pads=edge, strides=[stride] * 2)
        return add("BatchNormalization", x, *(keep(f"{name}_{part}", outputs) for part in "sbmv"))

    x = add("Relu", normed("x", 3, widths[0], 7, 2))
    before = widths[0]
    for width in widths:
        if width != before:
            x, before = add("Relu", normed(x, before, width, 1, 2)), width
        for block in range(blocks):
            inside = max(width // 4, 4)
            y = add("Relu", normed(x, width, inside, 1))
            y = add("Add", normed(y, inside, width, 3), x)
            x = add("Relu" if block % 2 else "HardSwish", y)
    x = add("Flatten", add("GlobalAveragePool", x))
    nodes.append(helper.make_node("Gemm", [x, keep("fc", 1000, before), keep("fc_b", 1000)], ["y"], transB=1))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


if __name__ == "__main__":
    sys.exit(main())
