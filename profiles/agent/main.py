"""Reads requests, runs, answers. See the package for the protocol."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from profiles.agent import arena, binding, conditions, evidence, outputs, peak

if TYPE_CHECKING:
    from edgekit.feeds import Array, Feeds
    from profiles.runtimes import Model

_RING_SAMPLES = 8
_RING_BYTES = 32_000_000
_RUNS_BEFORE_PEAK = 2


def main() -> None:
    """Serve one job."""
    # Native libraries print to stdout whenever they like; the answers keep it, everyone else gets stderr.
    answers = os.dup(1)
    os.dup2(2, 1)
    faulthandler.enable()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: its product is the sentinel's, nothing else's
    job = json.loads(Path(sys.argv[1]).read_text())
    if job["parent"] is not None:
        die_with(job["parent"])
    agent = Agent(job, functools.partial(_say, answers))
    going = _answer(answers, agent.start, {})
    while going:
        line = sys.stdin.readline()
        if not line:
            break
        request = json.loads(line)
        if request["op"] == "quit":
            break
        _answer(answers, agent.handle, request)
    os._exit(0)  # not through the runtimes' own clean-up, which may hang or crash


def die_with(parent: int) -> None:
    """Have the kernel kill this process with the one that started it, even in the middle of a native call."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(70)


def _answer(answers: int, function: Any, arguments: Mapping[str, Any]) -> bool:
    """Call, and write what it returned or raised; whether it went well."""
    try:
        answer = function(**arguments)
    except Exception as error:
        traceback.print_exc()
        answer = {"error": {"type": type(error).__name__, "message": str(error)}}
    _say(answers, answer)
    return "error" not in answer


