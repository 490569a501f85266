"""``--layers`` on an ONNX file: its inner tensors as outputs.

An output must exist, so ONNX Runtime cannot compute what makes it together with what reads it. Which tensors it still
makes is read off the graph that it runs, and those of quantized files are taken from that graph alone: there the
integer kernels are what is to be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters import tapping
from converters.facts import unchecked_reading
from converters.graph import ONNX
from converters.onnx import _graph as graphs
from converters.onnx import _scales, _unsigned, loading
from converters.onnx._arithmetic import is_scaffolding
from converters.onnx._chains import INTEGERS, SAME, chain_of, module_of
from converters.onnx._graph import Graph
from converters.onnx._optimized import Optimized, optimized
from converters.onnx.layers import read_inside
from converters.tapping import Row, Tapped
from edgekit.plugins import Tap

_SUFFIXES = ("_QuantizeLinear_Output", "_QuantizeLinear_Input", "_DequantizeLinear_Output", "_quantized")
_QUANTIZED = ("DynamicQuantizeLinear", "QAttention", "QGemm", "QuantizeLinear")
_CONSTANT = ("Constant", "Shape", "Size")  # values of the file, or of the sizes that it gets
_FINDS = frozenset({"Compress", "NonMaxSuppression", "NonZero", "StringSplit", "Unique"})


def tap(path: str, into: str, exact: bool) -> Tapped:
    """Write an ONNX file whose inner tensors are outputs. Runs in a child.

    Args:
        path: The file.
        into: To write; the weights of models that keep them apart are copied beside it.
        exact: Leave out what ONNX Runtime computes together with what follows; of quantized files that is always left
            out.

    Returns:
        As :class:`edgekit.plugins.Tap` says. Sizes of a batch that is open are those of one sample.

    Raises:
        ConversionError: The file is damaged, weights that belong to it are missing, or ONNX Runtime cannot load it.
        UnsupportedError: It is of a later version of ONNX, or has nothing inside.
    """
    source, target = Path(path), Path(into)
    with unchecked_reading(source, "ONNX", "onnx"):
        proto, apart = loading.opened(source)
        proto = loading.inlined(proto, source)
        graph = graphs.read(source)
    own = shown = optimized(source, target.parent)
    notes = []
    unsigned = _unsigned.make(proto, graph)
    if unsigned:
        notes.append(f"{unsigned} of its tensors are signed, and are shown unsigned, as ONNX Runtime has them on x86.")
        _write(proto, apart, (), target)
        graph, shown = graphs.read(target), optimized(target, target.parent)
    facts = _Facts.of(graph)
    names, more = _chosen(facts, shown, exact)
    rows = _rows(names, facts)
    tapping.check_any(rows, path)
    _write(proto, apart, rows, target)
    made = optimized(target, target.parent)
    kept = [row for row in rows if _learn(row, made)]
    if len(kept) < len(rows):
        more += tapping.left_out("they hold no numbers", [row["tensor"] for row in rows if row not in kept])
        _write(proto, apart, kept, target)
        made = optimized(target, target.parent)
    return {"taps": kept, "notes": notes + more + _other_notes(kept, facts) + _compared(own, made)}


@dataclass(frozen=True)
class _Facts:
    """What is known of a file.

    Attributes:
        graph: Read.
        constant: Names of what is stored, and of what is computed of that alone.
        unsteady: Of what may have another size for each sample.
        outputs: Of what the model returns.
        quantized: Whether there are integers inside.
    """

    graph: Graph
    constant: frozenset[str]
    unsteady: frozenset[str]
    outputs: frozenset[str]
    quantized: bool

    @classmethod
    def of(cls, graph: Graph) -> _Facts:
        """Look at a file."""
        constant, unsteady, quantized = set(graph.constants), set[str](), False
        for node in graph.nodes:
            given, made = list(filter(None, node.input)), list(filter(None, node.output))
            inner = any(item.HasField("g") or item.graphs for item in node.attribute)
            known = bool(given) and not inner and all(name in constant for name in given)
            if known or node.op_type in _CONSTANT:
                constant.update(made)
                continue
            quantized |= node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")
            if node.op_type in _FINDS or unsteady.intersection(given):
                unsteady.update(name for name in made if _sizes(name, graph) is None)
        outputs = frozenset(item.name for item in graph.outputs)
        return cls(graph, frozenset(constant), frozenset(unsteady), outputs, quantized)


def _sizes(name: str, graph: Graph) -> tuple[int, ...] | None:
    """Of a tensor; ``None`` where some are open."""
    shape = graph.values[name].shape if name in graph.values else None
    sizes = tuple(size for size in shape or () if size is not None)
    return sizes if shape is not None and len(sizes) == len(shape) else None


def _chosen(facts: _Facts, whole: Optimized, exact: bool) -> tuple[list[str], list[str]]:
    """Names of the tensors to look at, in the order of the nodes, and notes on those that are not."""
    chosen: list[str] = []
    sized: list[str] = []
    fused: list[str] = []
    for node in facts.graph.nodes:
        for name in filter(None, node.output):
            if name in facts.outputs:
                if name not in facts.constant:
                    chosen.append(name)
            elif not _is_value(name, node, facts):
                continue
            elif name in facts.unsteady:
                sized.append(name)
            elif (exact or facts.quantized) and not whole.keeps(name):
                fused.append(name)
            else:
                chosen.append(name)
    notes = tapping.left_out("their sizes depend on values", sized)
    # In a quantized file every integer operator has such tensors, and its result is looked at.
    notes += [] if facts.quantized else tapping.left_out("ONNX Runtime computes them together with others", fused)
    return chosen, notes


def _is_value(name: str, node: Any, facts: _Facts) -> bool:
    """Whether a tensor is worth a look: numbers that depend on the inputs, and that no other tensor shows as well."""
    graph = facts.graph
    readers = graph.consumers.get(name, [])
    if name in facts.constant or not readers or _sizes(name, graph) == ():
        return False
    if len(readers) == 1 and readers[0].op_type in SAME and readers[0].output[0] in facts.outputs:
        return False
    if node.op_type in SAME or (node.op_type in ("Max", "Mean", "Min", "Sum") and len(node.input) == 1):
        return False
    if node.op_type in INTEGERS or (
        is_scaffolding(node, graph) and all(is_scaffolding(item, graph) for item in readers)
    ):
        return False
    if node.op_type == "Cast" and any(maker.op_type in INTEGERS for maker in _makers(node, graph)):
        return False
    if all(reader.op_type == "QuantizeLinear" for reader in readers):
        return False
    known = graph.values[name].dtype if name in graph.values else ""
    return (not known or known in tapping.DTYPES) and 0 not in (_sizes(name, graph) or ())


def _makers(node: Any, graph: Graph) -> list[Any]:
    return [graph.producers[name] for name in node.input if name in graph.producers]


def _rows(names: Sequence[str], facts: _Facts) -> list[Row]:
    graph = facts.graph
    shown = set(names) | {item.name for item in graph.inputs}

    def behind(name: str) -> list[str]:
        maker = graph.producers.get(name)
        return [] if maker is None or name in facts.constant else [*filter(None, maker.input), *read_inside(maker)]

    rows: list[Row] = []
    for name in names:
        chain = chain_of(name, shown, graph)
        scale, zero_point, _ = _scales.of(name, graph)
        value = graph.values.get(name)
        rows.append(
            {
                "output": name,
                "tensor": name,
                "operator": chain[0].op_type,
                "module": module_of(chain),
                "inputs": tapping.sources(behind(name), shown, behind),
                "scale": scale,
                "zero_point": zero_point,
                "shape": list(value.shape) if value is not None and value.shape is not None else [],
                "dtype": value.dtype if value is not None else "",
                "twin": _twin(name, graph),
            }
        )
    return rows


def _twin(name: str, graph: Graph) -> str:
    maker = graph.producers[name]
    rounded = maker.op_type == "QuantizeLinear"
    return tapping.without_suffix(maker.input[0] if rounded else name, _SUFFIXES)


def _write(proto: Any, apart: Mapping[str, loading.Stretch], rows: Sequence[Row], into: Path) -> None:
    """Write the model with more outputs; those of an unknown type get theirs from ONNX Runtime."""
    import onnx

    own = {item.name for item in proto.graph.output}
    count = len(proto.graph.output)
    for row in rows:
        if row["output"] in own:
            continue
        item = proto.graph.output.add(name=row["output"])
        if row["dtype"]:
            # No sizes: those that were inferred are of one sample.
            item.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(_np_dtype(row["dtype"]))
    if apart:
        loading.write_apart(proto, apart, into)
    else:
        into.write_bytes(proto.SerializeToString())
    del proto.graph.output[count:]


def _np_dtype(name: str) -> Any:
    import numpy as np

    return np.dtype(name)


def _learn(row: Row, made: Optimized) -> bool:
    """Take from ONNX Runtime what was not known; whether it is a tensor of numbers."""
    row["dtype"] = made.dtypes[row["output"]]
    row["shape"] = row["shape"] or list(made.shapes[row["output"]])
    return row["dtype"] in tapping.DTYPES


def _other_notes(rows: Sequence[Row], facts: _Facts) -> list[str]:
    sizes = [_sizes(row["tensor"], facts.graph) for row in rows]
    total = sum(
        math.prod(shape) * _np_dtype(row["dtype"]).itemsize
        for row, shape in zip(rows, sizes, strict=True)
        if shape is not None
    )
    notes = tapping.bytes_note(total)
    channels = [row["tensor"] for row in rows if _scales.of(row["tensor"], facts.graph)[2]]
    if channels:
        notes.append(f"Quantized with a scale for each channel, and shown as the integers they are: {channels[0]}.")
    if facts.graph.inner_nodes:
        notes.append(
            f"{len(facts.graph.inner_nodes)} of its operators are inside others (branches, bodies of loops) and cannot "
            "be outputs; they are not looked at."
        )
    return notes


def _compared(whole: Optimized, tapped: Optimized) -> list[str]:
    """What the outputs have kept ONNX Runtime from."""
    gone = {kind: count - tapped.computing.get(kind, 0) for kind, count in whole.computing.items()}
    lost = [f"{count} {kind}" for kind, count in sorted(gone.items()) if count > 0]
    if not lost:
        return []
    return [f"As its inner tensors are outputs, ONNX Runtime does not make {', '.join(lost)} of its operators."]


TAP = Tap(
    form=ONNX,
    entry="converters.onnx.tap:tap",
    preload=("onnxruntime",),
    packages=("onnx", "onnxruntime"),
    extra="onnx",
)
