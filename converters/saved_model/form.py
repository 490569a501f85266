"""The SavedModel form: one signature, flat tensors in the order of the model's own signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekit.types import Signature, TensorSpec

SERVING = "serving_default"


def input_name(index: int) -> str:
    """Of the tensor in a SavedModel; TensorFlow sorts tensors by name, so the names sort as the signature does."""
    return f"input_{index:03}"


def output_name(index: int) -> str:
    """As :func:`input_name`."""
    return f"output_{index:03}"


def write(function: Callable[..., Any], signature: Signature, folder: Path, holds: Any = None) -> None:
    """Write a function as the form.

    Args:
        function: Takes TensorFlow tensors in the order of ``signature.inputs``, returns them (a sequence, or one) in
            the order of ``signature.outputs``.
        signature: Shapes and dtypes; sizes that are ``None`` stay open. Names are for users: the form's own are
            :func:`input_name` and :func:`output_name`, and steps give the user's back.
        folder: Is created.
        holds: What owns the variables that ``function`` reads (a layer, a module), so that they are saved.
    """
    import tensorflow as tf

    specs = [
        tf.TensorSpec(spec.shape, _dtype(spec), name=input_name(index)) for index, spec in enumerate(signature.inputs)
    ]

    def serve(*values: Any) -> dict[str, Any]:
        results = function(*values)
        flat = list(results) if isinstance(results, (list, tuple)) else [results]
        if len(flat) != len(signature.outputs):
            raise ValueError(f"{len(flat)} outputs where the signature has {len(signature.outputs)}")
        # An output may be an input, or appear twice: a signature wants tensors of its own.
        return {output_name(index): tf.identity(value) for index, value in enumerate(flat)}

    module = tf.Module()
    module.holds = holds
    module.serve = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={SERVING: module.serve})


def _dtype(spec: TensorSpec) -> Any:
    import tensorflow as tf

    return tf.as_dtype(spec.dtype)


def names(specs: Sequence[TensorSpec], naming: Callable[[int], str]) -> dict[str, str]:
    """The form's own name of each tensor to the user's."""
    return {naming(index): spec.name for index, spec in enumerate(specs)}
