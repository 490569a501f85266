"""Which module of the source each operator of a ``.pte`` is from, as edgekit stores it in the file.

A ``.pte`` has no names. The nodes in its delegates carry the debug handles of the nodes they were lowered from, and its
kernels keep their order; with the paths by handle and by order, layers can be named after the user's modules.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_CONVERSIONS = ("quantize_", "dequantize_")


def written(edge: Any) -> str:
    """What is stored.

    Args:
        edge: ``torch.export.ExportedProgram`` with delegates, before memory is planned.

    Returns:
        JSON: ``inside`` has the debug handles of each module path, ``outside`` the paths of the kernels of each name
        in order of execution.
    """
    from converters.torch_export.operators import module_path

    inside: dict[str, list[int]] = {}
    outside: dict[str, list[str]] = {}
    seen = set()
    for node in _calls(edge.graph):
        if "call_delegate" not in str(node.target):
            outside.setdefault(_kernel(node), []).append(module_path(node))
    for node in _delegated(edge):
        handle = node.meta.get("debug_handle")
        if isinstance(handle, int) and handle not in seen and not _kernel(node).startswith(_CONVERSIONS):
            seen.add(handle)
            inside.setdefault(module_path(node), []).append(handle)
    return json.dumps({"inside": inside, "outside": outside}, separators=(",", ":"))


class Modules:
    """What was stored; of a file that holds nothing, nothing is known.

    Args:
        stored: As :func:`written` returns it.
        kernels: Names of the kernels that the file runs, in order.
    """

    def __init__(self, stored: Mapping[str, Mapping[str, Any]], kernels: Iterable[str]) -> None:
        self.by_handle = {handle: path for path, handles in stored.get("inside", {}).items() for handle in handles}
        counts = Counter(kernels)
        # Lowering may drop and add kernels of a name; then their order tells nothing.
        self.by_order = {name: paths for name, paths in stored.get("outside", {}).items() if len(paths) == counts[name]}

    def of_node(self, handle: int) -> str:
        """Path of a node in a delegate; empty where it is not known."""
        return str(self.by_handle.get(handle, ""))

    def of_kernel(self, name: str, number: int) -> str:
        """Path of the kernel with a number among those of its name."""
        paths = self.by_order.get(name, [])
        return str(paths[number]) if number < len(paths) else ""


def _calls(graph: Any) -> Iterator[Any]:
    return (node for node in graph.nodes if node.op == "call_function" and hasattr(node.target, "name"))


def _delegated(edge: Any) -> Iterator[Any]:
    for node in edge.graph.nodes:
        if node.op == "get_attr":
            inner = getattr(getattr(edge.graph_module, str(node.target), None), "original_module", None)
            if inner is not None:
                yield from _calls(inner.graph)


def _kernel(node: Any) -> str:
    """``mean`` for ``aten.mean.dim``, as the kernels in a file are called."""
    return str(getattr(node.target, "_op", node.target)).partition(".")[2].partition(".")[0]
