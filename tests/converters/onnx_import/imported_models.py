"""Small ONNX models, and how to compare what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    **more: Any,
) -> Any:
    """A float model; ``constants`` become initializers."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9, **more)


def decibels(reference: Any, other: Any) -> float:
    """Signal to noise."""
    error = float(((reference.astype(np.float64) - other) ** 2).sum())
    return 999.0 if error == 0 else float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / error))


def called(module: Any) -> list[str]:
    """Operators of a graph module, in order: ``conv2d``."""
    return [str(node.target).split(".")[1] for node in module.graph.nodes if node.op == "call_function"]
