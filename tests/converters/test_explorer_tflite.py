from __future__ import annotations

import sys
from pathlib import Path

import pytest

from converters.tflite.inspect import inspect

pytest.importorskip("ai_edge_litert", reason="needs the tflite extra")

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tflite_files import Builder

Signatures = list[tuple[str, int]]


@pytest.mark.parametrize(
    ("names", "signatures", "shown"),
    [
        (["main"], [("serving_default", 0)], ["main"]),
        (["own"], [], ["own"]),
        ([None], [("serving_default", 0), ("other", 0)], ["serving_default"]),
        ([None], [("", 0)], ["main"]),
        ([None], [], ["main"]),
        (["main", None], [], ["main", "subgraph_1"]),
        (["", None], [("first", 0)], ["first", "subgraph_1"]),
        (["main", None], [("second", 1)], ["main", "second"]),
        (["main", "main"], [], [None, None]),
    ],
)
def test_graphs_and_nodes(
    names: list[str | None], signatures: Signatures, shown: list[str | None], tmp_path: Path
) -> None:
    """As Model Explorer's reader called them, for files with the same names (ai-edge-model-explorer 0.1.34)."""
    file = Builder()
    for index, name in enumerate(names):
        if index:
            file.new_graph()
        file.graph.name = name
        tensors = [file.tensor(f"t{place}", [1, 4]) for place in range(3)]
        file.operator("RELU", tensors[:1], tensors[1:2])
        file.operator("TANH", tensors[1:2], tensors[2:])
        file.borders(tensors[:1], tensors[2:])
    for key, graph in signatures:
        file.signature(key, {"x": 0}, {"y": 2}, graph)
    facts = inspect(str(file.write(tmp_path / "m.tflite", [0], [2])))
    found = [(row["operator"], row["explorer"]) for row in facts["work"]]
    assert found == [
        (kind, graph and (graph, str(place))) for graph in shown for place, kind in enumerate(("RELU", "TANH"))
    ]
