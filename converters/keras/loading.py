"""A Keras model from its file to a SavedModel and reference outputs, in one child.

User code runs in here: everything of edgekit's that is needed is imported at the top (see :mod:`converters.user_code`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from converters import dynamic, opening, user_code
from converters.keras import backend, calling, reading  # noqa: F401 - chooses the backend before Keras is imported
from converters.keras.calling import Program
from converters.saved_model import form
from converters.torch_export import training_data  # its note on scales needs no torch
from edgekit.data import SEED
from edgekit.errors import ConversionError, first_line
from edgekit.feeds import Array
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature

_PROGRAM = "program"


def load_and_run(request: LoadRequest) -> Loaded:
    """See :func:`converters.sources.keras.load`."""
    import keras
    import tensorflow as tf

    check_backend()
    keras.utils.set_random_seed(SEED % (1 << 32))
    path, into = Path(request.path), Path(request.into)
    with user_code.user_imports(*user_code.folders_of(request.model_code, path)):
        network = reading.read(request)
        program = calling.prepare(network, request)
        signature = program.signature
        chosen = opening.write_feeds(request, signature, embedding_rows(program))
        compiled = compiled_function(program)
        outputs = opening.write_reference(request, signature, chosen, _runner(compiled, signature, path))
        if request.dynamic:
            in_any_size = tf.function(program.function, autograph=False)
            signature = dynamic.write_sizes(request, signature, chosen, _runner(in_any_size, signature, path))
        if request.program:
            # The state of random layers is read even where a run has no use for it, and belongs to no layer.
            variables = [item.value for item in program.model.variables]
            form.write(program.function, signature, into / _PROGRAM, holds=[program.model, variables])
        doubt = ""
        if request.data is not None:
            given = list(chosen.arrays.values())
            doubt = training_data.untrained_scale_note(given, list(outputs.values()), chosen.labels)
        fingerprint = _fingerprint(compiled.graph, program.model.weights)
    return opening.loaded(
        request,
        kind=f"{network.saved.kind}, Keras {network.saved.version}".removesuffix(", Keras ?"),
        signature=signature,
        program=_PROGRAM,
        fingerprint=fingerprint,
        notes=[*network.notes, *([doubt] if doubt else [])],
    )


def check_backend() -> None:
    """Keras on another backend makes no SavedModel.

    Raises:
        ConversionError: It was imported before this job with another one.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConversionError(
            f"Keras runs on {keras.backend.backend()} here, and edgekit needs it on TensorFlow.",
            hint="KERAS_BACKEND=tensorflow edgekit …",
        )


def compiled_function(program: Program) -> Any:
    """The model as one TensorFlow function of fixed shapes."""
    import tensorflow as tf

    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in program.signature.inputs]
    return tf.function(program.function, autograph=False).get_concrete_function(*specs)


def _runner(compiled: Any, signature: Signature, path: Path) -> opening.Run:
    """The model itself, as :func:`converters.opening.write_reference` runs it."""
    import tensorflow as tf

    names = [spec.name for spec in signature.outputs]

    def run(sample: dict[str, Array]) -> dict[str, Array]:
        tensors = [tf.constant(sample[spec.name]) for spec in signature.inputs]
        try:
            outputs = compiled(*tensors)
        except Exception as error:  # an index out of an embedding's rows, or user code
            raise ConversionError(
                f"{path}: the model fails on a sample: {type(error).__name__}: {first_line(error)}",
                hint="Check the data against what the model was trained with.",
            ) from error
        return opening.as_arrays(names, [value.numpy() for value in outputs])

    return run


def embedding_rows(program: Program) -> dict[str, int]:
    """An exclusive bound for random whole numbers: the rows of the smallest embedding, where there is one."""
    import keras

    layers = program.model._flatten_layers()  # the public ``layers`` leaves out those within layers
    rows = [int(layer.input_dim) for layer in layers if isinstance(layer, keras.layers.Embedding)]
    integers = [spec.name for spec in program.signature.inputs if "int" in spec.dtype]
    return dict.fromkeys(integers, min(rows)) if rows else {}


def _fingerprint(graph: Any, weights: Iterable[Any]) -> str:
    """Of what is computed in which order, with its constants and weights; names of nodes differ between processes."""
    digest = hashlib.sha256()

    def add(nodes: Iterable[Any]) -> None:
        places: dict[str, int] = {}
        for place, node in enumerate(nodes):
            places[node.name] = place
            sources = [source.partition(":") for source in node.input]
            listed = [f"{places.get(name.lstrip('^'), -1)}:{rest}" for name, _, rest in sources]
            digest.update(f"{node.op} {listed}".encode())
            if node.op == "Const":
                digest.update(node.attr["value"].SerializeToString(deterministic=True))

    definition = graph.as_graph_def()
    add(definition.node)
    for function in definition.library.function:
        add(function.node_def)
    for weight in weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
