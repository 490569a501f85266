"""``--layers`` on a TFLite file: its inner tensors as outputs.

The file stays as it is but for the list of its outputs, so XNNPACK gets the same operators. LiteRT's own way to keep
all tensors (``experimental_preserve_all_tensors``) gives it one operator at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters import tapping
from converters.facts import unchecked_reading
from converters.graph import TFLITE
from converters.tapping import Row, Tapped
from converters.tflite import _file, _names, layers
from converters.tflite._file import Model, Operator, Tensor, numbers, text
from edgekit.errors import UnsupportedError
from edgekit.plugins import Tap

_LARGEST = 2_000_000_000
_SERVED = "serving_default"  # what the agent runs where a file has it
_SUFFIXES = ("_quantized", "_dequant")  # that LiteRT's quantizer gives what it puts in

_CLAMPS = frozenset("RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1".split())
_CLAMPED = frozenset(
    "ADD AVERAGE_POOL_2D CONV_2D DEPTHWISE_CONV_2D DIV FULLY_CONNECTED MAX_POOL_2D MUL SUB TRANSPOSE_CONV".split()
)
_PADDED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_SIZES = ("RANK", "SHAPE")
_FINDS = frozenset({"UNIQUE", "WHERE"})


def tap(path: str, into: str, exact: bool) -> Tapped:
    """Write a TFLite file whose inner tensors are outputs. Runs in a child.

    Args:
        path: The file.
        into: To write.
        exact: Leave out what XNNPACK computes together with what follows: operators before a clamp of their own, and
            padding before a convolution.

    Returns:
        As :class:`edgekit.plugins.Tap` says.

    Raises:
        ConversionError: The file is truncated or damaged.
        UnsupportedError: It is too large to be rewritten, or has nothing inside.
    """
    source = Path(path)
    size = source.stat().st_size
    if size > _LARGEST:
        raise UnsupportedError(
            f"{path}: {size / 1e9:.1f} GB, and only TFLite files up to 2 GB can be rewritten to show their layers.",
            hint="Compare its outputs alone: leave --layers out.",
        )
    with unchecked_reading(source, "TFLite", "ai-edge-litert"):
        model = _file.read(source)
        notes = _serve_first(model)
        graph = _Graph.of(model)
        rows, more = _rows(graph, exact)
        tapping.check_any(rows, path)
        _add_outputs(graph, rows)
        Path(into).write_bytes(_file.serialized(model.raw, source.read_bytes()))
    return {"taps": rows, "notes": notes + more}


@dataclass(frozen=True)
class _Graph:
    """The subgraph that is run.

    Attributes:
        model: It is in.
        names: Of its tensors, by index.
        makers: The operator that makes a tensor, by index.
        readers: How often each tensor is read, and by whom.
        outputs: Names of its outputs, by index of the tensor.
        all_outputs: All names that outputs have.
    """

    model: Model
    names: list[str]
    makers: Mapping[int, Operator]
    readers: Mapping[int, list[Operator]]
    outputs: Mapping[int, str]
    all_outputs: frozenset[str]

    @classmethod
    def of(cls, model: Model) -> _Graph:
        """Read it off a file."""
        raw = model.raw.subgraphs[model.entry]
        names = _names.distinct(model)[model.entry]
        makers, readers = dict[int, Operator](), dict[int, list[Operator]]()
        for item in model.subgraphs[model.entry]:
            makers.update({tensor.index: item for tensor in item.outputs})
            for tensor in filter(None, item.inputs):
                readers.setdefault(tensor.index, []).append(item)
        definition = _signature(model)
        entries = [(int(item.tensorIndex), text(item.name)) for item in (definition and definition.outputs) or ()]
        if definition is None:
            entries = [(index, model.tensors[model.entry][index].name) for index in numbers(raw.outputs)]
        outputs = dict(reversed(entries))  # of two names the first
        return cls(model, names, makers, readers, outputs, frozenset(name for _, name in entries))

    @property
    def raw(self) -> Any:
        """Its ``SubGraphT``."""
        return self.model.raw.subgraphs[self.model.entry]

    @property
    def operators(self) -> list[Operator]:
        """In the order they run."""
        return self.model.subgraphs[self.model.entry]


def _serve_first(model: Model) -> list[str]:
    """Put the signature that the agent runs first: what reads files takes that one for the file's."""
    signatures = list(model.raw.signatureDefs or ())
    keys = [text(item.signatureKey) for item in signatures]
    if len(keys) < 2:
        return []
    served = keys.index(_SERVED) if _SERVED in keys else 0
    model.raw.signatureDefs = [signatures[served], *signatures[:served], *signatures[served + 1 :]]
    return [f"It has {len(keys)} signatures; its layers are those of {keys[served]!r}."]


def _signature(model: Model) -> Any:
    return model.raw.signatureDefs[0] if model.raw.signatureDefs else None


def _rows(graph: _Graph, exact: bool) -> tuple[list[Row], list[str]]:
    """What is tapped, and what to say of what is not."""
    constant, unsteady = _constant(graph), _unsteady(graph)
    unread = _names.unread_of_loops(graph.model)
    sized: list[str] = []
    fused: list[str] = []
    chosen: list[tuple[int, Tensor]] = []
    for place, item in enumerate(graph.operators):
        for tensor in item.outputs:
            if tensor.index in constant or tensor.index in unread or not _is_shown(tensor, graph):
                continue
            if tensor.index in unsteady and tensor.index not in graph.outputs:
                sized.append(graph.names[tensor.index])
            elif exact and tensor.index not in graph.outputs and _is_fused(tensor, item, graph):
                fused.append(graph.names[tensor.index])
            else:
                chosen.append((place, tensor))
    notes = tapping.left_out("their sizes depend on values", sized)
    notes += tapping.left_out("XNNPACK computes them together with what follows", fused)
    return _described(chosen, graph), notes + _other_notes(graph, chosen)


