"""Branches of TensorFlow 1 whose condition is a constant, mostly those between training and inference.

Such a branch is a Switch for each tensor that goes in, and a Merge for each that comes out. With the condition known,
one side is dead, and both ends are plain wires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.saved_model import graphs

_SWITCH, _MERGE = ("Switch", "RefSwitch"), ("Merge", "RefMerge")
_LOGIC = {"LogicalNot": np.logical_not, "LogicalAnd": np.logical_and, "LogicalOr": np.logical_or}


def resolved(graph: Any, ends: Sequence[str]) -> tuple[Any, list[str]]:
    """The graph without these branches.

    Args:
        graph: ``GraphDef`` without variables; functions are left alone.
        ends: Names of tensors.

    Returns:
        A new graph, and where the tensors are in it. Branches whose condition depends on an input stay.
    """
    branches = _Branches(graph)
    made = type(graph)()
    made.CopyFrom(graph)
    for node in made.node:
        given = [item for item in node.input if not item.startswith("^")]
        # What a live side waited for has happened: it always runs.
        waits = [item for item in node.input if item.startswith("^") and item[1:] not in branches.conditions]
        node.input[:] = [*map(branches.followed, given), *waits]
    followed = [branches.followed(item) for item in ends]
    return graphs.pruned(made, [graphs.split(item)[0] for item in followed]), followed


class _Branches:
    """What is known of the branches of a graph.

    Attributes:
        conditions: Name of each Switch whose condition is known, and that.
    """

    def __init__(self, graph: Any) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self.conditions: dict[str, bool] = {}
        for node in graph.node:
            if node.op in _SWITCH and (value := self._value(node.input[1], frozenset())) is not None:
                self.conditions[node.name] = bool(value)
        self._dead = set[str]()
        found = True
        while found:
            new = {name for name, node in self._nodes.items() if name not in self._dead and self._is_dead(node)}
            self._dead |= new
            found = bool(new)

    def followed(self, tensor: str) -> str:
        """Where a tensor comes from, past the ends of branches that are known."""
        while True:
            name, index = graphs.split(tensor)
            node = self._nodes.get(name)
            if node is not None and name in self.conditions and index == int(self.conditions[name]):
                tensor = node.input[0]
                continue
            if node is not None and node.op in _MERGE and index == 0:
                given = [item for item in node.input if not item.startswith("^")]
                alive = [item for item in given if not self._is_dead_tensor(item)]
                if len(alive) == 1 < len(given):
                    tensor = alive[0]
                    continue
            return tensor

    def _is_dead(self, node: Any) -> bool:
        given = [self._is_dead_tensor(item) for item in node.input if not item.startswith("^")]
        waits = [item[1:] in self._dead for item in node.input if item.startswith("^")]
        if node.op in _MERGE:
            return all(given) or any(waits)
        return any(given) or any(waits)

    def _is_dead_tensor(self, tensor: str) -> bool:
        name, index = graphs.split(tensor)
        return name in self._dead or (name in self.conditions and index != int(self.conditions[name]))

    def _value(self, tensor: str, seen: frozenset[str]) -> Any:
        """The value of a condition; ``None`` where it depends on an input, or is computed in other ways."""
        import tensorflow as tf

        name, _ = graphs.split(tensor)
        node = self._nodes.get(name)
        if node is None or name in seen:  # in a loop
            return None
        if node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor)
            return value if value.size == 1 else None
        if node.op == "Identity" or node.op in _SWITCH:
            return self._value(node.input[0], seen | {name})
        if node.op in _LOGIC:
            given = [self._value(item, seen | {name}) for item in node.input if not item.startswith("^")]
            return None if any(item is None for item in given) else _LOGIC[node.op](*given)
        return None
