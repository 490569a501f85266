"""A TensorFlow graph in a session of its own, and its normal shape: one graph of constants, with fixed sizes.

A SavedModel is loaded as TensorFlow Serving does it: the graph is imported, the operator that reads the weights is
run, the tensors of the signature are fed and fetched. ``tf.saved_model.load`` builds Python objects beside, which is
where many older models fail, and it runs more of what a stranger has written. The operator that fills look-up tables
is not run: models that need it are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from converters.saved_model import checks, form, graphs, lists
from converters.saved_model.branches import resolved
from converters.saved_model.entries import Entry, Restore
from converters.saved_model.resources import read_before_gathering
from converters.saved_model.scopes import layer_names
from edgekit.errors import ConversionError, UnsupportedError, UsageError
from edgekit.feeds import Array
from edgekit.types import Signature, TensorSpec

_READ = "/Read/ReadVariableOp"
_HEADLINE = "Graph execution error:"
_LARGEST = (1 << 31) - (1 << 24)
"""Bytes of weights that a graph can hold; a protobuf message ends at 2 GiB, and its operators need some."""


@dataclass(frozen=True)
class Program:
    """A graph of constants with inputs of fixed sizes.

    Attributes:
        graph: ``GraphDef`` without functions, but for the bodies of loops and branches.
        inputs, outputs: Names of tensors, in order.
        shapes: Of the outputs, ``None`` for open sizes.
        operations: ``tf.Operation`` of all nodes, with inferred shapes, in an order in which they can run.
        notes: What was changed, a sentence each.
    """

    graph: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    operations: tuple[Any, ...]
    notes: tuple[str, ...]

    def call(self, *values: Any) -> list[Any]:
        """The outputs for TensorFlow tensors; for :func:`converters.saved_model.form.write`."""
        import tensorflow as tf

        given = dict(zip(self.inputs, values, strict=True))
        elements = list(self.outputs)
        return list(tf.graph_util.import_graph_def(self.graph, input_map=given, return_elements=elements, name=""))


class Running:
    """A graph in a session, with its weights.

    Attributes:
        graph: The part that its outputs need: ``GraphDef``.
    """

    def __init__(self, entry: Entry, session: Any, graph: Any) -> None:
        self.graph = graph
        self._entry, self._session = entry, session
        self._fetches = [graphs.source_of(item.tensor, entry.inputs) for item in entry.outputs]

    def run(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, of inputs by name.

        Raises:
            ConversionError: The model fails on them.
        """
        import tensorflow as tf

        entry = self._entry
        given = {f"{graphs.input_node(index)}:0": sample[item.name] for index, item in enumerate(entry.inputs)}
        try:
            values = self._session.run(self._fetches, given)
        except (tf.errors.OpError, ValueError) as error:
            shown = ", ".join(f"{item.name} {list(sample[item.name].shape)}" for item in entry.inputs)
            raise ConversionError(
                f"{entry.path}: the model fails on inputs {shown}: {_words(error)}",
                hint="Check the shapes and values of --input or --data against what the model was trained with.",
            ) from error
        return {item.name: np.asarray(value) for item, value in zip(entry.outputs, values, strict=True)}

    def frozen(self) -> Any:
        """The graph with its variables as constants: ``GraphDef``.

        Raises:
            ConversionError: TensorFlow cannot make them constants.
            UnsupportedError: There are too many of them.
        """
        from tensorflow.python.framework import convert_to_constants

        stored = sum(_stored_bytes(node) for node in self.graph.node)
        if stored > _LARGEST:
            raise UnsupportedError(
                f"{self._entry.path}: {stored / 1e9:.1f} GB of weights; a TensorFlow graph holds 2 GB of constants.",
                hint="Save the model in float16, or convert a part of it (--signature, --output-name).",
            )
        ends = list(dict.fromkeys(graphs.split(item)[0] for item in self._fetches))
        graph = self._session.graph.as_graph_def()
        read_before_gathering(graph)
        try:
            return convert_to_constants.convert_variables_to_constants_from_session_graph(self._session, graph, ends)
        except Exception as error:  # whatever TensorFlow's rewriting meets
            raise ConversionError(
                f"{self._entry.path}: TensorFlow cannot make the variables constants: {_words(error)}"
            ) from error


