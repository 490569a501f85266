"""Weights stored as integers in a model that computes in float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.onnx import _weights as arithmetic
from converters.onnx._graph import attribute
from edgekit.errors import ConversionError

BLOCK = 32
"""Elements that share a scale in 4 bits: the smallest block that ONNX Runtime has fast kernels for."""

_MATRIX = 2
_FLOAT_ACTIVATIONS = 1
"""``accuracy_level`` of MatMulNBits: multiply in float32. At 4 it rounds the activations to 8 bits as they come."""


class _Model:
    """A ``ModelProto`` under surgery."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.stored = {item.name: item for item in proto.graph.initializer}
        self.dequantized: dict[str, str] = {}
        self.names = {name for node in proto.graph.node for name in (*node.input, *node.output)} | set(self.stored)

    def weights(self, node: Any) -> tuple[int, Any] | None:
        """Place and values of the stored float matrix or kernel of a node."""
        import onnx

        for index in (1, 0) if node.op_type in ("MatMul", "Gemm") else (1,):
            tensor = self.stored.get(node.input[index])
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < _MATRIX:
                continue
            values = onnx.numpy_helper.to_array(tensor)
            if not np.isfinite(values).all():
                raise ConversionError(f"The weights {tensor.name!r} hold NaN or infinity.")
            return index, values
        return None

    def add(self, name: str, values: Any) -> str:
        """Store a tensor; returns the name it got."""
        import onnx

        name = self.free(name)
        self.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def free(self, name: str) -> str:
        """A name that nothing has yet."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def clean(self) -> None:
        """Drop the stored tensors that nothing reads."""
        used = {item.name for item in self.proto.graph.output}
        todo = [self.proto.graph]
        while todo:
            graph = todo.pop()
            for node in graph.node:
                used.update(node.input)
                for item in node.attribute:
                    todo += [*([item.g] if item.HasField("g") else []), *item.graphs]
            used.update(item.name for item in graph.output)
        kept = [item for item in self.proto.graph.initializer if item.name in used]
        del self.proto.graph.initializer[:]
        self.proto.graph.initializer.extend(kept)


def store(proto: Any, schemes: Mapping[str, str]) -> list[str]:
    """Store weights of Conv, ConvTranspose, Gemm and MatMul as integers, in place.

    Args:
        proto: ``ModelProto`` with weights inside and names on all nodes.
        schemes: Node name to scheme; those but ``int8-weights`` and ``int4-weights`` are left alone.

    Returns:
        Names of the nodes whose weights are integers now; matrices too small to gain are left out.

    Raises:
        ConversionError: Weights are not finite.
    """
    model = _Model(proto)
    done = []
    for node in list(proto.graph.node):
        scheme = schemes.get(node.name, "")
        if (scheme == "int8-weights" and _to_int8(node, model)) or (scheme == "int4-weights" and _to_int4(node, model)):
            done.append(node.name)
    model.clean()
    return done


def _to_int8(node: Any, model: _Model) -> bool:
    """int8 -> Cast -> Mul by the scales, which ONNX Runtime computes once, when it loads the file.

    DequantizeLinear would say the same, but ONNX Runtime (1.32) runs it again at every inference, and fuses it with a
    MatMul into a kernel that rounds the activations to 8 bits.
    """
    import onnx

    found = model.weights(node) if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") else None
    if found is None:
        return False
    index, values = found
    name = node.input[index]
    if name not in model.dequantized:
        integers, scale = _int8(node, index, values)
        if integers.nbytes + scale.nbytes >= values.nbytes:
            return False
        cast, result = model.free(f"{name}_cast"), model.free(f"{name}_dequantized")
        stored, scales = model.add(f"{name}_int8", integers), model.add(f"{name}_scale", scale)
        for position, made in enumerate(
            (
                onnx.helper.make_node("Cast", [stored], [cast], model.free(f"{name}_Cast"), to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Mul", [cast, scales], [result], model.free(f"{name}_Mul")),
            )
        ):
            model.proto.graph.node.insert(position, made)
        model.dequantized[name] = result
    node.input[index] = model.dequantized[name]
    return True


def _int8(node: Any, index: int, values: Any) -> tuple[Any, Any]:
    """Integers, and scales that broadcast over them."""
    if node.op_type == "ConvTranspose":
        integers, scale = arithmetic.per_group_channel(values, attribute(node, "group", 1))
        return integers, scale.reshape(*scale.shape, *[1] * (values.ndim - _MATRIX))
    if node.op_type == "Conv":
        axis = 0
    else:
        transposed = node.op_type == "Gemm" and attribute(node, "transB" if index else "transA", 0)
        # The axis that is not summed over.
        axis = values.ndim - 1 if bool(index) != bool(transposed) else values.ndim - 2
    integers, scale = arithmetic.per_channel(values, axis)
    shape = [1] * values.ndim
    shape[axis] = -1
    return integers, scale.reshape(shape)


def _to_int4(node: Any, model: _Model) -> bool:
    """A MatMul or Gemm as ONNX Runtime's MatMulNBits, which keeps the four bits in memory too."""
    import onnx

    found = model.weights(node) if node.op_type in ("MatMul", "Gemm") else None
    if found is None or found[0] != 1 or found[1].ndim != _MATRIX or attribute(node, "transA", 0):
        return False
    values = found[1] if attribute(node, "transB", 0) else found[1].T  # (outputs, inputs)
    bias = _bias(node, model)
    integers, scale = arithmetic.per_block(values * np.float32(attribute(node, "alpha", 1.0)), 1, BLOCK)
    packed = arithmetic.pack_nibbles(integers, BLOCK)
    if bias is None or packed.nbytes + scale.nbytes >= values.nbytes:
        return False
    name = node.input[1]
    outputs, inputs = values.shape
    operands = [node.input[0], model.add(f"{name}_int4", packed), model.add(f"{name}_scale", scale.reshape(-1))]
    result = node.output[0] if not bias else model.free(f"{node.output[0]}_product")
    product = onnx.helper.make_node(
        "MatMulNBits", operands, [result], node.name, domain="com.microsoft", K=inputs, N=outputs, bits=4,
        block_size=BLOCK, accuracy_level=_FLOAT_ACTIVATIONS,
    )  # fmt: skip
    product.metadata_props.extend(node.metadata_props)
    place = list(model.proto.graph.node).index(node)
    if bias:
        add = onnx.helper.make_node("Add", [result, bias], list(node.output), model.free(f"{node.name}_bias"))
        add.metadata_props.extend(node.metadata_props)
        model.proto.graph.node.insert(place + 1, add)
    node.CopyFrom(product)
    if not any(item.domain == "com.microsoft" for item in model.proto.opset_import):
        model.proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return True


def _bias(node: Any, model: _Model) -> str | None:
    """Name of what is to be added to the product: empty for nothing, ``None`` where it cannot be said."""
    import onnx

    if node.op_type == "MatMul" or len(node.input) <= _MATRIX or not node.input[2]:
        return ""
    beta = attribute(node, "beta", 1.0)
    if beta == 1:
        return str(node.input[2])
    tensor = model.stored.get(node.input[2])
    scaled = None if tensor is None else onnx.numpy_helper.to_array(tensor) * np.float32(beta)
    return None if scaled is None else model.add(f"{node.input[2]}_scaled", scaled)
