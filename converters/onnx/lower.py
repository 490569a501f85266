"""torch.export -> ONNX, through torch.onnx."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from converters import transposes
from converters.graph import ONNX, TORCH_EXPORT, StepResult
from converters.onnx.layers import layers_of
from converters.torch_export import operators
from converters.torch_export import program as programs
from converters.torch_export.quantized import to_float
from edgekit.errors import ConversionError, first_line
from edgekit.plugins import Step
from edgekit.types import Signature, from_json


def lower(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Lower a program to a float ONNX file with the user's names.

    Raises:
        UnsupportedError: Operators without a translation, all of them listed.
    """
    import onnx
    import torch

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    exported, restored = to_float(programs.load(source))
    names = from_json(Signature, signature)
    try:
        program = torch.onnx.export(
            exported,
            dynamo=True,
            input_names=[spec.name for spec in names.inputs],
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # the exporter wraps whatever a translation raised
        operators.check(exported, "ONNX", _unsupported(exported))
        raise ConversionError(f"torch.onnx: {type(error).__name__}: {first_line(error, of_cause=True)}") from error
    model = program.model_proto
    _name_outputs(model, [spec.name for spec in names.outputs])
    _strip_traces(model)
    onnx.save(model, output)
    return {
        "stayed_float": [],
        "undelegated": [],
        "notes": [*restored, *transposes.notes(layers_of(model))],
        "packages": ["onnx", "onnxscript", "torch"],
    }


def _name_outputs(model: Any, names: list[str]) -> None:
    """Give the outputs their names; what has one of them inside, a layer's result, gets another.

    torch.onnx would write such a name twice, and no runtime takes the file.
    """
    graph = model.graph
    renamed = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        renamed.update({name: f"{name}_inside" for name in node.output if name in names and name not in renamed})
    for node in graph.node:
        for places in (node.input, node.output):
            places[:] = [renamed.get(name, name) for name in places]
    for value in (*graph.value_info, *graph.output, *graph.initializer):
        value.name = renamed.get(value.name, value.name)


def _strip_traces(model: Any) -> None:
    """Drop the exporter's notes on each node but the module path: they hold file paths of this machine."""
    kept = {"pkg.torch.onnx.name_scopes"}
    for node in model.graph.node:
        scopes = [item for item in node.metadata_props if item.key in kept]
        del node.metadata_props[:]
        node.metadata_props.extend(scopes)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def _unsupported(exported: Any) -> list[Any]:
    """All nodes for which torch.onnx has no translation, after its own decompositions."""
    from torch.onnx._internal.exporter import _decomp, _registration

    registry = _registration.ONNXRegistry.from_torchlib()
    implemented = set(_decomp.get_onnx_implemented_overloads(registry))
    decomposed = exported.run_decompositions(_decomp.create_onnx_friendly_decomposition_table(implemented))
    calls = (node for node in decomposed.graph.nodes if node.op == "call_function")
    return [node for node in calls if operators.is_aten(node) and not registry.is_registered(node.target)]


STEPS = (
    Step(
        name="torch.export -> ONNX",
        source=TORCH_EXPORT,
        target=ONNX,
        schemes=(("float32", "float32"),),
        entry="converters.onnx.lower:lower",
        preload=("torch", "onnxscript"),
        packages=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
    ),
)
