"""What evaluating 10,000 samples costs beside the bare loop of the runtime, and whether memory grows with their number.

    python benchmarks/streaming.py [--models FOLDER] [--files FILE...] [--samples 10000] [--repeats 5]

ResNet-8 on pictures of CIFAR-10 in LiteRT, ONNX Runtime and ExecuTorch; the last two files come from
``edgekit convert``, as does a LiteRT file with a fixed batch, and ``--files`` names others in their place. In turns: a
process that has all samples in memory calls the runtime in a loop and keeps what it returns; the agent runs the same
samples from disk and writes outputs, which are then compared with those of the loop. Limits: the second takes at most
1.10 times as long (median of the turns; the processor's time beside it shows what other programs did), and the
anonymous memory of the agent and of the comparing process at its peak is at most 4 MB higher with all samples than with
a tenth of them. Files that are mapped into memory are no part of it: the kernel takes their pages back when it needs
them. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _cases import ROOT
from _measure import EDGEKIT
from _shared_data import cifar_images

from edgekit import feeds, registry
from edgekit.feeds import Feeds
from edgekit.samples import target_of
from profiles.devices._session import AgentSession
from profiles.metrics import drift

LIMIT = 1.10
LIMIT_BYTES = 4_000_000
TIMEOUT_S = 600.0
INTERVAL_S = 0.002
LINE = "{:34} {:>8} {:>8} {:>9} {:>22} {:>22} {}"


class Cost(NamedTuple):
    """Seconds on the clock and of the processor."""

    wall_s: float
    cpu_s: float


class Peak:
    """The largest anonymous memory of a process while this is entered.

    Attributes:
        size: In bytes.
    """

    def __init__(self, pid: int) -> None:
        self.size = 0
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            for line in self._status.read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.size = max(self.size, int(line.split()[1]) * 1024)


class Child:
    """This script in a process of its own, which does one thing each time it is told to.

    Args:
        arguments: The name of the thing, and what it takes.
    """

    def __init__(self, *arguments: str) -> None:
        self.command = [sys.executable, __file__, "--child", *arguments]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def go(self) -> Cost:
        """Have it done once."""
        pipe: Any = self.process.stdin
        pipe.write("go\n")
        pipe.flush()
        return Cost(*self._read())

    def _read(self) -> Any:
        pipe: Any = self.process.stdout
        line = pipe.readline()
        if not line:
            raise SystemExit(f"this process has ended: {' '.join(self.command)}")
        return json.loads(line)


def cost(function: Callable[[], Any], pid: int | None = None) -> Cost:
    """What a call takes, with the CPU time of another process where that does the work."""
    start, cpu = time.perf_counter(), _cpu(pid)
    function()
    return Cost(time.perf_counter() - start, _cpu(pid) - cpu)


def _cpu(pid: int | None) -> float:
    if pid is None:
        return time.process_time()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(function: Callable[[], None]) -> None:
    """The other end of :class:`Child`."""
    print(0, flush=True)
    for _ in sys.stdin:
        print(json.dumps(cost(function)), flush=True)


def bare_loop(path: Path, given: Path, into: Path) -> Callable[[], None]:
    """The runtime's own calls on samples in memory, with one thread; the outputs of the last time are written."""
    samples = np.array(next(iter(feeds.read(given).arrays.values())))
    run, name = {".tflite": _litert, ".onnx": _onnxruntime, ".pte": _executorch}[path.suffix](path)
    found: list[Any] = [None] * len(samples)

    def loop() -> None:
        for index in range(len(samples)):
            found[index] = run(samples[index])

    def first() -> None:
        loop()
        if not into.exists():
            feeds.write(into, Feeds({name: np.stack(found)}))

    first()
    return loop


