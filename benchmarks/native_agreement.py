"""Latencies of ``edgekit profile`` against what the runtimes' own tools say, in turns.

    python benchmarks/native_agreement.py [--models FOLDER] [--rounds 30] [--json FILE]

A trained ResNet-20 on pictures of 192 by 192, in float32: ONNX Runtime's profiler takes about 6 us for each of its 70
operators, and on pictures of 96 by 96 that is 6 % of a run. In each round the agent times runs, and so do: LiteRT's own
benchmark module, a bare loop around LiteRT's interpreter, ONNX Runtime's profile (``model_run``), and ExecuTorch's
ETDump (``Method::execute``), each with one thread. Limit: the agent's median is within 3 % of theirs, or the interval
of the ratio holds 1. What the agent adds to each call is shown in microseconds, and so is its time on a model that
computes next to nothing. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _cases import ROOT
from _measure import EDGEKIT
from operator_times import resnet

from edgekit import registry
from edgekit.feeds import write
from edgekit.random_data import random_feeds
from edgekit.samples import target_of
from profiles import pairs

LIMIT = 0.03
RUNS, WARM_UP = 20, 5
ENLARGED = 6
NOTHING = ROOT / "tests" / "profiles" / "models" / "sum.onnx"


@dataclass(frozen=True)
class Row:
    """One tool.

    Attributes:
        agent_us, native_us: Medians over rounds of the median run.
        ratio, low, high: Of the agent's time to the tool's, from the same rounds.
        added_us: Median over rounds of the difference.
        fine: Whether it is as asked.
    """

    tool: str
    agent_us: float
    native_us: float
    ratio: float
    low: float
    high: float
    added_us: float
    fine: bool


def litert_benchmark(model: str, runs: int) -> float:
    """Median nanoseconds by LiteRT's own benchmark module."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        module = "ai_edge_litert.tools.benchmark_litert_model"
        arguments = [f"--model={model}", f"--num_runs={runs}", f"--warmup_runs={WARM_UP}", f"--result_json={result}"]
        done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-500:])
        found = json.loads(result.read_text())
    return 1e6 * float(_named(found, "median"))


def _named(found: Any, word: str) -> float:
    """The number in a nested result whose key has a word."""
    if isinstance(found, dict):
        for key, value in found.items():
            if isinstance(value, dict):
                try:
                    return _named(value, word)
                except KeyError:
                    continue
            if word in key and isinstance(value, int | float):
                return float(value)
    raise KeyError(word)


def interpreter(model: str) -> Callable[[], float]:
    """A bare loop: nothing is fed or fetched."""
    from time import perf_counter_ns

    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model, num_threads=1)
    runner.allocate_tensors()
    for item in runner.get_input_details():
        runner.set_tensor(item["index"], np.random.default_rng(0).normal(size=item["shape"]).astype(item["dtype"]))
    invoke = runner.invoke

    def median() -> float:
        taken = []
        for _ in range(WARM_UP + RUNS):
            before = perf_counter_ns()
            invoke()
            taken.append(perf_counter_ns() - before)
        return statistics.median(taken[WARM_UP:])

    return median


def onnx_profile(model: str) -> Callable[[], float]:
    """``model_run`` of a session with the profiler on."""
    import onnxruntime as runtime

    def median() -> float:
        with tempfile.TemporaryDirectory() as folder:
            options = runtime.SessionOptions()
            options.intra_op_num_threads = 1
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            generator = np.random.default_rng(0)
            feed = {item.name: generator.normal(size=item.shape).astype(np.float32) for item in session.get_inputs()}
            for _ in range(WARM_UP + RUNS):
                session.run(None, feed)
            events = json.loads(Path(session.end_profiling()).read_text())
        return 1e3 * statistics.median([one["dur"] for one in events if one["name"] == "model_run"][WARM_UP:])

    return median


def etdump(model: str) -> Callable[[], float]:
    """``Method::execute`` of an ETDump."""
    import torch
    from executorch.devtools import Inspector
    from executorch.runtime import Runtime

    from profiles.runtimes.executorch import _bindings

    _bindings()._unsafe_reset_threadpool(1)  # as many as the agent has; by default all cores

    def median() -> float:
        program = Runtime.get().load_program(model, enable_etdump=True)
        method = program.load_method("forward")
        shape = method.metadata.input_tensor_meta(0).sizes()
        data = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
        for _ in range(WARM_UP + RUNS):
            method.execute([data])
        with tempfile.TemporaryDirectory() as folder:
            record = Path(folder) / "run.etdp"
            program.write_etdump_result_to_file(str(record), str(Path(folder) / "debug"))
            if not record.is_file():
                raise SystemExit("this ExecuTorch writes no ETDump")
            found = Inspector(etdump_path=str(record))
            (event,) = [one for block in found.event_blocks for one in block.events if one.name == "Method::execute"]
        return 1e6 * statistics.median(event.perf_data.raw[WARM_UP:])  # its unit is the millisecond

    return median


