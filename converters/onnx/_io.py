"""Integer inputs and outputs in a quantized file (``--io int8``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ConversionError

KEY = "edgekit_io"
"""In the file's metadata: JSON of name to ``scale`` and ``zero_point``."""

Ranges = Mapping[str, tuple[float, float]]
Dtype = np.dtype[np.integer[Any]]
Parameters = tuple[float, int]


def to_integers(model: Any, *, signed: bool, ranges: Ranges) -> None:
    """Make the float inputs and outputs of a model with QuantizeLinear integers, in place; names are kept.

    Where the first or last layer is quantized its own QuantizeLinear or DequantizeLinear goes; where it stayed float
    the other one is put before or behind it.

    Args:
        model: ``ModelProto``.
        signed: s8 in place of u8.
        ranges: Tensor name to ``(low, high)``, for inputs and outputs that nothing quantizes.

    Raises:
        ConversionError: A range that is needed is missing.
    """
    import onnx

    graph = _Graph(model.graph, np.dtype(np.int8 if signed else np.uint8), ranges)
    recorded: dict[str, Parameters] = {}
    for items, change in ((graph.proto.input, graph.change_input), (graph.proto.output, graph.change_output)):
        for item in items:
            if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                recorded[item.name] = change(item.name)
                item.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(graph.dtype)
    entry = model.metadata_props.add()
    entry.key = KEY
    entry.value = json.dumps({name: {"scale": scale, "zero_point": zero} for name, (scale, zero) in recorded.items()})


class _Graph:
    """A ``GraphProto`` under surgery."""

    def __init__(self, proto: Any, dtype: Dtype, ranges: Ranges) -> None:
        self.proto, self.dtype, self.ranges = proto, dtype, ranges
        self.stored = {item.name: item for item in proto.initializer}

    def change_input(self, name: str) -> Parameters:
        """Make one input an integer."""
        readers = [node for node in self.proto.node if name in node.input]
        quantizers = [node for node in readers if node.op_type == "QuantizeLinear" and self.parameters(node)]
        found = self.parameters(quantizers[0]) if quantizers else None
        dropped = [node for node in quantizers if self.parameters(node) == found]
        parameters = found or self.from_range(name)
        for node in dropped:
            self.proto.node.remove(node)
        floats = f"{name}_float"
        if self.rename(name, floats, outputs=False):
            self.insert("DequantizeLinear", name, floats, parameters, 0)
        for node in dropped:
            self.rename(node.output[0], name, outputs=False)
        return parameters

    def change_output(self, name: str) -> Parameters:
        """Make one output an integer."""
        maker = next((node for node in self.proto.node if name in node.output), None)
        found = self.parameters(maker) if maker is not None and maker.op_type == "DequantizeLinear" else None
        floats = f"{name}_float"
        if maker is None or found is None:
            parameters = self.from_range(name)
            self.rename(name, floats)
            self.insert("QuantizeLinear", floats, name, parameters, len(self.proto.node))
            return parameters
        integers = maker.input[0]
        if self.rename(name, floats, outputs=False):
            maker.output[0] = floats
        else:
            self.proto.node.remove(maker)
        taken = {item.name for item in (*self.proto.input, *self.proto.output)}
        if integers in taken:
            self.proto.node.add(op_type="Identity", name=f"{name}_copy", input=[integers], output=[name])
        else:
            self.rename(integers, name)
        return found

    def parameters(self, node: Any) -> Parameters | None:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear; ``None`` if not one each of the right dtype."""
        import onnx

        values = [self.stored.get(name) for name in node.input[1:]]
        arrays = [onnx.numpy_helper.to_array(item) for item in values if item is not None]
        if len(arrays) != 2 or any(item.size != 1 for item in arrays) or arrays[1].dtype != self.dtype:
            return None
        return float(arrays[0].item()), int(arrays[1].item())

    def from_range(self, name: str) -> Parameters:
        """The same for a range that calibration found."""
        if name not in self.ranges:
            raise ConversionError(f"The calibration ranges hold none for {name!r}.")
        limits = np.iinfo(self.dtype)
        low, high = self.ranges[name]
        scale = float(np.float32((high - low) / (limits.max - limits.min))) or 1.0
        return scale, int(np.clip(round(limits.min - low / scale), limits.min, limits.max))

    def insert(self, operator: str, source: str, result: str, parameters: Parameters, place: int) -> None:
        """Put a node with parameters of its own at a place."""
        import onnx

        names = [f"{result}_{operator}_{what}" for what in ("scale", "zero_point")]
        arrays: list[npt.NDArray[Any]] = [np.array(parameters[0], np.float32), np.array(parameters[1], self.dtype)]
        for label, array in zip(names, arrays, strict=True):
            tensor = onnx.numpy_helper.from_array(array, label)
            self.proto.initializer.append(tensor)
            self.stored[label] = tensor
        self.proto.node.insert(
            place, onnx.helper.make_node(operator, [source, *names], [result], f"{result}_{operator}")
        )

    def rename(self, old: str, new: str, *, outputs: bool = True) -> int:
        """Rename a tensor where it is read, and where it is made if ``outputs``; returns how often it was read."""
        count = 0
        for node in _nodes(self.proto):
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new
                    count += 1
            for index, name in enumerate(node.output):
                if outputs and name == old:
                    node.output[index] = new
        return count


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for item in node.attribute:
            for inner in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield from _nodes(inner)
