"""The SavedModel form as one graph without variables, whose nodes are named after the model's layers.

Both ways out of the form start here. TensorFlow's TFLite converter leaves the variables of a Keras model in the file as
resources when it is given the SavedModel itself (TensorFlow 2.21), so they are made constants before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.saved_model import form
from converters.saved_model.scopes import layer_names
from edgekit.errors import ConversionError, first_line


@dataclass(frozen=True)
class Frozen:
    """A graph of constants.

    Attributes:
        graph: ``GraphDef``; a node's name is ``layer/sublayer/Operator``.
        inputs: Names of its input tensors (``input_000:0``), in the order of the signature.
        outputs: Names of its output tensors.
        makers: Names of the nodes that compute these; copies that end the graph are passed over.
    """

    graph: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    makers: tuple[str, ...]


def freeze(source: str, inputs: int, outputs: int) -> Frozen:
    """Read a SavedModel form and make its variables constants.

    Args:
        source: Folder of the form.
        inputs: How many the signature has.
        outputs: As inputs.

    Raises:
        ConversionError: TensorFlow cannot read it, or cannot make its variables constants.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        loaded = tf.saved_model.load(source)  # owns the variables: they are gone when it is
        function = loaded.signatures[form.SERVING]
        # Loops stay loops: both converters know them, and neither knows what they lower to.
        constant = convert_variables_to_constants_v2(function, lower_control_flow=False)
    except Exception as error:  # whatever TensorFlow raises
        raise ConversionError(f"TensorFlow cannot freeze the model: {first_line(error)}") from error
    graph = constant.graph.as_graph_def(add_shapes=True)
    made = {name: _tensor(function.structured_outputs, name, constant.outputs) for name in function.structured_outputs}
    names = layer_names([node.name for node in graph.node], [variable.name for variable in function.variables])
    kept = {form.input_name(index) for index in range(inputs)}
    _rename(graph, {old: new for old, new in names.items() if old not in kept})
    ends = tuple(_renamed(made[form.output_name(index)], names) for index in range(outputs))
    return Frozen(
        graph,
        tuple(f"{form.input_name(index)}:0" for index in range(inputs)),
        ends,
        tuple(_maker(graph, name) for name in ends),
    )


def save(frozen: Frozen, folder: Path) -> None:
    """Write a frozen graph as a SavedModel with the form's own names."""
    import tensorflow as tf

    # Placeholders that are replaced (input_map) get names that TensorFlow itself refuses when nothing stands before.
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(frozen.graph, name=""), [])
    inputs = [whole.graph.get_tensor_by_name(name) for name in frozen.inputs]
    outputs = {
        form.output_name(index): whole.graph.get_tensor_by_name(name) for index, name in enumerate(frozen.outputs)
    }
    module = tf.Module()
    module.serve = whole.prune(inputs, outputs)
    tf.saved_model.save(module, str(folder), signatures={form.SERVING: module.serve})


def _tensor(structured: dict[str, Any], name: str, flat: Sequence[Any]) -> str:
    """The name of an output in the frozen graph, which lists them as the signature does: sorted by key."""
    return str(flat[sorted(structured).index(name)].name)


def _maker(graph: Any, tensor: str) -> str:
    places = {node.name: node for node in graph.node}
    node = places[tensor.partition(":")[0]]
    while node.op == "Identity":
        node = places[node.input[0].partition(":")[0]]
    return str(node.name)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename nodes, in place, everywhere they are named."""
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [_renamed(name, names) for name in node.input]
        node.attr.pop("_class", None)  # which nodes share a device: named by strings, and of no use here


def _renamed(tensor: str, names: dict[str, str]) -> str:
    """A tensor's name (``name``, ``name:1``, ``^name``) with its node renamed."""
    control = "^" if tensor.startswith("^") else ""
    node, colon, index = tensor.removeprefix("^").partition(":")
    return f"{control}{names.get(node, node)}{colon}{index}"