def _say(answers: int, message: Mapping[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    while line:
        line = line[os.write(answers, line) :]


class Agent:
    """One file in one runtime.

    Args:
        job: As in the package.
        say: Sends a message ahead of the answer.
    """

    def __init__(self, job: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> None:
        self.job = job
        self.say = say
        self.runtime = importlib.import_module("profiles.runtimes." + job["runtime"])
        self.model: Model | None = None
        self.feeds_folder = ""
        self.ring: list[dict[str, Array]] = []

    def start(self) -> dict[str, Any]:
        """Import the runtime, and make what is in memory then the base of later readings."""
        if self.job.get("affinity"):
            conditions.bind(self.job["affinity"])  # first: threads that a runtime starts inherit it
        before = perf_counter_ns()
        self.runtime.start()
        importlib.import_module("edgekit.feeds")
        import_ns = perf_counter_ns() - before
        gc.collect()
        gc.freeze()  # a runtime's import leaves so many objects that collecting takes longer than a turn
        versions = {"python": platform.python_version()}
        versions[self.runtime.DISTRIBUTION] = self._version()
        versions["numpy"] = importlib.metadata.version("numpy")
        self.sentinel = conditions.Sentinel()  # now, so that its matrices are in the base
        evidence.memory()  # what reading it takes, too
        base = evidence.memory()
        reset = evidence.reset_peak()
        return {"import_ns": import_ns, "versions": versions, "memory": {**base, "peak_reset": reset}}

    def _version(self) -> str:
        """Of the runtime; of what stands in for it, with its name."""
        try:
            return importlib.metadata.version(self.runtime.DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError:
            other = getattr(self.runtime, "ALTERNATIVE", self.runtime.DISTRIBUTION)
            return f"{other} {importlib.metadata.version(other)}"

    def handle(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Do what a request asks for."""
        answer: dict[str, Any] = getattr(self, "do_" + op)(**arguments)
        return answer

    def do_load(self) -> dict[str, Any]:
        """Load the file."""
        before = perf_counter_ns()
        model: Model = self.runtime.load(self.job["model"], self.job["threads"])
        load_ns = perf_counter_ns() - before
        self.model = model
        return {
            "load_ns": load_ns,
            "inputs": list(model.inputs),
            "outputs": list(model.outputs),
            "notes": list(model.notes),
            "memory": evidence.memory(),
        }

    def do_first(self, feeds: str) -> dict[str, Any]:
        """The first run, and two more before memory is read: some runtimes plan theirs after the first."""
        model = self._loaded()
        self.feeds_folder, self.ring = feeds, []
        feed = self._feed(next(_read(feeds).samples()))
        before = perf_counter_ns()
        model.run(feed)
        first_ns = perf_counter_ns() - before
        for _ in range(_RUNS_BEFORE_PEAK):
            model.run(feed)
        return {"first_ns": first_ns, "memory": evidence.memory()}

    def do_time(self, discard: int, count: int) -> dict[str, Any]:
        """Time runs one by one; a run feeds the inputs, invokes, and fetches the outputs."""
        run = self._loaded().run
        ring = self.ring = self.ring or self._make_ring()
        ns, switches, delays = [0] * count, [0] * count, [0] * count
        gc.collect()
        gc.disable()
        try:
            with evidence.Interruptions() as interruptions:
                for index in range(discard):
                    run(ring[index % len(ring)])
                known = interruptions.run_delay_ns() is not None
                for index in range(count):
                    feed = ring[(discard + index) % len(ring)]
                    switches[index] = interruptions.switches()
                    delays[index] = interruptions.run_delay_ns() or 0
                    before = perf_counter_ns()
                    found = run(feed)
                    ns[index] = perf_counter_ns() - before
                    delays[index] = (interruptions.run_delay_ns() or 0) - delays[index]
                    switches[index] = interruptions.switches() - switches[index]
                    del found
        finally:
            gc.enable()
        return {"ns": ns, "switches": switches, "run_delay_ns": delays if known else None}

    def do_idle(self, seconds: float, count: int) -> dict[str, Any]:
        """Time single runs, each after a time in which this process slept."""
        run = self._loaded().run
        ring = self.ring = self.ring or self._make_ring()
        ns = []
        gc.collect()
        gc.disable()
        try:
            for index in range(count):
                time.sleep(seconds)
                before = perf_counter_ns()
                run(ring[index % len(ring)])
                ns.append(perf_counter_ns() - before)
        finally:
            gc.enable()
        return {"ns": ns}

    def do_sentinel(self) -> dict[str, Any]:
        """Time the fixed computation."""
        return {"sentinel_ns": self.sentinel.run()}

    def do_peak(self, threads: int) -> dict[str, Any]:
        """Time NumPy's matrix product with so many threads, in a process of its own."""
        return peak.measure(threads)

    def do_conditions(self) -> dict[str, Any]:
        """The state of the machine."""
        return conditions.read()

    def do_arena(self) -> dict[str, Any]:
        """What the runtime plans for activations; the file is loaded anew for it, so this is the last request."""
        self._loaded()
        feed = self._feed(next(_read(self.feeds_folder).samples()))
        self.model = None
        gc.collect()
        return dict(arena.of(self.job, feed))

    def do_outputs(self, feeds: str, into: str) -> dict[str, Any]:
        """Run all samples and write the outputs, as a feeds folder with the file's own names."""
        samples = _read(feeds)
        notes = outputs.write(self._loaded(), samples, Path(into), lambda done: self.say({"progress": done}))
        return {"samples": samples.count, "notes": notes}

    def do_undelegated(self) -> dict[str, Any]:
        """Operators outside the delegate."""
        return {"undelegated": self._loaded().undelegated(), "nodes": self._loaded().nodes()}

    def do_operators(self, feeds: str, runs: int) -> dict[str, Any]:
        """Time each operator; in a process whose latency nobody reports, for profilers slow it down and may crash."""
        from profiles.runtimes._events import ProfilerUnavailableError

        self.feeds_folder, self.ring = feeds, []
        model, ring = self._loaded(), self._make_ring()
        profile = self.runtime.operators
        try:
            return {**profile(model, self.job["model"], self.job["threads"], ring, runs), "unavailable": ""}
        except ProfilerUnavailableError as error:
            return {"operators": [], "run_ns": [], "unavailable": str(error)}

    def _loaded(self) -> Model:
        if self.model is None:
            raise RuntimeError("the file is not loaded")
        return self.model

    def _feed(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays of a sample under the file's own names."""
        inputs = self._loaded().inputs
        pairs = binding.match([item["name"] for item in inputs], list(sample))
        return {item["name"]: binding.fit(item, pairs[item["name"]], sample[pairs[item["name"]]]) for item in inputs}

    def _make_ring(self) -> list[dict[str, Array]]:
        """A few samples in memory to go round: one alone would flatter what depends on its input."""
        if not self.feeds_folder:
            raise RuntimeError("there was no first run")
        ring: list[dict[str, Array]] = []
        for sample in _read(self.feeds_folder).samples():
            ring.append(self._feed(sample))
            size = sum(array.nbytes for array in sample.values())
            if len(ring) == _RING_SAMPLES or size * (len(ring) + 1) > _RING_BYTES:
                break
        return ring


def _read(folder: str) -> Feeds:
    from edgekit.feeds import read

    return read(Path(folder))
