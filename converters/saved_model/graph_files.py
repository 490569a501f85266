"""Frozen graphs: ``.pb`` files that hold a GraphDef, and nothing that says what goes in and comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.saved_model import graphs, kinds
from converters.saved_model.entries import Entry, parse
from converters.saved_model.graphs import Endpoint
from edgekit.errors import UnsupportedError, UsageError
from edgekit.inputs import parse as parse_input
from edgekit.requests import LoadRequest
from edgekit.types import TensorSpec

_NO_SINKS = frozenset(
    "Assert CheckNumerics Const NoOp Placeholder PlaceholderWithDefault Print PrintV2 SaveV2 Save".split()
)
"""What may end a graph and is no output: checks, and leftovers."""

_SCALARS_UNKNOWN = 21
"""Up to this version of GraphDef, a placeholder of an unknown shape looks like one of a scalar."""

_SHOWN = 8


def of_graph(request: LoadRequest, every_sink: bool = False) -> Entry:
    """The part of a frozen graph that a user asked for.

    Args:
        request: ``outputs`` names tensors to return, ``inputs`` those to start from.
        every_sink: Take all ends of the graph where none is named, in place of asking.

    Raises:
        UsageError: Names that the graph has not, or several ends to choose from.
        UnsupportedError: The graph has no weights, or takes strings.
        ConversionError: The file is damaged.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    path = Path(request.path)
    if request.signature is not None:
        raise UsageError(
            f"--signature {request.signature}: a frozen graph has no signatures.", hint="--output-name NAME"
        )
    graph = parse(GraphDef(), path.read_bytes(), path)
    outputs = [_named_output(name, graph) for name in dict.fromkeys(request.outputs)]
    notes: tuple[str, ...] = ()
    if not outputs:
        outputs = _sinks(graph, path, every_sink)
        notes = (f"The graph ends in {', '.join(item.name for item in outputs)}, which was taken for the output.",)
    cuts = _named_inputs(request, graph)
    rest = _placeholders(graphs.pruned(graphs.cut(graph, cuts), [_node(item, cuts) for item in outputs]))
    inputs = [*cuts, *rest]
    if not inputs:
        raise UsageError(
            f"{path}: nothing goes into {', '.join(item.name for item in outputs)}: it is a constant.",
            hint="--output-name NAME of a tensor that depends on an input",
        )
    if len(inputs) == 1 and not cuts:
        inputs = [_unnamed(inputs[0], request)]
    used = graphs.pruned(graphs.cut(graph, inputs), [_node(item, inputs) for item in outputs])
    _refuse_idle(inputs, outputs, used)
    _refuse(used, inputs, path)
    return Entry(path, str(kinds.Kind.GRAPH), graph, tuple(inputs), tuple(outputs), notes=notes)


def refuse_alone(path: Path) -> None:
    """What to say to ``saved_model.pb`` where its folder is meant.

    Raises:
        UsageError: Always.
    """
    beside = (path.parent / "variables").is_dir() or path.name == kinds.FILE
    raise UsageError(
        f"{path}: this is a part of a SavedModel, which is a folder.",
        hint=f"Name the folder: {path.absolute().parent.name or path.parent}"
        if beside
        else f"Name it {kinds.FILE}, in a folder together with its folder 'variables', and name that folder.",
    )


def _named_output(name: str, graph: Any) -> Endpoint:
    node, index = graphs.existing_tensor(name, graph, "--output-name")
    return _endpoint(name, node, index, graph)


def _endpoint(name: str, node: Any, index: int, graph: Any) -> Endpoint:
    known = graphs.returned(node, graph)
    dtype = known[index] if known else "unknown"
    shape = graphs.sizes(node.attr["shape"].shape) if node.op == "Placeholder" and "shape" in node.attr else None
    if not shape and graph.versions.producer <= _SCALARS_UNKNOWN:
        shape = None
    return Endpoint(name, f"{node.name}:{index}", dtype, shape)


