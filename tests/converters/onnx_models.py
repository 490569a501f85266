"""Small ONNX models made on the spot; importing this skips the tests of a file where onnx is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="needs the onnx extra")
ort = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
np = pytest.importorskip("numpy")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check that it is there

FLOAT = TensorProto.FLOAT


def model(
    nodes: Sequence[Any], inputs: dict[str, Any], outputs: Sequence[str], constants: dict[str, Any], opset: int = 20
) -> Any:
    """A model of float inputs with the shapes given."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def saved(proto: Any, path: Path, **options: Any) -> Path:
    onnx.save(proto, path, **options)
    return path