def _litert(path: Path) -> tuple[Callable[[Any], Any], str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(sample: Any) -> Any:
        interpreter.set_tensor(before, sample)
        interpreter.invoke()
        return interpreter.get_tensor(after)

    return run, str(interpreter.get_output_details()[0]["name"])


def _onnxruntime(path: Path) -> tuple[Callable[[Any], Any], str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    before, after = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda sample: session.run([after], {before: sample})[0], str(after)


def _executorch(path: Path) -> tuple[Callable[[Any], Any], str]:
    from profiles.runtimes import executorch

    executorch.start()
    import torch

    bindings = executorch._bindings()
    bindings._unsafe_reset_threadpool(1)
    module = bindings._load_for_executorch(str(path))
    return lambda sample: module.run_method("forward", [torch.from_numpy(sample)])[0].numpy().copy(), "output_0"


def comparison(reference: Path, outputs: Path) -> Callable[[], None]:
    """What ``edgekit drift`` does with two folders."""
    pair = feeds.read(reference), feeds.read(outputs)

    def compare() -> None:
        drift.findings(*pair, drift.compare(*pair))

    return compare


def converted(source: Path, into: Path) -> list[Path]:
    """The network in all three formats, with a batch of one."""
    command = [*EDGEKIT, "convert", str(source), "--to=all", "--quant=float32", "--quiet", f"--output={into}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted(file for file in into.iterdir() if file.suffix in (".tflite", ".onnx", ".pte"))


def write_samples(images: Any, nhwc: bool, count: int, folder: Path) -> Path:
    """So many pictures, the same ones again where there are fewer."""
    shape = (1, 32, 32, 3) if nhwc else (1, 3, 32, 32)
    arrays = feeds.create(folder, {"image": (shape, np.dtype(np.float32))}, count)
    given = images.transpose(0, 2, 3, 1) if nhwc else images
    for index in range(count):
        arrays["image"][index, 0] = given[index % len(given)]
    return folder


def session_of(path: Path, scratch: Path) -> AgentSession:
    """An agent on this machine with one thread, the file loaded."""
    session = registry.host().open_session(path, target_of(path).name, 1, None, scratch, TIMEOUT_S)
    if not isinstance(session, AgentSession):
        raise TypeError(f"{session} is no agent on this machine")
    session.load()
    return session


def times(path: Path, given: Path, scratch: Path, repeats: int) -> tuple[list[Cost], list[Cost], list[Cost]]:
    """Costs of the bare loop, of the agent, and of the comparison, turn by turn; each goes first in half of them."""
    bare: list[Cost] = []
    agent: list[Cost] = []
    compared: list[Cost] = []
    reference = scratch / f"{path.name}.reference"
    with session_of(path, scratch) as session, Child("bare", str(path), str(given), str(reference)) as loop:
        for turn in range(repeats):
            outputs = scratch / f"{path.name}.{turn}"
            if turn % 2 == 0:
                bare.append(loop.go())
            agent.append(cost(partial(session.outputs, given, outputs), session.process.pid))
            compared.append(cost(comparison(reference, outputs)))
            if turn % 2 == 1:
                bare.append(loop.go())
        _check(reference, outputs)
        for note in session.outputs_notes:
            print(f"{path.name}: {note}")
    return bare, agent, compared


def _check(reference: Path, outputs: Path) -> None:
    """The agent's outputs are those of the loop, but for rounding where samples were run in batches."""
    found = drift.compare(feeds.read(reference), feeds.read(outputs))[0]
    if found.finding or (found.sqnr_db is not None and found.sqnr_db < 100):
        raise SystemExit(f"{outputs.name}: the agent's outputs are not those of the bare loop: {found}")


def peaks(path: Path, given: Mapping[int, Path], scratch: Path) -> dict[str, dict[int, int]]:
    """Peak anonymous memory in bytes of the agent and of the comparison, by number of samples, in fresh processes."""
    found: dict[str, dict[int, int]] = {"agent": {}, "comparison": {}}
    for count, folder in given.items():
        outputs = scratch / f"{path.name}.memory.{count}"
        with session_of(path, scratch) as session, Peak(session.process.pid) as peak:
            session.outputs(folder, outputs)
        found["agent"][count] = peak.size
        with Child("compare", str(outputs), str(outputs)) as child, Peak(child.process.pid) as peak:
            child.go()
        found["comparison"][count] = peak.size
    return found


def examine(path: Path, options: argparse.Namespace, images: Any, scratch: Path) -> bool:
    """Measure one file and print it; whether it keeps the limits."""
    with session_of(path, scratch) as session:
        nhwc = session.signature.inputs[0].shape[-1] == 3
    counts = (options.samples // 10, options.samples)
    given = {count: scratch / f"{'nhwc' if nhwc else 'nchw'}.{count}" for count in counts}
    for count, folder in given.items():
        if not folder.is_dir():
            write_samples(images, nhwc, count, folder)
    costs = times(path, given[options.samples], scratch, options.repeats)
    wall = [(two.wall_s + three.wall_s) / one.wall_s for one, two, three in zip(*costs, strict=True)]
    cpu = [(two.cpu_s + three.cpu_s) / one.cpu_s for one, two, three in zip(*costs, strict=True)]
    fine = statistics.median(wall) <= LIMIT
    print(
        LINE.format(
            path.name,
            *(f"{statistics.median(one.wall_s for one in item):.3f}" for item in costs),
            *(f"{statistics.median(item):.3f} ({min(item):.3f}..{max(item):.3f})" for item in (wall, cpu)),
            "" if fine else "MISSED",
        ),
        flush=True,
    )
    few, many = counts
    for what, sizes in peaks(path, given, scratch).items():
        more = sizes[many] - sizes[few]
        kept = more <= LIMIT_BYTES
        fine = fine and kept
        print(
            f"    memory of the {what}: {sizes[few] / 1e6:.1f} MB with {few}, {sizes[many] / 1e6:.1f} MB with {many}, "
            f"{more / 1e6:+.1f} MB{'' if kept else ' MISSED'}",
            flush=True,
        )
    return fine


def main() -> int:
    """Measure all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--files", type=Path, nargs="+", default=None)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, *arguments = options.child
        paths = [Path(argument) for argument in arguments]
        serve(bare_loop(*paths) if kind == "bare" else comparison(*paths))
        return 0
    models = options.models.resolve()
    images, _ = cifar_images(models, "raw")
    shipped = models / "mlperf_tiny_resnet8"
    with tempfile.TemporaryDirectory(prefix="edgekit-streaming-") as name:
        scratch = Path(name)
        files = options.files
        if files is None:
            files = [shipped / "pretrainedResnet.tflite"]
            files += converted(shipped / "pretrainedResnet.h5", scratch / "converted")
        print(LINE.format("file", "bare s", "agent s", "compare s", "ratio, clock", "ratio, processor", ""))
        fine = [examine(file, options, images, scratch) for file in files]
    print(f"limits: ratio {LIMIT:.2f}, memory {LIMIT_BYTES / 1e6:.0f} MB")
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
