"""LiteRT, the runtime of .tflite files, with its default XNNPACK delegate."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiles.runtimes import Array, Model, Profiled, Tensor
    from profiles.runtimes._events import Event
    from profiles.runtimes._litert_profiler import Recorded

NAME = "litert"
TITLE = "LiteRT"
TARGET = "tflite"
PACKAGES = ("numpy", "ai_edge_litert")
EXTRA = "tflite"
DISTRIBUTION = "ai-edge-litert"
ALTERNATIVE = "tflite-runtime"
"""Its predecessor, the only one for 32-bit Arm and for old systems."""

_DELEGATE = "DELEGATE"
_DEFAULT_SIGNATURE = "serving_default"
_FLEX = "Select TensorFlow op"
_XNNPACK = "XNNPACK"
_CONTAINERS = ("WHILE", "IF", "CASE", "CALL", "COMPOSITE")  # run other operators, which are recorded too


def start() -> None:
    """Import the interpreter."""
    _module()


def load(path: str, threads: int) -> Model:
    """Load a file and plan its memory."""
    interpreter = _module().Interpreter(model_path=path, num_threads=threads)
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        if _FLEX not in str(error):
            raise
        raise RuntimeError(
            "it holds operators of TensorFlow (Flex), and this package has no kernels for them"
        ) from error
    signatures = interpreter.get_signature_list()
    return _Signature(interpreter, signatures) if signatures else _Plain(interpreter)


def _module() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError as error:
        if error.name != "ai_edge_litert" or importlib.util.find_spec("tflite_runtime") is None:
            raise
        return importlib.import_module("tflite_runtime.interpreter")


def operators(model: Any, path: str, threads: int, feeds: Sequence[Mapping[str, Array]], runs: int) -> Profiled:
    """Time each operator with the profiler of the C interface, which has no other way in."""
    from profiles.runtimes import RUNS_BEFORE_PROFILE, in_turn
    from profiles.runtimes._events import rows
    from profiles.runtimes._litert_profiler import Profiled as Recorder

    shapes = {name: array.shape for name, array in feeds[0].items()}
    recorder = Recorder(path, threads, model.key, shapes)
    names = _names(model.interpreter)
    recorded, run_ns = [], []
    for index, feed in enumerate(in_turn(feeds, runs)):
        taken, events = recorder.run(feed, recorded=index >= RUNS_BEFORE_PROFILE)
        if index >= RUNS_BEFORE_PROFILE:
            run_ns.append(taken)
            recorded.append(_events(events, names))
    return {"operators": rows(recorded), "run_ns": run_ns}


def _events(recorded: Sequence[Recorded], names: Mapping[int, str]) -> list[Event]:
    """The operators of one run.

    Delegated ones are numbered anew in each part of the graph that a delegate call runs. What tells the parts apart is
    the operator before them, and that the numbers begin again. An operator that runs another subgraph (WHILE, IF) is
    recorded before the operators in it, with their time, and is over when the next one of its own subgraph comes.
    """
    from profiles.runtimes._events import Event
    from profiles.runtimes._litert_profiler import BUILTIN

    found: list[Event] = []
    running: list[int] = []  # places in recorded of operators that run a subgraph, the innermost last
    part, last, before = 0, -1, (-1, -1)
    for place, one in enumerate(recorded):
        ns = 1000 * one.elapsed_us
        if any(recorded[outer].subgraph == one.subgraph for outer in running):
            while recorded[running.pop()].subgraph != one.subgraph:
                pass
        if running:
            outer = running[-1]
            found[outer] = found[outer]._replace(ns=max(0, found[outer].ns - ns))
        if one.type == BUILTIN:
            before, part, last = (one.subgraph, one.node), 0, -1
            name = names.get(one.node, "") if one.subgraph == 0 else ""
            found.append(Event(before, one.tag, name, f"{one.subgraph}:{one.node}", "", ns))
            if any(word in one.tag for word in _CONTAINERS):
                running.append(place)
        else:
            part, last = part + (one.node <= last), one.node
            found.append(Event((one.subgraph, before, part, one.node), one.tag, "", "", _XNNPACK, ns))
    return found


class _Signature:
    """A file with signatures: inputs and outputs have names of their own."""

    def __init__(self, interpreter: Any, signatures: Mapping[str, Any]) -> None:
        self.interpreter = interpreter
        key = _DEFAULT_SIGNATURE if _DEFAULT_SIGNATURE in signatures else next(iter(signatures))
        self.key = key
        self.runner = interpreter.get_signature_runner(key)
        # The runner lists names alphabetically; the order of the file is that of the tensors.
        self.inputs = _in_file_order(self.runner.get_input_details(), interpreter.get_input_details())
        self.outputs = _in_file_order(self.runner.get_output_details(), interpreter.get_output_details())
        self.notes = [f"it has {len(signatures)} signatures; {key!r} was run"] if len(signatures) > 1 else []

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Any]:
        """One inference."""
        outputs: Mapping[str, Any] = self.runner(**feed)
        return outputs

    def undelegated(self) -> list[dict[str, str]] | None:
        """Operators outside the delegate."""
        return _undelegated(self.interpreter)

    def nodes(self) -> int | None:
        """All operators of the main graph."""
        return _nodes(self.interpreter)


class _Plain:
    """A file without: its tensors' names are all there is."""

    key = None

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = [_tensor(item["name"], item) for item in inputs]
        self.outputs = [_tensor(item["name"], item) for item in outputs]
        self.notes: list[str] = []
        self.input_indices = {item["name"]: item["index"] for item in inputs}
        self.output_indices = {item["name"]: item["index"] for item in outputs}
        self.shapes = {item["name"]: tuple(item["shape"]) for item in inputs}

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Any]:
        """One inference."""
        resized = [name for name, array in feed.items() if array.shape != self.shapes[name]]
        for name in resized:
            self.interpreter.resize_tensor_input(self.input_indices[name], feed[name].shape)
            self.shapes[name] = feed[name].shape
        if resized:
            self.interpreter.allocate_tensors()
        for name, array in feed.items():
            self.interpreter.set_tensor(self.input_indices[name], array)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.output_indices.items()}

    def undelegated(self) -> list[dict[str, str]] | None:
        """Operators outside the delegate."""
        return _undelegated(self.interpreter)

    def nodes(self) -> int | None:
        """All operators of the main graph."""
        return _nodes(self.interpreter)


