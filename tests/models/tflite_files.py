"""TFLite files written by hand, tensor by tensor; needs ai-edge-litert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Builder:
    """Writes a TFLite file: tensors have ``-1`` for dynamic sizes. It begins with one subgraph."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b"by hand"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes, self.model.subgraphs, self.model.signatureDefs = [], [], []
        self.new_graph()

    def new_graph(self) -> int:
        """Another subgraph, which gets what is made from now on; its index."""
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs.append(self.graph)
        return len(self.model.subgraphs) - 1

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str = "FLOAT32",
        data: bytes = b"",
        scale: float | None = None,
        zero_point: int | None = None,
    ) -> int:
        """A tensor of the current subgraph; its index."""
        import numpy as np

        item = self.schema.TensorT()
        item.name, item.type = name.encode(), getattr(self.schema.TensorType, kind)
        item.shape = [max(1, size) for size in shape]
        item.shapeSignature = list(shape) if -1 in shape else None
        item.buffer = 0
        if scale is not None:
            item.quantization = self.schema.QuantizationParametersT()
            item.quantization.scale = [scale]
            item.quantization.zeroPoint = None if zero_point is None else [zero_point]
        if data:
            item.buffer = len(self.model.buffers)
            self.model.buffers.append(self.schema.BufferT())
            self.model.buffers[-1].data = np.frombuffer(data, np.uint8)
        self.graph.tensors.append(item)
        return len(self.graph.tensors) - 1

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        custom: str = "",
        options: str = "",
        **given: Any,
    ) -> None:
        """An operator of the current subgraph; ``options`` is the type of its options, ``given`` what is in them."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = custom.encode() if custom else None
        item = self.schema.OperatorT()
        item.opcodeIndex, item.inputs, item.outputs = len(self.model.operatorCodes), list(inputs), list(outputs)
        if options:
            item.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            item.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, value in given.items():
                setattr(item.builtinOptions, name, value)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(item)

    def dense(self, source: int, result: int, weights: Any, bias: Any, relu: bool = False) -> None:
        """A dense layer; ``weights`` are (outputs, inputs)."""
        kernel = self.tensor(f"{result}/kernel", weights.shape, data=weights.astype("float32").tobytes())
        offsets = self.tensor(f"{result}/bias", bias.shape, data=bias.astype("float32").tobytes())
        after = self.schema.ActivationFunctionType.RELU if relu else self.schema.ActivationFunctionType.NONE
        given = {"options": "FullyConnectedOptions", "fusedActivationFunction": after}
        self.operator("FULLY_CONNECTED", [source, kernel, offsets], [result], **given)

    def signature(self, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int], graph: int = 0) -> None:
        """Name the inputs and outputs of a subgraph."""
        made = self.schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key.encode(), graph
        made.inputs, made.outputs = [], []
        for maps, tensors in ((made.inputs, inputs), (made.outputs, outputs)):
            for name, index in sorted(tensors.items()):
                entry = self.schema.TensorMapT()
                entry.name, entry.tensorIndex = name.encode(), index
                maps.append(entry)
        self.model.signatureDefs.append(made)

    def borders(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Inputs and outputs of the current subgraph."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)

    def write(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> Path:
        """The file, with the borders of the current subgraph."""
        import flatbuffers

        self.borders(inputs, outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path
