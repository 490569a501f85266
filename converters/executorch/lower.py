"""torch.export -> ExecuTorch program, delegated to XNNPACK."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.executorch import _half, _modules, coverage
from converters.executorch._program import MODULES, SIGNATURE
from converters.graph import PTE, TORCH_EXPORT, StepResult
from converters.torch_export import operators
from converters.torch_export import program as programs
from converters.torch_export.quantized import to_float
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.plugins import Step


def lower(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Lower a program to a ``.pte`` in float32, or with weights in float16; inputs and outputs are float32 in both.

    Raises:
        UnsupportedError: Operators that ExecuTorch has no kernel for, all of them listed.
    """
    exported, notes = to_float(programs.load(source))
    if scheme == "float32":
        result = write(exported, output, signature)
    else:
        exported, left = _half.halve_embeddings(exported)
        with _half.half_filters(left):
            result = write(exported, output, signature)
        notes += [f"Too large for float16, so stored as float32: {', '.join(left)}."] if left else []
    result["notes"] += notes
    return result


def write(exported: Any, output: str, signature: Mapping[str, object]) -> StepResult:
    """Lower a float or quantized program and write it, with the user's names as a constant method.

    Args:
        exported: ``torch.export.ExportedProgram``.
        output: Path of the ``.pte``.
        signature: :class:`edgekit.types.Signature` as JSON.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    logging.disable(logging.WARNING)
    _take_apart(exported)
    try:
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            # A .pte has no names for tensors; the runtimes of edgekit read them from here.
            constant_methods={SIGNATURE: json.dumps(signature)},
        )
        outside = _undelegated(edge.exported_program())
        operators.check(
            exported, "ExecuTorch", [node for node in outside if not coverage.has_kernel(_plain_name(node))]
        )
        # Debug handles are given on the way, so this method cannot be among those above.
        edge._config_methods[MODULES] = _modules.written(edge.exported_program())
        program = edge.to_executorch()
    except UnsupportedError:
        raise
    except Exception as error:  # passes of ExecuTorch raise whatever they met
        operators.check(exported, "ExecuTorch", coverage.without_kernel(exported))
        raise ConversionError(f"ExecuTorch: {type(error).__name__}: {first_line(error)}") from error
    Path(output).write_bytes(program.buffer)
    left = [{"operator": _plain_name(node), "name": operators.module_path(node)} for node in outside]
    notes = []
    slow = sorted({item["operator"] for item in left if item["operator"] in _SLOW_UNDELEGATED})
    if slow:
        notes.append(f"{', '.join(slow)} outside the XNNPACK delegate: portable kernels are very slow.")
    return {
        "stayed_float": [],
        "undelegated": left,
        "notes": notes,
        "packages": ["executorch", "torch", "torchao"],
    }


def _take_apart(exported: Any) -> None:
    """Give every constant that is a part of a larger one memory of its own, in place.

    ExecuTorch 1.5 writes the constants of a delegate from the start of their memory, wherever in it they are
    (``backends/xnnpack/operators/node_visitor.py``): halves of one tensor would both become its first half.
    """
    import torch

    for kept in (exported.state_dict, exported.constants):
        for name, value in kept.items():
            if not isinstance(value, torch.Tensor) or value.untyped_storage().nbytes() == value.nbytes:
                continue
            own = programs.compact(value)
            kept[name] = torch.nn.Parameter(own, value.requires_grad) if isinstance(value, torch.nn.Parameter) else own


_SLOW_UNDELEGATED = {"aten.convolution.default", "aten.mm.default", "aten.addmm.default", "aten.bmm.default"}


def _undelegated(edge: Any) -> list[Any]:
    """Nodes that run as portable kernels."""
    calls = (node for node in edge.graph.nodes if node.op == "call_function" and hasattr(node.target, "name"))
    names = ("executorch_call_delegate", "aten.sym_")  # sizes that stay open are read by the runtime itself
    return [node for node in calls if not any(name in str(node.target) for name in names)]


def _plain_name(node: Any) -> str:
    """``aten.clone.default`` for an edge dialect operator."""
    return str(getattr(node.target, "_op", node.target))


STEPS = (
    Step(
        name="torch.export -> ExecuTorch",
        source=TORCH_EXPORT,
        target=PTE,
        schemes=(("float32", "float32"), ("float32", "float16")),
        entry="converters.executorch.lower:lower",
        preload=("torch", "executorch.exir"),
        packages=("executorch", "torchao"),
        extra="executorch",
    ),
)
