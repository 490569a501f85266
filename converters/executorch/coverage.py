"""Which operators of a program the ExecuTorch runtime of the pip wheel has kernels for."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from converters.torch_export import operators

# Renamed on the way to a program: views become copies, and these lose or change their name altogether.
_RENAMED = {"_to_copy": "_to_dim_order_copy", "clone": "_clone_dim_order", "empty": "_empty_dim_order"}


@cache
def kernel_names() -> frozenset[str]:
    """Operators with a kernel, without namespace and overload: ``_fft_r2c``, ``view_copy``."""
    try:
        runtime = importlib.import_module("executorch.extension.pybindings._C")
    except ImportError:  # its name before 1.5
        runtime = importlib.import_module("executorch.extension.pybindings._portable_lib")
    return frozenset(name.partition("::")[2].partition(".")[0] for name in runtime._get_operator_names())


def has_kernel(target: str) -> bool:
    """Whether an operator such as ``aten.mean.dim`` can run outside a delegate."""
    name = target.split(".")[1]
    if name == "sym_size":  # part of the runtime itself, for programs with open axes
        return True
    return bool({name, f"{name}_copy", _RENAMED.get(name, name)} & kernel_names())


def without_kernel(exported: Any) -> list[Any]:
    """All nodes of a program, decomposed to core ATen, that ExecuTorch can neither run nor lower."""
    import torch

    decomposed = exported.run_decompositions()
    return [
        node
        for node in decomposed.graph.nodes
        if node.op == "call_function"
        and operators.is_aten(node)
        and node.target.namespace == "aten"
        and torch.Tag.core not in node.target.tags
        and not has_kernel(str(node.target))
    ]
