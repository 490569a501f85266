"""Normalization behind a matrix product becomes part of it; ONNX Runtime's basic optimizer does so for convolutions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.onnx.layers import SCOPES, source_path

Array = npt.NDArray[Any]
_BIAS = 2


def fold(graph: Any) -> None:
    """Multiply and add what follows a Gemm with constant weights into its weights and bias, in place."""
    stored = {item.name: item for item in graph.initializer}
    returned = {item.name for item in graph.output}
    readers: Counter[str] = Counter(name for node in graph.node for name in node.input)
    following = {name: node for node in graph.node for name in node.input}
    for node in list(graph.node):
        if node.op_type != "Gemm" or any(item.name in ("alpha", "beta") and item.f != 1 for item in node.attribute):
            continue
        while readers[node.output[0]] == 1 and node.output[0] not in returned:
            after = following[node.output[0]]
            if not _absorb(node, after, graph, stored, readers):
                break
            node.output[0] = after.output[0]
            graph.node.remove(after)
            if source_path(after):
                _join_paths(node, after)


def _absorb(node: Any, after: Any, graph: Any, stored: dict[str, Any], readers: Counter[str]) -> bool:
    """Put one operator into a Gemm; false where it is none that fits."""
    import onnx

    other = next((name for name in after.input if name != node.output[0]), "")
    own = [stored.get(name) for name in node.input[1:]]
    if after.op_type not in ("Mul", "Add") or other not in stored or None in own:
        return False
    if any(readers[name] > 1 for name in node.input[1:]):
        return False
    transposed = any(item.name == "transB" and item.i for item in node.attribute)
    weights = onnx.numpy_helper.to_array(own[0])
    width = weights.shape[0 if transposed else 1]
    factor = onnx.numpy_helper.to_array(stored[other])
    if factor.size not in (1, width) or factor.shape[-1:] not in ((), (factor.size,)) or weights.dtype != np.float32:
        return False
    vector = np.broadcast_to(factor.reshape(-1), (width,)).astype(np.float64)
    bias = np.zeros(width) if len(own) < _BIAS else onnx.numpy_helper.to_array(own[1]).astype(np.float64)
    if bias.size not in (1, width):
        return False
    bias = np.broadcast_to(bias.reshape(-1), (width,))
    if after.op_type == "Mul":
        _store(own[0], weights * (vector[:, None] if transposed else vector))
    made = bias * vector if after.op_type == "Mul" else bias + vector
    if len(own) < _BIAS:
        if after.op_type == "Mul":
            return True
        name = f"{node.name}/bias"
        graph.initializer.append(onnx.numpy_helper.from_array(made.astype(np.float32), name))
        stored[name] = graph.initializer[-1]
        readers[name] = 1
        node.input.append(name)
    else:
        _store(own[1], made)
    return True


def _store(tensor: Any, values: Array) -> None:
    import onnx

    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))


def _join_paths(node: Any, after: Any) -> None:
    parts = [*source_path(node).split("+"), *source_path(after).split("+")]
    path = "+".join(dict.fromkeys(filter(None, parts)))
    del node.metadata_props[:]
    entry = node.metadata_props.add()
    entry.key, entry.value = SCOPES, repr(["", path, node.name])