def _is_shown(tensor: Tensor, graph: _Graph) -> bool:
    held = graph.raw.tensors[tensor.index].isVariable or tensor.stored_bytes
    return tensor.dtype in tapping.DTYPES and not held and tensor.elements > 0


def _constant(graph: _Graph) -> set[int]:
    """What is computed of stored tensors or of shapes alone: weights that are dequantized, sizes that are put together.

    XNNPACK reads such weights where they are stored; as outputs they would have to be computed.
    """
    found = {tensor.index for tensor in graph.model.tensors[graph.model.entry] if tensor.stored_bytes}
    for item in graph.operators:
        given = [tensor.index for tensor in item.inputs if tensor is not None]
        if item.kind in _SIZES or (given and all(index in found for index in given)):
            found.update(tensor.index for tensor in item.outputs)
    return found


def _unsteady(graph: _Graph) -> set[int]:
    """What may have another size for each sample: as many elements as were found, and what is computed of them."""
    found: set[int] = set()
    for item in graph.operators:
        read = any(tensor is not None and tensor.index in found for tensor in item.inputs)
        open_ones = [tensor.index for tensor in item.outputs if None in tensor.sizes or item.kind in _FINDS]
        if item.kind in _FINDS or read:
            found.update(open_ones)
    return found


def _is_fused(tensor: Tensor, maker: Operator, graph: _Graph) -> bool:
    """Whether XNNPACK makes one operator of this one and the next (``xnn_subgraph_fusion`` in its ``subgraph.c``)."""
    readers = graph.readers.get(tensor.index, [])
    if len(readers) != 1:
        return False
    if readers[0].kind in _CLAMPS:
        return maker.kind in _CLAMPED
    return maker.kind in ("PAD", "PADV2") and readers[0].kind in _PADDED and readers[0].inputs[0] is tensor


def _described(chosen: list[tuple[int, Tensor]], graph: _Graph) -> list[Row]:
    listed = layers.of(graph.model)
    shown = {graph.names[tensor.index] for _, tensor in chosen}
    shown |= {graph.names[index] for index in numbers(graph.raw.inputs)}
    indices = {name: index for index, name in enumerate(graph.names)}
    taken = set(graph.all_outputs)

    def behind(name: str) -> list[str]:
        maker = graph.makers.get(indices[name])
        return [graph.names[tensor.index] for tensor in maker.inputs if tensor] if maker else []

    rows: list[Row] = []
    for place, tensor in chosen:
        item, name = graph.operators[place], graph.names[tensor.index]
        output = graph.outputs.get(tensor.index) or tapping.unused(name, taken)
        taken.add(output)
        scale, zero_point = _parameters(graph.raw.tensors[tensor.index])
        rows.append(
            {
                "output": output,
                "tensor": name,
                "operator": item.kind,
                "module": listed[place].path,
                "inputs": tapping.sources(behind(name), shown, behind),
                "scale": scale,
                "zero_point": zero_point,
                "shape": list(tensor.sizes),
                "dtype": tensor.dtype,
                "twin": tapping.without_suffix(name, _SUFFIXES),
            }
        )
    return rows


def _parameters(tensor: Any) -> tuple[float | None, int | None]:
    """Scale and zero point of the whole tensor."""
    found = tensor.quantization
    if found is None or found.scale is None or len(found.scale) != 1:
        return None, None
    return float(found.scale[0]), int(found.zeroPoint[0]) if found.zeroPoint is not None else 0


def _other_notes(graph: _Graph, chosen: list[tuple[int, Tensor]]) -> list[str]:
    import numpy as np

    inner = sum(len(item) for index, item in enumerate(graph.model.subgraphs) if index != graph.model.entry)
    notes = tapping.bytes_note(sum(tensor.elements * np.dtype(tensor.dtype).itemsize for _, tensor in chosen))
    if inner:
        notes.append(
            f"{inner} of its operators are in other subgraphs (bodies of loops, branches and composites), whose "
            "tensors cannot be outputs; they are not looked at."
        )
    return notes


def _add_outputs(graph: _Graph, rows: list[Row]) -> None:
    """Make the tensors outputs, in place; in a file without signatures they go by the names of the tensors."""
    from ai_edge_litert import schema_py_generated as schema

    indices = {name: index for index, name in enumerate(graph.names)}
    definition = _signature(graph.model)
    own = list(numbers(graph.raw.outputs))
    for row in rows:
        index = indices[row["tensor"]]
        if index in graph.outputs:
            continue
        if index not in own:
            own.append(index)
        if definition is None:
            graph.raw.tensors[index].name = row["output"].encode()
        else:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = row["output"].encode(), index
            definition.outputs = [*(definition.outputs or ()), entry]
    graph.raw.outputs = own


TAP = Tap(
    form=TFLITE,
    entry="converters.tflite.tap:tap",
    preload=("ai_edge_litert.interpreter",),
    packages=("ai_edge_litert",),
    extra="tflite",
)