TOOLS: dict[str, Callable[[str], Callable[[], float]]] = {
    "LiteRT's interpreter": interpreter,
    "LiteRT's benchmark module": lambda model: lambda: litert_benchmark(model, RUNS),
    "ONNX Runtime's profile": onnx_profile,
    "ExecuTorch's ETDump": etdump,
}
OF_TARGET = {
    "tflite": ("LiteRT's interpreter", "LiteRT's benchmark module"),
    "onnx": ("ONNX Runtime's profile",),
    "executorch": ("ExecuTorch's ETDump",),
}


def serve(tool: str, model: str) -> None:
    """A process that answers each line with a median."""
    median = TOOLS[tool](model)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(median()), flush=True)


class Native:
    """A tool in a process of its own."""

    def __init__(self, tool: str, model: Path) -> None:
        command = [sys.executable, __file__, "--serve", tool, str(model)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("no pipes")
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.answer()

    def answer(self) -> Any:
        """The next answer; what else the tool prints is passed over."""
        for line in self.answers:
            try:
                return json.loads(line)
            except ValueError:
                continue
        raise SystemExit("a tool died")

    def median_ns(self) -> float:
        """Have it time runs."""
        self.requests.write("\n")
        self.requests.flush()
        return float(self.answer())


def measure(model: Path, rounds: int, scratch: Path) -> list[Row]:
    """All tools of a file's runtime against the agent."""
    target = target_of(model).name
    device = registry.host()
    random_ = random.Random(0)  # noqa: S311 - no secret
    with device.open_session(model, target, 1, None, scratch, 300.0) as session:
        feeds = scratch / f"feeds-{target}"
        write(feeds, random_feeds(session.signature, 4, 0, {}))
        session.first(feeds)
        native = {name: Native(name, model) for name in OF_TARGET[target]}
        taken: dict[str, list[float]] = {name: [] for name in ("agent", *native)}
        for _ in range(rounds):
            for name in random_.sample(list(taken), len(taken)):
                timed = (
                    statistics.median(session.time(WARM_UP, RUNS)["ns"])
                    if name == "agent"
                    else native[name].median_ns()
                )
                taken[name].append(timed)
        for one in native.values():
            one.process.kill()
    return [_row(name, taken["agent"], taken[name]) for name in native]


def _row(tool: str, agent: list[float], native: list[float]) -> Row:
    own, other = (
        [{"round": number, "ns": [value], "switches": [0], "run_delay_ns": None} for number, value in enumerate(values)]
        for values in (agent, native)
    )
    found = pairs.ratio(own, other)
    if found is None or found.low is None or found.high is None:
        raise SystemExit(f"{len(agent)} rounds are too few for an interval")
    added = statistics.median(mine - theirs for mine, theirs in zip(agent, native, strict=True))
    fine = abs(found.value - 1) <= LIMIT or found.low <= 1 <= found.high
    medians = [statistics.median(values) / 1e3 for values in (agent, native)]
    return Row(tool, *medians, found.value, found.low, found.high, added / 1e3, fine)


def overhead(scratch: Path) -> float:
    """Median microseconds of a call of the agent on a file that adds two small tensors."""
    with registry.host().open_session(NOTHING, "onnx", 1, None, scratch, 60.0) as session:
        feeds = scratch / "feeds-nothing"
        write(feeds, random_feeds(session.signature, 4, 0, {}))
        session.first(feeds)
        return statistics.median(session.time(500, 500)["ns"]) / 1e3


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = resnet(options.models, folder, ENLARGED)
        command = [*EDGEKIT, "convert", *source, "--to", "all", "--output", str(folder / "made"), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{'tool':28} {'agent us':>10} {'tool us':>10} {'ratio':>24} {'added us':>9}")
        for model in sorted((folder / "made").iterdir()):
            if model.suffix in (".tflite", ".onnx", ".pte"):
                for row in measure(model, options.rounds, folder):
                    rows.append(row)
                    ratio = f"{row.ratio:.3f} ({row.low:.3f} to {row.high:.3f})"
                    print(
                        f"{row.tool:28} {row.agent_us:10.1f} {row.native_us:10.1f} {ratio:>24} {row.added_us:9.1f} "
                        + ("ok" if row.fine else f"more than {LIMIT:.0%} apart"),
                        flush=True,
                    )
        print(f"a call of the agent on a file that computes next to nothing: {overhead(folder):.1f} us")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return int(not all(row.fine for row in rows))


if __name__ == "__main__":
    sys.exit(main())
