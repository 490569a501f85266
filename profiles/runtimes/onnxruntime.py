"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiles.runtimes import Array, Model, Profiled, Tensor
    from profiles.runtimes._events import Event

NAME = "onnxruntime"
TITLE = "ONNX Runtime"
TARGET = "onnx"
PACKAGES = ("numpy", "onnxruntime")
EXTRA = "onnx"
DISTRIBUTION = "onnxruntime"

BORDERS_KEY = "edgekit_io"
"""Metadata of files that edgekit wrote with integer inputs and outputs: name to ``scale`` and ``zero_point``."""

_KERNEL_TIME, _RUN = "_kernel_time", "model_run"  # names in its profile
_FUSED = re.compile(r"/\w+Fusion/?$")  # what it puts behind the name of the node that others were fused into

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


def start() -> None:
    """Import the package, silenced: its wheels since 1.29 report to their maker from a thread of their own.

    That thread is no part of what is measured, and nobody who measures a model has agreed to it. The package
    looks at the variable once, while it is imported; a user who has set it decides.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    importlib.import_module("onnxruntime")


def load(path: str, threads: int) -> Model:
    """Create a session, with the graph optimizations that are its default."""
    return _Session(_session(path, _options(threads)))


def operators(model: Any, path: str, threads: int, feeds: Sequence[Mapping[str, Array]], runs: int) -> Profiled:
    """Time each operator with the session's own profiler."""
    from profiles.runtimes import RUNS_BEFORE_PROFILE, in_turn
    from profiles.runtimes._events import ProfilerUnavailableError, rows

    with tempfile.TemporaryDirectory() as folder:
        options = _options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = _session(path, options)
        run_ns = []
        for feed in in_turn(feeds, runs):
            before = perf_counter_ns()
            session.run(model.names, feed)
            run_ns.append(perf_counter_ns() - before)
        recorded = _runs(json.loads(Path(session.end_profiling()).read_text()))
    if len(recorded) != len(run_ns):  # it stops at a million events
        raise ProfilerUnavailableError(f"ONNX Runtime has recorded {len(recorded)} of {len(run_ns)} runs")
    return {"operators": rows(recorded[RUNS_BEFORE_PROFILE:]), "run_ns": run_ns[RUNS_BEFORE_PROFILE:]}


def _runs(events: Sequence[Mapping[str, Any]]) -> list[list[Event]]:
    """The operators of each run, from a list of events in the order in which they ended."""
    runs: list[list[Event]] = []
    current: list[Mapping[str, Any]] = []
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL_TIME):
            current.append(event)
        elif event["cat"] == "Session" and event["name"] == _RUN:
            runs.append(_own_times(current))
            current = []
    return runs


def _own_times(events: Sequence[Mapping[str, Any]]) -> list[Event]:
    """The operators of one run, from events in the order in which they ended.

    What runs a subgraph (If, Loop, Scan) ends after the operators in it and has begun before them; it gets the time
    that they did not take.
    """
    from profiles.runtimes._events import Event

    own = [event["dur"] for event in events]
    outer: list[int] = []  # those that no later event has been found to contain
    for index, event in enumerate(events):
        while outer and events[outer[-1]]["ts"] >= event["ts"]:
            own[index] -= events[outer.pop()]["dur"]
        outer.append(index)
    found = []
    for index in sorted(range(len(events)), key=lambda index: int(events[index]["ts"])):
        event, ns = events[index], 1000 * max(0, own[index])
        arguments, name = event["args"], event["name"][: -len(_KERNEL_TIME)]
        operator, provider = arguments["op_name"], arguments["provider"]
        key = (arguments.get("node_index"), name, operator)  # each subgraph counts its nodes from 0
        found.append(Event(key, operator, name, _FUSED.sub("", name), provider, ns))
    return found


def _session(path: str, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin slow down whatever else is measured on a small CPU, by 2 to 4 times.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class _Session:
    def __init__(self, session: Any) -> None:
        self.session = session
        scales = json.loads(session.get_modelmeta().custom_metadata_map.get(BORDERS_KEY, "{}"))
        self.inputs = [_tensor(item, scales) for item in session.get_inputs()]
        self.outputs = [_tensor(item, scales) for item in session.get_outputs()]
        self.names = [item["name"] for item in self.outputs]
        self.notes: list[str] = []

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Any]:
        """One inference."""
        values = self.session.run(self.names, feed)
        return {name: values[index] for index, name in enumerate(self.names)}

    def undelegated(self) -> list[dict[str, str]] | None:
        """There is no delegate: all operators are its own."""
        return []

    def nodes(self) -> int | None:
        """It counts operators only after it has rewritten the graph, and only in a profile."""
        return None


def _tensor(item: Any, scales: Mapping[str, Any]) -> Tensor:
    kind = item.type[len("tensor(") : -1] if item.type.startswith("tensor(") else item.type
    shape = [size if isinstance(size, int) else None for size in item.shape or ()]
    scaled = scales.get(item.name, {})
    return {
        "name": item.name,
        "shape": shape,
        "dtype": _DTYPES.get(kind, item.type),
        "scale": scaled.get("scale"),
        "zero_point": scaled.get("zero_point"),
    }