@contextmanager
def running(entry: Entry, trust: bool) -> Iterator[Running]:
    """Check a graph, import it and read its weights.

    Args:
        entry: What to run.
        trust: Whether operators may run that touch files or Python.

    Raises:
        UntrustedError: It holds some of those.
        UnsupportedError: It holds operators that cannot be converted.
        UsageError: It needs an input that it does not name.
        ConversionError: Its weights are missing or damaged.
    """
    import tensorflow as tf

    path = str(entry.path)
    whole = graphs.cut(entry.graph, entry.inputs)
    ends = [graphs.split(graphs.source_of(item.tensor, entry.inputs))[0] for item in entry.outputs]
    own = graphs.pruned(whole, ends)
    restoring = graphs.pruned(whole, [entry.restore.operator] if entry.restore else [])
    checks.refuse_untrusted(own, path, trust)
    checks.refuse_untrusted(restoring, path, trust, restoring=True)
    checks.refuse_unknown(own, path, frozen=entry.restore is None)
    checks.refuse_tables(own, path)
    checks.refuse_state(own, path)
    _refuse_open(own, path)
    restore = entry.restore if any(node.op in graphs.VARIABLES for node in own.node) else None
    fed = [graphs.input_node(index) for index in range(len(entry.inputs))]
    imported = graphs.pruned(
        whole, [*ends, *fed, *([restore.operator, graphs.split(restore.file)[0]] if restore else [])]
    )
    _add_reads(imported)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        _import(imported, entry)
        if restore is not None:
            _read_weights(session, restore)
        yield Running(entry, session, own)


def _refuse_open(graph: Any, path: str) -> None:
    """Refuse inputs that no one feeds."""
    found = [node.name for node in graph.node if node.op == "Placeholder" and not node.name.startswith(graphs.PREFIX)]
    if found:
        raise UsageError(
            f"{path}: the outputs also depend on {', '.join(found)}, which the signature does not have as an input.",
            hint="Choose another signature, or save the model with it as an input or a constant.",
        )


def _add_reads(graph: Any) -> None:
    """Give each variable the operator by which TensorFlow reads it when it makes it a constant; not all have it."""
    names = {node.name for node in graph.node}
    for node in [node for node in graph.node if node.op == "VarHandleOp"]:
        if node.name + _READ not in names:
            read = graph.node.add(name=node.name + _READ, op="ReadVariableOp", input=[node.name])
            read.attr["dtype"].CopyFrom(node.attr["dtype"])


def _import(graph: Any, entry: Entry) -> None:
    import tensorflow as tf

    try:
        tf.graph_util.import_graph_def(graph, name="", producer_op_list=entry.producer)
    except ValueError as error:
        raise ConversionError(
            f"{entry.path}: TensorFlow {tf.__version__} cannot import the graph: {_words(error)}",
            hint=f"It was made by TensorFlow {entry.version}." if entry.version else "",
        ) from error


def _read_weights(session: Any, restore: Restore) -> None:
    import tensorflow as tf

    index = restore.path.with_name(restore.path.name + ".index")
    if not index.is_file():
        raise ConversionError(
            f"{index}: no such file, and the weights of the model are in it.",
            hint="A SavedModel is the whole folder, variables/ included: copy it again.",
        )
    try:
        session.run(restore.operator, {restore.file: str(restore.path)})
    except tf.errors.OpError as error:
        raise ConversionError(
            f"{restore.path.parent}: the weights are missing in part, truncated or damaged: {_words(error)}",
            hint="Copy or download the folder again, and compare the sizes of its files with the original's.",
        ) from error