def _sinks(graph: Any, path: Path, every_sink: bool) -> list[Endpoint]:
    used = {graphs.split(item)[0] for node in graph.node for item in node.input}
    ends = [node for node in graph.node if node.name not in used and node.op not in _NO_SINKS]
    found = []
    for node in ends:
        count = len(graphs.returned(node, graph) or [""])
        names = [node.name, *(f"{node.name}:{index}" for index in range(1, count))]
        found += [_endpoint(name, node, index, graph) for index, name in enumerate(names[:count])]
    if not found:
        raise UnsupportedError(f"{path}: the graph has no operator that could be its output.")
    if len(ends) > 1 and not every_sink:
        shown = ", ".join(f"{node.name} ({node.op})" for node in ends[:_SHOWN])
        more = f", and {len(ends) - _SHOWN} more" if len(ends) > _SHOWN else ""
        raise UsageError(
            f"{path}: the graph has {len(ends)} ends, and nothing says which of them are outputs: {shown}{more}.",
            hint=" ".join(f"--output-name {node.name}" for node in ends[:2]),
        )
    return found


def _named_inputs(request: LoadRequest, graph: Any) -> list[Endpoint]:
    return [_cut(item, option, graph) for option in request.inputs if (item := parse_input(option)).name]


def _cut(item: TensorSpec, option: str, graph: Any) -> Endpoint:
    """An input where the user wants it: a placeholder, or any other tensor."""
    node, index = graphs.existing_tensor(item.name, graph, "--input")
    found = _endpoint(item.name, node, index, graph)
    typed = option.rpartition("=")[2].partition(":")[1]
    dtype = item.dtype if found.dtype == "unknown" else found.dtype
    if typed and dtype != item.dtype:
        raise UsageError(f"--input {option}: {item.name} is {dtype} in the graph.", hint="Leave the dtype out.")
    return Endpoint(item.name, found.tensor, dtype, item.shape if found.shape is None else found.shape)


def _unnamed(found: Endpoint, request: LoadRequest) -> Endpoint:
    """The only input, with a shape that was given without a name where the graph has none."""
    shapes = [item.shape for item in map(parse_input, request.inputs) if not item.name]
    shape = shapes[0] if found.shape is None and shapes else found.shape
    return Endpoint(found.name, found.tensor, found.dtype, shape)


def _placeholders(graph: Any) -> list[Endpoint]:
    own = [node for node in graph.node if node.op == "Placeholder" and not node.name.startswith(graphs.PREFIX)]
    return [_endpoint(node.name, node, 0, graph) for node in own]


def _node(item: Endpoint, inputs: list[Endpoint]) -> str:
    return graphs.split(graphs.source_of(item.tensor, inputs))[0]


def _refuse_idle(inputs: list[Endpoint], outputs: list[Endpoint], graph: Any) -> None:
    names = {node.name for node in graph.node}
    for index, item in enumerate(inputs):
        if graphs.input_node(index) not in names:
            made = ", ".join(output.name for output in outputs)
            raise UsageError(f"--input {item.name}=…: {made} does not depend on it.", hint="Leave it out.")


def _refuse(graph: Any, inputs: list[Endpoint], path: Path) -> None:
    """Refuse graphs without their weights, and strings as inputs."""
    variables = [node.name for node in graph.node if node.op in graphs.VARIABLES]
    if variables:
        shown = ", ".join(variables[:3])
        raise UnsupportedError(
            f"{path}: the graph has {len(variables)} variables ({shown}…) and not their values: it is not frozen.",
            hint="Name the SavedModel folder it was made from, or freeze it with its checkpoint.",
        )
    strings = [item for item in inputs if not graphs.is_plain(item.dtype)]
    if strings:
        takers = [node.name for node in graph.node if any(item.startswith(graphs.PREFIX) for item in node.input)]
        raise UnsupportedError(
            f"{path}: the graph takes {', '.join(map(str, strings))}; edge runtimes take numbers.",
            hint=f"Start behind it: --input NAME=1,224,224,3, where NAME is what {', '.join(takers[:3])} makes.",
        )