def _undelegated(interpreter: Any) -> list[dict[str, str]]:
    """It lists replaced operators too; they are found by walking back from what replaced them."""
    listed = interpreter._get_ops_details()
    operators = [item for item in listed if item["op_name"] != _DELEGATE]
    maker = {tensor: index for index, item in enumerate(operators) for tensor in item["outputs"]}
    inside: set[int] = set()
    for delegate in listed:
        if delegate["op_name"] != _DELEGATE:
            continue
        borders, todo = set(delegate["inputs"]), list(delegate["outputs"])
        while todo:
            index = maker.get(todo.pop())
            if index is not None and index not in inside:
                inside.add(index)
                todo += [tensor for tensor in operators[index]["inputs"] if tensor not in borders]
    names = _names(interpreter)
    return [
        {"operator": item["op_name"], "name": names[item["index"]], "node": f"0:{item['index']}"}
        for index, item in enumerate(operators)
        if index not in inside
    ]


def _nodes(interpreter: Any) -> int:
    return sum(item["op_name"] != _DELEGATE for item in interpreter._get_ops_details())


def _names(interpreter: Any) -> dict[int, str]:
    """What each operator is called: its first output."""
    tensors = {item["index"]: item["name"] for item in interpreter.get_tensor_details()}
    return {
        item["index"]: tensors.get(item["outputs"][0], "") if len(item["outputs"]) else ""
        for item in interpreter._get_ops_details()
    }


def _in_file_order(named: Mapping[str, Any], in_file: list[Any]) -> list[Tensor]:
    place = {item["index"]: position for position, item in enumerate(in_file)}
    names = sorted(named, key=lambda name: place.get(named[name]["index"], len(place)))
    return [_tensor(name, named[name]) for name in names]


def _tensor(name: str, details: Mapping[str, Any]) -> Tensor:
    sizes = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    shape = [None if size < 0 else int(size) for size in sizes]
    scale, zero_point = details["quantization"]
    scaled = scale != 0.0  # what the interpreter says of tensors without quantization
    return {
        "name": name,
        "shape": shape,
        "dtype": details["dtype"].__name__,
        "scale": float(scale) if scaled else None,
        "zero_point": int(zero_point) if scaled else None,
    }
