"""Conversion is a walk on a graph: forms are nodes, steps are edges.

A node is a form together with the scheme that the file is in, so quantization is a step like any other. A source
turns a user's file into one of the first three forms; the planner finds the way from there.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from typing import TypedDict

from edgekit.plugins import Edge, Node, Step

TORCH_EXPORT = "torch.export"
SAVED_MODEL = "SavedModel"
"""A folder that :func:`converters.saved_model.form.write` has written."""
STABLEHLO = "StableHLO"
"""A serialized ``jax.export.Exported``, a pure function with its weights inside."""
ONNX = "ONNX"
TFLITE = "TFLite"
PTE = "pte"

_FLOAT = "float32"


class StepArguments(TypedDict):
    """What the job of every step gets, as keyword arguments.

    Attributes:
        source: Path of the file to convert.
        output: Path of the file to write.
        scheme: Name of the scheme to arrive at.
        signature: :class:`edgekit.types.Signature` as JSON: the names the file must carry.
        ranges: The file (:mod:`converters.calibration.ranges`) with the ranges of the tensors of ``source``, for
            schemes that need calibration; else ``None``.
        settings: :class:`edgekit.types.Quantization` as JSON; float schemes leave it alone.
    """

    source: str
    output: str
    scheme: str
    signature: dict[str, object]
    ranges: str | None
    settings: dict[str, object]


class StepResult(TypedDict):
    """What it returns.

    Attributes:
        stayed_float: ``{"operator", "name"}`` of each operator that a quantizing step left float.
        undelegated: The same, of each operator that the runtime's delegate does not take.
        notes: What a user should know, a sentence each.
        packages: Distributions whose versions belong in the result.
    """

    stayed_float: list[dict[str, str]]
    undelegated: list[dict[str, str]]
    notes: list[str]
    packages: list[str]


def edges(steps: Iterable[Step]) -> list[Edge]:
    """Each step once per pair of schemes it joins."""
    return [
        Edge(step, Node(step.source, before), Node(step.target, after))
        for step in steps
        for before, after in step.schemes
    ]


def plan(source: Node, target: Node, steps: Iterable[Step]) -> list[Edge] | None:
    """The shortest way from one node to another.

    Of several, one that changes the scheme least: what is quantized stays so. Then the one that quantizes last, in the
    form of the target, by that runtime's own quantizer.

    Args:
        source: What there is.
        target: What is wanted.
        steps: All steps known.

    Returns:
        Edges in order, empty when there is nothing to do; ``None`` when no way exists. No way comes back to a form
        that it has left: a quantized file is not made float through another format.
    """
    leaving: dict[Node, list[Edge]] = {}
    for edge in edges(steps):
        leaving.setdefault(edge.source, []).append(edge)
    seen: set[Node] = set()
    order = itertools.count()
    todo: list[tuple[int, int, int, int, Node, list[Edge]]] = [(0, 0, 0, next(order), source, [])]
    while todo:
        length, changes, quantized, _, node, way = heapq.heappop(todo)
        if node == target:
            return way
        if node in seen:
            continue
        seen.add(node)
        for edge in leaving.get(node, ()):
            if edge.target not in seen and not _returns(way, edge):
                cost = (length + 1, changes + _changes(edge), quantized + (edge.source.scheme != _FLOAT))
                heapq.heappush(todo, (*cost, next(order), edge.target, [*way, edge]))
    return None


def _changes(edge: Edge) -> bool:
    return edge.source.scheme != edge.target.scheme


def _returns(way: list[Edge], edge: Edge) -> bool:
    return edge.step.source != edge.step.target and any(edge.target.form == before.source.form for before in way)
