"""Small, sound ONNX models of many kinds: what :mod:`onnx_fuzz` damages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper

DATA = "weights.bin"
"""Name of the file beside a model that holds tensors of it."""


def seeds() -> list[tuple[str, ModelProto, bytes]]:
    """Name, model, and what is in the file beside it; each goes through the reader and the planner as it is."""
    return [(make.__name__.strip("_"), *make()) for make in _ALL]


def _model(
    nodes: Sequence[Any],
    stored: dict[str, Any],
    inputs: dict[str, Sequence[int | str | None]],
    opset: int = 17,
    functions: Sequence[Any] = (),
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, functions=list(functions))


def _node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(",") if inputs else [], outputs.split(","), **attributes)


def _random(*shape: int) -> Any:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * 0.3).astype(np.float32)


def _convolutions() -> tuple[ModelProto, bytes]:
    nodes = [
        _node("Conv", "x,w,b", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        _node("BatchNormalization", "a,s,b,m,v", "n"),
        _node("Relu", "n", "r"),
        _node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        _node("ConvTranspose", "p,t", "u", strides=[2, 2], output_padding=[1, 1]),
        _node("Resize", "u,,scales", "z", mode="linear", coordinate_transformation_mode="asymmetric"),
        _node("Pad", "z,pads", "q", mode="reflect"),
        _node("GlobalAveragePool", "q", "g"),
        _node("Flatten", "g", "f", axis=1),
        _node("Gemm", "f,k,c", "y", transB=1, alpha=0.5),
    ]
    stored = {"w": _random(4, 3, 3, 3), "b": _random(4), "s": _random(4), "m": _random(4), "v": np.abs(_random(4)),
              "t": _random(4, 4, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32), "k": _random(5, 4),
              "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "c": _random(5)}  # fmt: skip
    return _model(nodes, stored, {"x": ["batch", 3, 8, 8]}), b""


def _shapes() -> tuple[ModelProto, bytes]:
    nodes = [
        _node("Shape", "x", "s"), _node("Gather", "s,zero", "d"), _node("Unsqueeze", "d,axis", "e"),
        _node("Concat", "e,rest", "t", axis=0), _node("Reshape", "x,t", "r"), _node("Transpose", "r", "p", perm=[1, 0]),
        _node("Slice", "p,zeros,ends,axes,steps", "l"), _node("Split", "l", "q,u", axis=0, num_outputs=2),
        _node("Expand", "q,wide", "i"),
        _node("ConstantOfShape", "wide", "o", value=numpy_helper.from_array(_random(1))),
        _node("Range", "zero,four,one", "n"), _node("Cast", "n", "h", to=1), _node("Tile", "h,twice", "j"),
        _node("ReduceSum", "j,axis", "m", keepdims=1), _node("Add", "i,o", "k"), _node("Mul", "k,m", "v"),
        _node("Where", "flag,v,k", "c"), _node("TopK", "c,two", "y,unused", axis=-1),
    ]  # fmt: skip
    stored = {"zero": np.int64(0), "axis": np.array([0]), "rest": np.array([-1]), "zeros": np.array([0, 0]),
              "ends": np.array([4, 2]), "axes": np.array([0, 1]), "steps": np.array([1, 1]),
              "wide": np.array([3, 2, 2]), "four": np.int64(4), "one": np.int64(1), "twice": np.array([2]),
              "flag": np.array(True), "two": np.array([2])}  # fmt: skip
    return _model(nodes, stored, {"x": [2, 2, None]}, 18), b""


def _attention() -> tuple[ModelProto, bytes]:
    nodes = [
        _node("LayerNormalization", "x,s,b", "n", axis=-1, epsilon=1e-5), _node("MatMul", "n,w", "q"),
        _node("Transpose", "q", "t", perm=[0, 2, 1]), _node("MatMul", "q,t", "a"), _node("Softmax", "a", "p", axis=-1),
        _node("Einsum", "p,q", "e", equation="bij,bjk->bik"), _node("Gelu", "e", "g", domain="com.microsoft"),
        _node("CumSum", "g,axis", "c", exclusive=1), _node("ArgMax", "c", "i", axis=1), _node("Cast", "i", "f", to=1),
        _node("GatherElements", "c,places", "h", axis=1), _node("Add", "h,f", "k"), _node("Clip", "k,low,high", "y"),
    ]  # fmt: skip
    stored = {"s": _random(4), "b": _random(4), "w": _random(4, 4), "axis": np.int64(1), "low": np.float32(0),
              "high": np.float32(6), "places": np.zeros((1, 1, 4), np.int64)}  # fmt: skip
    return _model(nodes, stored, {"x": [1, 3, 4]}), b""


def _control() -> tuple[ModelProto, bytes]:
    def branch(operator: str) -> Any:
        return helper.make_graph([_node(operator, "x", "o")], "branch", [], [helper.make_empty_tensor_value_info("o")])

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [_node("Add", "state,delta", "next"), _node("Identity", "going", "more"), _node("Neg", "next", "scanned")],
        "body",
        [value("i", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("state", 1, [2, 3])],
        [value("more", TensorProto.BOOL, []), value("next", 1, [2, 3]), value("scanned", 1, [2, 3])],
        [numpy_helper.from_array(_random(2, 3), "delta")],
    )
    nodes = [
        _node("Constant", "", "flag", value=numpy_helper.from_array(np.array(True))),
        _node("If", "flag", "a", then_branch=branch("Relu"), else_branch=branch("Tanh")),
        _node("Loop", "count,flag,a", "last,all", body=body),
        _node("SequenceConstruct", "last,a", "s"), _node("SequenceAt", "s,one", "t"),
        _node("ReduceMean", "all", "m", axes=[0], keepdims=0), _node("Sub", "m,t", "y"),
    ]  # fmt: skip
    return _model(nodes, {"count": np.int64(3), "one": np.int64(1)}, {"x": [2, 3]}), b""


def _recurrent() -> tuple[ModelProto, bytes]:
    nodes = [
        _node("LSTM", "x,w,r,b", "all,last", hidden_size=3, direction="forward"),
        _node("Squeeze", "all,axes", "s"), _node("GRU", "s,gw,gr", "g", hidden_size=2),
        _node("Reshape", "g,shape", "y"),
    ]  # fmt: skip
    stored = {"w": _random(1, 12, 4), "r": _random(1, 12, 3), "b": _random(1, 24), "gw": _random(1, 6, 3),
              "gr": _random(1, 6, 2), "axes": np.array([1]), "shape": np.array([0, -1])}  # fmt: skip
    return _model(nodes, stored, {"x": [5, 1, 4]}), b""


def _quantized() -> tuple[ModelProto, bytes]:
    nodes = [
        _node("QuantizeLinear", "x,s,z", "a"), _node("DequantizeLinear", "a,s,z", "b"),
        _node("DequantizeLinear", "w,ws,wz", "c", axis=0), _node("Conv", "b,c", "d", group=2),
        _node("QuantizeLinear", "d,s,z", "e"), _node("DequantizeLinear", "e,s,z", "f"),
        _node("DynamicQuantizeLinear", "f", "g,gs,gz"), _node("MatMulInteger", "g,k,gz", "h"),
        _node("Cast", "h", "i", to=1), _node("Mul", "i,gs", "y"),
    ]  # fmt: skip
    stored = {"s": np.float32(0.1), "z": np.uint8(128), "w": np.ones((4, 1, 1, 1), np.int8),
              "ws": np.ones(4, np.float32), "wz": np.zeros(4, np.int8), "k": np.ones((5, 2), np.int8)}  # fmt: skip
    return _model(nodes, stored, {"x": [1, 2, 5, 5]}), b""


def _functions() -> tuple[ModelProto, bytes]:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    slope = _node("LeakyRelu", "a", "b")
    slope.attribute.append(AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT))
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [slope], opsets, ["slope"])
    outer = helper.make_function(
        "own",
        "Outer",
        ["a", "w"],
        ["c"],
        [_node("Inner", "a", "b", domain="own", slope=0.2), _node("MatMul", "b,w", "c")],
        opsets,
    )
    nodes = [
        _node("Outer", "x,w", "a", domain="own"), _node("Outer", "a,w", "b", domain="own"),
        _node("MeanVarianceNormalization", "b", "y", axes=[1]),
    ]  # fmt: skip
    return _model(nodes, {"w": _random(3, 3)}, {"x": [2, 3]}, functions=[inner, outer]), b""


def _apart() -> tuple[ModelProto, bytes]:
    model = _model(
        [_node("MatMul", "x,w", "a"), _node("Constant", "", "b"), _node("Add", "a,b", "c"), _node("Mul", "c,p", "y")],
        {"w": _random(4, 6), "h": _random(3).astype(np.float16)},
        {"x": [2, 4]},
    )
    attribute = model.graph.node[1].attribute.add(name="value", type=AttributeProto.TENSOR)
    attribute.t.CopyFrom(numpy_helper.from_array(_random(6)))
    content = b""
    for tensor in (model.graph.initializer[0], attribute.t):
        entries = {"location": DATA, "offset": len(content), "length": len(tensor.raw_data)}
        content += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    sparse = SparseTensorProto(dims=[2, 6])
    sparse.values.CopyFrom(numpy_helper.from_array(_random(3), "p"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, 5, 7]), "places"))
    model.graph.sparse_initializer.append(sparse)
    return model, content


_ALL: tuple[Callable[[], tuple[ModelProto, bytes]], ...] = (
    _convolutions, _shapes, _attention, _control, _recurrent, _quantized, _functions, _apart,
)  # fmt: skip
