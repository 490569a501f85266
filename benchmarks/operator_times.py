"""Per-operator times against the profiled run, and the delegated share against the runtimes' own reports.

    python benchmarks/operator_times.py [--models FOLDER] [--keep FOLDER] [--only NAME]...

A trained ResNet-20 on pictures of 96 by 96 and a seeded transformer encoder (2 layers of 384, 128 tokens), float32 and
int8, in three formats. Limits: the operators of a profiled run add up to it within 10 %; operators outside the delegate
are as many as the runtime itself says. Smaller networks are no part of it: the profilers spend 1 to 5 us between two
operators and round each down to a microsecond, which is a large share where operators take no longer than that. For
the same reason the sum of the int8 transformer, whose ONNX file is over a hundred short operators, is shown and not
judged. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _cases import NETWORKS, ROOT
from _measure import EDGEKIT
from _shared_data import cifar_images, enlarged

from edgekit import data, feeds, registry
from edgekit.plugins import MetricInput
from edgekit.samples import target_of
from profiles import operators
from profiles.metrics import operators as metric

SCHEMES = ("float32", "int8")
SUFFIXES = ("tflite", "onnx", "pte")
LIMIT = 0.1
UNJUDGED = "transformer.int8"
WIDTH, HEADS, TOKENS, LAYERS = 384, 12, 128, 2
LINE = "{:28} {:>9} {:>6} {:>9} {:>9} {:>9} {:>11} {}"


def transformer(into: Path) -> list[str]:
    """Write the encoder and samples for it; what ``edgekit convert`` needs to know."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
    network = nn.Sequential(nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False), nn.Linear(WIDTH, 10))
    path, samples = into / "transformer.pt2", into / "transformer.npz"
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(1, TOKENS, WIDTH),)), path)
    np.savez(samples, x=np.random.default_rng(0).normal(size=(32, TOKENS, WIDTH)).astype(np.float32))
    return [str(path), "--data", str(samples)]


def resnet(shared: Path, into: Path, factor: int = 3) -> list[str]:
    """As above, for trained weights and the pictures that they are for, each side so many times as long."""
    images, _ = enlarged(cifar_images(shared, "imagenet"), factor)
    np.savez(into / "resnet.npz", image=images[:40])
    weights = shared / "cifar10_resnet_akamaster" / "resnet20-12fca82f.th"
    return [str(weights), "--model", f"{NETWORKS}:resnet20", "--data", str(into / "resnet.npz")]


def convert(arguments: list[str], into: Path) -> None:
    """Make all files of a model, those that are there from before left alone."""
    if not into.is_dir():
        command = [
            *EDGEKIT,
            "convert",
            *arguments,
            "--to",
            "all",
            "--quant",
            "float32",
            "--int8",
            "--output",
            str(into),
        ]
        subprocess.run(command, check=True)


def outside_by_runtime(path: Path, raw: dict[str, Any]) -> int:
    """How many operators the runtime itself says are outside the delegate or provider, in another way than edgekit's.

    LiteRT: operators that its profiler saw run with its own kernels. ONNX Runtime: nodes that it assigned to another
    provider. ExecuTorch: kernel calls in the program, as its own reader finds them.
    """
    if path.suffix == ".tflite":
        return sum(not row["delegate"] for row in raw["operators"])
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        groups = session.get_provider_graph_assignment_info()
        return sum(len(group.get_nodes()) for group in groups if group.ep_name != "CPUExecutionProvider")
    from executorch.exir._serialize._program import deserialize_pte_binary

    plan = deserialize_pte_binary(path.read_bytes()).program.execution_plan[0]
    kinds = [type(one.instr_args).__name__ for chain in plan.chains for one in chain.instructions]
    return kinds.count("KernelCall")


def measure(path: Path, scratch: Path) -> tuple[str, list[str]]:
    """A line of the table, and what is wrong with the file."""
    target, device = target_of(path), registry.host()

    def open_session() -> Any:
        return device.open_session(path, target.name, 1, None, scratch, 300.0)

    facts = registry.function(target.inspect)(path=str(path))
    with open_session() as session:
        given = feeds.write(scratch / f"{path.name}.feeds", data.random_feeds(session.signature, 8, 0, {}))
        session.first(given)
        latency_ns = float(np.median(session.time(3, 10)["ns"]))
    raw = operators.collect(open_session, given, operators.runs_for(latency_ns))
    found = {item.metric: item for item in metric.measure(MetricInput(path, facts, {"operators": raw}))}
    if raw["unavailable"]:
        return LINE.format(path.name, "", "", "", "", "", "", raw["unavailable"]), ["no times"]
    problems = []
    ratio = found["operators_time_ratio"].value
    judged = not path.name.startswith(UNJUDGED)
    if judged and (ratio is None or abs(ratio - 1) > LIMIT):
        problems.append(f"operators add up to {ratio} of the run")
    edgekits = [row for row in facts["work"] if not row["delegated"]]
    outside = len(edgekits if raw["undelegated"] is None else raw["undelegated"])
    own = outside_by_runtime(path, raw)
    if outside != own:
        problems.append(f"{outside} outside the delegate, the runtime says {own}")
    shares = (found[f"delegated_{kind}_ratio"].value for kind in ("nodes", "macs", "time"))
    cells = ["-" if share is None else f"{share:.1%}" for share in shares]
    run_us = float(np.median(raw["run_ns"])) / 1000
    line = LINE.format(
        path.name, f"{run_us:.0f}", f"{ratio:.3f}", *cells, f"{outside} ({own})", "; ".join(problems) or "ok"
    )
    return line, problems


def main() -> int:
    """Convert, measure, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument(
        "--keep", type=Path, help="an existing folder for the converted files, used again if it has them"
    )
    parser.add_argument("--only", action="append", help="files whose name starts like this")
    options = parser.parse_args()
    failed, count = 0, 0
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as name:
        scratch = Path(name)
        folder = options.keep or scratch
        if not (folder / "cnn").is_dir():
            convert(resnet(options.models.resolve(), scratch), folder / "cnn")
        if not (folder / "transformer").is_dir():
            convert(transformer(scratch), folder / "transformer")
        print(LINE.format("file", "run us", "sum", "nodes in", "MACs in", "time in", "outside (own)", "verdict"))
        for path in sorted(path for kind in ("cnn", "transformer") for path in (folder / kind).iterdir()):
            if path.suffix[1:] not in SUFFIXES or (options.only and not path.name.startswith(tuple(options.only))):
                continue
            line, problems = measure(path, scratch)
            print(line, flush=True)
            count += 1
            failed += bool(problems)
    print(f"{count} files, {failed} not as asked")
    return int(failed > 0 or count == 0)


if __name__ == "__main__":
    sys.exit(main())
