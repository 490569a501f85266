"""A TFLite file with open sizes, at the sizes asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.tflite import _normal
from converters.tflite._file import Model, indexed, numbers
from converters.work import bits_of
from edgekit.errors import first_line
from edgekit.types import TensorSpec


@dataclass(frozen=True)
class Sized:
    """A file whose sizes are known, as far as they can be.

    Attributes:
        model: Its tensors have the sizes of a run.
        problem: Why they have not; then the model is as it was.
    """

    model: Model
    problem: str = ""


def at_sizes(model: Model, content: bytes, inputs: Mapping[int, TensorSpec]) -> Sized:
    """Run the file once on zeros in LiteRT, and take the sizes that its tensors had.

    LiteRT alone knows what becomes of a size on its way through all operators. Where a size depends on values, it is
    that of zeros.

    Args:
        model: Of the file; its unpacked flatbuffer is changed.
        content: The file.
        inputs: With a size for every axis, by index of the tensor.
    """
    if model.entry != 0:
        return Sized(model, "its entry is not its first subgraph, and LiteRT runs no other at sizes of one's own")
    if not _normal.is_open(model.raw):
        return Sized(model)
    try:
        found = _sizes(content, inputs)
    except (ValueError, RuntimeError) as error:
        return Sized(model, f"LiteRT cannot run it at these sizes: {first_line(error)}")
    _normal.fix_sizes(model.raw, found)
    return Sized(indexed(model.raw, len(content)))


def _sizes(content: bytes, inputs: Mapping[int, TensorSpec]) -> dict[int, Sequence[int]]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        # A delegate would hide the tensors inside of it.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    for index, spec in inputs.items():
        interpreter.resize_tensor_input(index, list(spec.shape))
    interpreter.allocate_tensors()
    for index, spec in inputs.items():
        interpreter.set_tensor(index, np.zeros([size or 1 for size in spec.shape], spec.dtype))
    interpreter.invoke()
    details: list[dict[str, Any]] = interpreter.get_tensor_details()
    return {item["index"]: numbers(item["shape"]) for item in details if bits_of(np.dtype(item["dtype"]).name)}
