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
    """Operators of a graph module, in order: ``conv2d``; what takes one of several results is none."""
    targets = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    return [target.split(".")[1] for target in targets if "getitem" not in target]


def one_node(
    kind: str, operands: dict[str, Any], outputs: int, constants: Sequence[str], domain: str = "", **attributes: Any
) -> tuple[Any, dict[str, Any]]:
    """A model of one node.

    Args:
        kind: Operator.
        operands: Arrays by name, ``None`` for one left out.
        outputs: How many.
        constants: Names of operands that are initializers.
        domain: Of the operator.
        attributes: Of the node.

    Returns:
        The model, and what its inputs are fed with.
    """
    from onnx import ValueInfoProto, helper, numpy_helper

    given = {name: value for name, value in operands.items() if value is not None}
    names = [name if operands[name] is not None else "" for name in operands]
    node = helper.make_node(kind, names, [f"y{number}" for number in range(outputs)], domain=domain, **attributes)
    feeds = {name: value for name, value in given.items() if name not in constants}
    graph = helper.make_graph(
        [node],
        "graph",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in feeds.items()
        ],
        [ValueInfoProto(name=name) for name in node.output],  # their types are for the runtime to find
        [numpy_helper.from_array(value, name) for name, value in given.items() if name in constants],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), feeds


def run_in_runtime(proto: Any, feeds: dict[str, Any]) -> Sequence[Any]:
    """Outputs of ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Sequence[Any] = session.run(None, feeds)
    return found


def agree_with_runtime(proto: Any, feeds: dict[str, Any], least_db: float, wanted: Sequence[Any] | None = None) -> Any:
    """Run a model in ONNX Runtime, imported, and exported, and compare each output.

    Args:
        proto: The model.
        feeds: Arrays by name of input.
        least_db: Of every output.
        wanted: Outputs, where the runtime has no kernel for the model.

    Returns:
        The flat program's graph module.
    """
    import torch

    from converters.onnx_import.convert import flat_module, plan_of
    from converters.onnx_import.module import Imported

    names = [item.name for item in proto.graph.output]
    plan = plan_of(proto, {name: value.shape for name, value in feeds.items()}, names)
    tensors = [torch.from_numpy(value) for value in feeds.values()]
    with torch.no_grad():
        module = flat_module(plan).module
        results = {"eager": Imported(plan).eval()(*tensors), "exported": module(*tensors)}
    wanted = run_in_runtime(proto, feeds) if wanted is None else wanted
    for way, found in results.items():
        for name, ours, theirs in zip(names, found, wanted, strict=True):
            assert (tuple(ours.shape), ours.numpy().dtype) == (theirs.shape, theirs.dtype), (way, name)
            assert decibels(theirs, ours.numpy()) >= least_db, (way, name)
    return module
