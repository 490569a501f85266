"""ONNX -> torch.export, by edgekit's own importer."""

from __future__ import annotations

import keyword
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.graph import StepResult
from converters.onnx_import.folding import fold_constants
from converters.onnx_import.fusing import fuse
from converters.onnx_import.graph import read
from converters.onnx_import.specialize import Plan, specialize
from converters.onnx_import.tensors import dtype_of
from converters.torch_export import program as programs
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.types import Signature, from_json

_CALL = "converters.onnx_import.module.Call"


def convert(
    source: str,
    output: str,
    scheme: str,
    signature: dict[str, object],
    ranges: str | None,
    settings: dict[str, object],
) -> StepResult:
    """Import a float ONNX file as a flat program, for the shapes that the signature gives its inputs.

    The arguments are those of :class:`converters.graph.StepArguments`; ranges and settings are left alone.

    Raises:
        UnsupportedError: Operators that are not known or cannot be made static, all of them listed.
        ConversionError: The file contradicts itself, or does not have the signature's tensors.
    """
    import torch

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    wanted = from_json(Signature, signature)
    sizes = {spec.name: tuple(size or 1 for size in spec.shape) for spec in wanted.inputs}
    plan = plan_of(source, sizes, [spec.name for spec in wanted.outputs])
    with torch.no_grad():
        flat = flat_module(plan)
        try:
            program = programs.export(flat.module, example_inputs(plan))
        except Exception as error:  # what fake tensors let pass, such as weights of another type than the data
            raise ConversionError(f"torch.export: {type(error).__name__}: {first_line(error)}") from error
        programs.save(program, Path(output))
    return {"stayed_float": [], "undelegated": [], "notes": list(flat.notes), "packages": ["onnx", "torch"]}


def plan_of(source: Any, sizes: Mapping[str, Sequence[int]], outputs: Sequence[str]) -> Plan:
    """The steps of a model.

    Args:
        source: Path of the file, or a ``ModelProto``.
        sizes: Shape of every input, by name, in the order the program takes them.
        outputs: Names of the tensors it returns.

    Raises:
        As :func:`convert`.
    """
    import onnx

    proto = onnx.load(source) if isinstance(source, str | Path) else source
    model = read(proto)
    unknown = [name for name in sizes if name not in model.graph.inputs]
    missing = [name for name in model.graph.inputs if name not in sizes]
    if unknown or missing:
        raise ConversionError(
            f"The inputs of the ONNX model are {', '.join(model.graph.inputs)}, not {', '.join(sizes)}."
        )
    inputs = {}
    for name, shape in sizes.items():
        if name not in model.graph.types:
            raise UnsupportedError(f"Input {name!r} of the ONNX model is a sequence or optional, not a tensor.")
        inputs[name] = (dtype_of(model.graph.types[name][0]), shape)
    return fuse(specialize(model, inputs, outputs))


def example_inputs(plan: Plan) -> tuple[Any, ...]:
    """Zeros of the shapes that a plan is for."""
    import torch

    return tuple(torch.zeros(tuple(value.tensor.shape), dtype=value.tensor.dtype) for value in plan.inputs)


def exported(plan: Plan) -> Any:
    """A plan as ``torch.export.ExportedProgram``; its nodes have the module paths of the ONNX nodes.

    Raises:
        ConversionError: torch cannot trace it.
    """
    import torch

    from converters.onnx_import.module import Imported

    module = Imported(plan).eval()
    try:
        program = torch.export.export(module, example_inputs(plan), strict=False)
    except Exception as error:  # the tracer raises whatever it met
        raise ConversionError(f"torch.export: {type(error).__name__}: {first_line(error)}") from error
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack:
            own = list(stack.values())[-1][0]
            node.meta["nn_module_stack"] = _levels(module.paths.get(own, own))
    return program


def _levels(path: str) -> dict[str, tuple[str, str]]:
    """The modules around a node, from the outermost: converters name operators by all of them.

    The path is the node's own, where several nodes have one and the modules that call them had to get numbers.
    """
    # A .pt2 file writes these as lists with semicolons, commas and brackets, and cannot read them in a name again.
    path = re.sub(r"[,(){}\[\]]", "_", path.replace(";", "+"))
    parts = path.split(".")
    above = [".".join(parts[:count]) for count in range(len(parts))]
    return {**{item: (item, "torch.nn.modules.module.Module") for item in above}, path: (path, _CALL)}


def flat_module(plan: Plan) -> programs.Flat:
    """A plan in the normal shape of programs, under the names of the ONNX file where Python allows them.

    What constants alone decide is computed, BatchNorm is folded.
    """
    values = [value.tensor for value in plan.outputs]
    flat = programs.flatten(exported(plan), values, [safe_name(value.name) for value in plan.inputs])
    fold_constants(flat.module)
    return flat


def safe_name(name: str) -> str:
    """A name as an argument of a Python function can have it."""
    changed = re.sub(r"\W", "_", name) or "input"
    return f"_{changed}" if changed[0].isdigit() or keyword.iskeyword(changed) else changed