def static(frozen: Any, entry: Entry, inputs: Sequence[TensorSpec]) -> Program:
    """Bring a graph of constants into its normal shape.

    Args:
        frozen: ``GraphDef``, as :meth:`Running.frozen` makes it.
        entry: Where it comes from.
        inputs: With the sizes that it is to have.

    Raises:
        UnsupportedError: It holds strings, random numbers, or loops of TensorFlow 1.
        ConversionError: It cannot have these sizes.
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    specs = [
        tf.TensorSpec(spec.shape, tf.as_dtype(spec.dtype), name=form.input_name(index))
        for index, spec in enumerate(inputs)
    ]
    elements = [graphs.source_of(item.tensor, entry.inputs) for item in entry.outputs]
    if checks.has_old_control_flow(frozen):
        frozen, elements = resolved(frozen, elements)
        checks.refuse_old_control_flow(frozen, str(entry.path))

    here = {node.name for node in frozen.node}
    idle = [spec.name for index, spec in enumerate(inputs) if graphs.input_node(index) not in here]

    def serve(*values: Any) -> list[Any]:
        named = {graphs.input_node(index): value for index, value in enumerate(values)}
        given = {f"{name}:0": value for name, value in named.items() if name in here}
        made = tf.graph_util.import_graph_def(frozen, input_map=given, return_elements=elements, name="")
        return [tf.identity(item) for item in made]

    try:
        function = tf.function(serve, autograph=False).get_concrete_function(*specs)
        if frozen.library.function:
            # Functions that are called become part of the graph; loops stay operators, as converters want them.
            function = convert_to_constants.convert_variables_to_constants_v2(
                function, lower_control_flow=False, aggressive_inlining=True
            )
    except (ValueError, tf.errors.OpError) as error:
        raise ConversionError(
            f"{entry.path}: the graph cannot have inputs {', '.join(map(str, inputs))}: {_words(error)}",
            hint="Check the sizes of --input or --data.",
        ) from error
    graph, ends = function.graph.as_graph_def(), [item.name for item in function.outputs]
    made = _finished(graph, [item.name for item in function.inputs], ends, entry)
    notes = [f"Input {name!r} has no effect on the outputs." for name in idle]
    return replace(made, notes=(*made.notes, *notes))


def _finished(graph: Any, inputs: list[str], ends: list[str], entry: Entry) -> Program:
    import tensorflow as tf

    path, asserted = str(entry.path), any(node.op == "Assert" for node, _ in graphs.nodes(graph))
    for node in graph.node:
        # What is left changes nothing, so nothing needs to run before something else but for its value.
        node.input[:] = [item for item in node.input if not item.startswith("^")]
        node.attr.pop("_class", None)
    ends = graphs.without_identities(graph, ends)
    graph = graphs.pruned(graph, [graphs.split(item)[0] for item in (*inputs, *ends)])
    checks.refuse_random(graph, path)
    lists.fix_sizes(graph)
    renamed = _name_layers(graph, inputs, entry)
    outputs = [f"{renamed[graphs.split(item)[0]]}:{graphs.split(item)[1]}" for item in ends]
    with tf.Graph().as_default() as made:
        tf.graph_util.import_graph_def(graph, name="")
    operations = tuple(made.get_operations())
    checks.refuse_text((item for item in operations if any(out.dtype == tf.string for out in item.outputs)), path)
    notes = ["Checks of inputs inside the model (Assert) are left out."] if asserted else []
    tensors = [made.get_tensor_by_name(name) for name in outputs]
    if any(tensor.shape.rank is None for tensor in tensors):
        unknown = [item.name for item, tensor in zip(entry.outputs, tensors, strict=True) if tensor.shape.rank is None]
        raise UnsupportedError(
            f"{path}: not even the number of axes of {', '.join(unknown)} is known before the model runs.",
            hint="Set it in the model (tf.ensure_shape), or choose other outputs (--output-name).",
        )
    shapes = tuple(tuple(tensor.shape.as_list()) for tensor in tensors)
    return Program(graph, tuple(inputs), tuple(outputs), shapes, operations, tuple(notes))


def _name_layers(graph: Any, inputs: list[str], entry: Entry) -> dict[str, str]:
    """Name nodes after the model's layers, in place; old names to new ones."""
    variables = [node.name for node in entry.graph.node if node.op in graphs.VARIABLES]
    # What were variables has names outside the scope of the model, which would then not be seen to be one.
    weights = {node.name for node in graph.node}.intersection(variables)
    computed = [node.name for node in graph.node if node.name not in weights]
    names = layer_names(computed, [f"{name}:0" for name in variables])
    names |= {graphs.split(item)[0]: graphs.split(item)[0] for item in inputs}
    taken = {name.lower() for name in names.values()}
    names |= {name: f"{name}/weights" if name.lower() in taken else name for name in weights}
    for node in graph.node:
        node.name = names[node.name]
        node.input[:] = [f"{names[graphs.split(item)[0]]}:{graphs.split(item)[1]}" for item in node.input]
    return names


def signature(program: Program, entry: Entry, inputs: Sequence[TensorSpec]) -> Signature:
    """With the user's names, and open sizes of outputs as ``None``."""
    made = zip(entry.outputs, program.shapes, strict=True)
    return Signature(tuple(inputs), tuple(TensorSpec(item.name, shape, item.dtype) for item, shape in made))


def _stored_bytes(node: Any) -> int:
    if node.op not in graphs.VARIABLES:
        return 0
    shape, dtype = graphs.sizes(node.attr["shape"].shape) or (), graphs.dtype_name(node.attr["dtype"].type)
    return int(np.prod([size or 1 for size in shape], dtype=np.int64)) * (
        np.dtype(dtype).itemsize if graphs.is_plain(dtype) else 4
    )


def _words(error: BaseException) -> str:
    """What TensorFlow says, in one line, without the headline before it and the nodes it lists behind."""
    said = getattr(error, "message", None)
    lines = [line.strip() for line in str(said or error).splitlines()]
    told = [line for line in lines if line and line != _HEADLINE and not line.startswith("Detected at node")]
    first = told[0][:300] if told else type(error).__name__
    return first if said else f"{type(error).__name__}: {first}"
