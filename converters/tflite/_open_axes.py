"""An open batch in a TFLite file of litert-torch.

The converter keeps the input's batch open, and writes that of the example into the shapes of RESHAPE (seen with
litert-torch 0.10); the runtime computes all other shapes itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.tflite._file import numbers, serialized


def open_batch(path: Path, example: int) -> None:
    """Have every RESHAPE take its first size from its input, in place, where that was the example's batch.

    That a size of this value is the batch is a guess, which the check in other sizes proves or refutes.

    Args:
        path: The file.
        example: The batch that it was traced with.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if code == schema.BuiltinOperator.RESHAPE and len(operator.inputs) > 1:
                _open(model, graph, operator, example)
    path.write_bytes(serialized(model, content))


def _open(model: Any, graph: Any, operator: Any, example: int) -> None:
    from ai_edge_litert import schema_py_generated as schema

    shape = graph.tensors[operator.inputs[1]]
    stored = model.buffers[shape.buffer].data
    if stored is None:
        return
    sizes = np.frombuffer(bytes(stored), np.int32).copy()
    if not len(sizes) or sizes[0] != example or -1 in sizes:
        return
    sizes[0] = -1
    buffer = schema.BufferT()  # of its own: equal constants share one
    buffer.data = np.frombuffer(sizes.tobytes(), np.uint8)
    model.buffers.append(buffer)
    shape.buffer = len(model.buffers) - 1
    options = operator.builtinOptions
    if options is not None and options.newShape is not None and len(options.newShape):
        options.newShape = sizes
    output = graph.tensors[operator.outputs[0]]
    output.shapeSignature = np.array([-1, *numbers(output.shape)[1:]], np.int32)
