"""LiteRT, the runtime of .tflite files, with its default XNNPACK delegate."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiles.runtimes import Array, Model, Tensor

NAME = "litert"
TITLE = "LiteRT"
TARGET = "tflite"
PACKAGES = ("numpy", "ai_edge_litert")
EXTRA = "tflite"
DISTRIBUTION = "ai-edge-litert"

_DELEGATE = "DELEGATE"
_DEFAULT_SIGNATURE = "serving_default"
_FLEX = "Select TensorFlow op"


def start() -> None:
    """Import the interpreter."""
    importlib.import_module("ai_edge_litert.interpreter")


def load(path: str, threads: int) -> Model:
    """Load a file and plan its memory."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
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


class _Signature:
    """A file with signatures: inputs and outputs have names of their own."""

    def __init__(self, interpreter: Any, signatures: Mapping[str, Any]) -> None:
        self.interpreter = interpreter
        key = _DEFAULT_SIGNATURE if _DEFAULT_SIGNATURE in signatures else next(iter(signatures))
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


class _Plain:
    """A file without: its tensors' names are all there is."""

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
    names = {item["index"]: item["name"] for item in interpreter.get_tensor_details()}
    return [
        {
            "operator": item["op_name"],
            "name": names.get(item["outputs"][0], "") if len(item["outputs"]) else "",
        }
        for index, item in enumerate(operators)
        if index not in inside
    ]


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
