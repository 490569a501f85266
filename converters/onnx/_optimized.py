"""What ONNX Runtime makes of a model before it runs it: read off the graph that it writes when it is asked to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgekit.errors import ConversionError, first_line

_BEFORE_QUANTIZER = "_pre_q"  # behind the name of a tensor where it has moved a QuantizeLinear to
_IN_FLOAT32 = "InsertedPrecisionFreeCast_"  # before that of one of float16, which it has no kernels for
_PLACED = frozenset(
    "Cast Concat DequantizeLinear Expand Flatten Gather Identity Pad QuantizeLinear Reshape Resize Slice Split Squeeze "
    "Sum Transpose Unsqueeze".split()
)
"""Operators that compute nothing, which it moves around, puts in and takes out."""
_OUTPUT_TYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Optimized:
    """A graph as ONNX Runtime runs it on the CPU.

    Attributes:
        made: Names of the tensors that its operators make.
        computing: How often it has each type of operator that computes.
        dtypes: Of the outputs, by name: NumPy's name, or ONNX Runtime's for what is no tensor of numbers.
        shapes: Of the outputs, by name; ``None`` for open sizes, and empty where nothing is known.
    """

    made: frozenset[str]
    computing: Mapping[str, int]
    dtypes: Mapping[str, str]
    shapes: Mapping[str, tuple[int | None, ...]]

    def keeps(self, name: str) -> bool:
        """Whether a tensor of the file is still computed, as a value of its own."""
        return not self.made.isdisjoint({name, name + _BEFORE_QUANTIZER, _IN_FLOAT32 + name})


def optimized(path: Path, scratch: Path) -> Optimized:
    """The graph of a file.

    Of its three levels of optimization the second is read: the third changes layouts (and with them names), not what
    is computed together.

    Args:
        path: Of an ONNX file; what it keeps apart is beside it.
        scratch: A folder to write to.

    Raises:
        ConversionError: ONNX Runtime cannot load it.
    """
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    with TemporaryDirectory(dir=scratch) as folder:
        # Weights apart: a message with them may be too long.
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has no class of its own for its errors
            raise ConversionError(f"{path.name}: ONNX Runtime cannot load it: {first_line(error)}") from error
        graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph
    kinds = (node.op_type for node in graph.node if node.op_type not in _PLACED)
    outputs = session.get_outputs()
    return Optimized(
        frozenset(name for node in graph.node for name in node.output if name),
        Counter(kinds),
        {item.name: _dtype(item.type) for item in outputs},
        {item.name: tuple(_size(size) for size in item.shape or ()) for item in outputs},
    )


def _dtype(kind: Any) -> str:
    plain = str(kind).removeprefix("tensor(").removesuffix(")")
    return _OUTPUT_TYPES.get(plain, plain)


def _size(size: Any) -> int | None:
    return size if isinstance(size, int) and size >= 0 else None
